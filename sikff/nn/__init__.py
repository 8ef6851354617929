"""Equivariant layers for any compact G <= O(3)."""

from sikff.nn.channel_product import ChannelProduct
from sikff.nn.contraction import Contraction
from sikff.nn.dense_conv import DenseConv
from sikff.nn.equivariance import equivariance_error
from sikff.nn.gmlp import GMLP
from sikff.nn.harmonics import Harmonics
from sikff.nn.kernel import EdgeBasis, ImplicitKernel, SplineBasis
from sikff.nn.linear import ChannelLinear, Linear
from sikff.nn.mlp import MLP
from sikff.nn.neighbour_table import NeighbourLayout, neighbour_layout
from sikff.nn.nonlinearity import Gate, Gated, RMSNorm, Sampled, SquaredNorms
from sikff.nn.plane_waves import PlaneWaves
from sikff.nn.point_conv import PointConv
from sikff.nn.radial import BesselBasis, GaussianBasis, GaussianShell, PolynomialEnvelope
from sikff.nn.spline import SplineTable

__all__ = [
    "GMLP",
    "MLP",
    "BesselBasis",
    "ChannelLinear",
    "ChannelProduct",
    "Contraction",
    "DenseConv",
    "EdgeBasis",
    "Gate",
    "Gated",
    "GaussianBasis",
    "GaussianShell",
    "Harmonics",
    "ImplicitKernel",
    "Linear",
    "NeighbourLayout",
    "PlaneWaves",
    "PointConv",
    "PolynomialEnvelope",
    "RMSNorm",
    "Sampled",
    "SplineBasis",
    "SplineTable",
    "SquaredNorms",
    "equivariance_error",
    "neighbour_layout",
]
