"""Rivals for O(3) made of e3nn's tensor products: TFN's linear convolution and SEGNN.

e3nn's true vectors are Cartesian, as are ours: no basis has to be changed.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from sikff.e3nn import e3nn_o3
from sikff.field_types import FieldType
from sikff.nn import MLP, GaussianBasis, RMSNorm
from sikff.nn.mlp import activation_scale

from .particle_graphs import Pairs

LAYERS = 3
HARMONICS = "1x0e + 1x1o"
N_RADIAL = 8
EXTENT = 8.0  # most distances are below


class SteerableLayer(nn.Module):
    """A tensor product with attributes, weights on every path, and a gated activation.

    Args:
        in_irreps, attribute_irreps: in e3nn's notation.
        n_scalars, n_vectors: of the result, which is n_vectors x 1o + n_scalars x 0e.
        activated: whether invariants are activated and vectors are gated.
    """

    def __init__(
        self,
        in_irreps: str,
        attribute_irreps: str,
        n_scalars: int,
        n_vectors: int,
        activated: bool = True,
    ) -> None:
        super().__init__()
        self.n_vectors, self.activated = n_vectors, activated
        self.scale = activation_scale(nn.functional.silu)
        n_invariants = n_scalars + (n_vectors if activated else 0)
        self.product = e3nn_o3().FullyConnectedTensorProduct(
            in_irreps, attribute_irreps, f"{n_vectors}x1o + {n_invariants}x0e"
        )
        self.bias = nn.Parameter(torch.zeros(n_invariants))

    def forward(self, x: Tensor, attributes: Tensor) -> Tensor:
        y = self.product(x, attributes)
        vectors, invariants = y[:, : 3 * self.n_vectors], y[:, 3 * self.n_vectors :] + self.bias
        if self.activated:
            gates, scalars = invariants[:, : self.n_vectors], invariants[:, self.n_vectors :]
            gated = vectors.unflatten(1, (-1, 3)) * 2 * torch.sigmoid(gates).unsqueeze(-1)
            vectors = gated.flatten(1)
            invariants = self.scale * nn.functional.silu(scalars)
        return torch.cat([vectors, invariants], dim=1)


class Geometry(NamedTuple):
    """Inputs of messages: edges [E, b], x_j - x_i [E, 3] and their harmonics [E, 4]."""

    edges: Tensor
    vectors: Tensor
    harmonics: Tensor
    pairs: Pairs


class Steerable(nn.Module):
    """What TFN and SEGNN share: features, harmonics, embedding, residual layers and readout.

    Args:
        node_type: vectors, then invariants.
        edge_type: vectors, then invariants.
        width: number of vectors, and of invariants, in the features.

    Attributes:
        MESSAGES: makes the messages of a layer; features [N, d] and geometry -> [E, d].
    """

    MESSAGES: ClassVar[type[nn.Module]]

    def __init__(self, node_type: FieldType, edge_type: FieldType, width: int) -> None:
        super().__init__()
        self.node_irreps, self.edge_irreps = _irreps(node_type), _irreps(edge_type)
        self.irreps, self.width = f"{width}x1o + {width}x0e", width
        features = FieldType.vector(node_type.group, width)
        features += FieldType.scalar(node_type.group, width)
        self.norm = RMSNorm(features, eps=1.0)
        self.embedding = self.make_layer(self.node_irreps)
        self.layers = nn.ModuleList(_Layer(self) for _ in range(LAYERS))
        self.hidden = self.make_layer(f"{self.irreps} + {self.node_irreps}")
        self.readout = SteerableLayer(self.irreps, HARMONICS, 0, 1, activated=False)

    def make_layer(self, in_irreps: str) -> SteerableLayer:
        """A layer from these irreps to the features."""
        return SteerableLayer(in_irreps, HARMONICS, self.width, self.width)

    def forward(self, nodes: Tensor, edges: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Nodes [N, a], edges [E, b] and x_j - x_i [E, 3] -> a vector for each node [N, 3]."""
        geometry = Geometry(edges, vectors, _harmonics(vectors), pairs)
        n_others = pairs.layout.shapes[0][1]
        attributes = pairs.sum(geometry.harmonics) / n_others + _harmonics(nodes[:, :3])
        f = self.embedding(nodes, attributes)
        for layer in self.layers:
            f = f + layer(self.norm(f), attributes, geometry)
        f = self.hidden(torch.cat([self.norm(f), nodes], dim=1), attributes)
        return self.readout(f, attributes)


class _Layer(nn.Module):
    """Sums messages over senders and updates the receivers."""

    def __init__(self, network: Steerable) -> None:
        super().__init__()
        irreps, width = network.irreps, network.width
        self.norm = network.norm
        self.messages = network.MESSAGES(network)
        self.update = network.make_layer(f"{irreps} + {irreps}")
        self.last = SteerableLayer(irreps, HARMONICS, width, width, activated=False)

    def forward(self, f: Tensor, attributes: Tensor, geometry: Geometry) -> Tensor:
        total = self.norm(geometry.pairs.sum(self.messages(f, geometry)))
        return self.last(self.update(torch.cat([f, total], dim=1), attributes), attributes)


class _NonlinearMessages(nn.Module):
    def __init__(self, network: Steerable) -> None:
        super().__init__()
        irreps = network.irreps
        self.first = network.make_layer(f"{irreps} + {irreps} + {network.edge_irreps} + 1x0e")
        self.second = network.make_layer(irreps)

    def forward(self, f: Tensor, geometry: Geometry) -> Tensor:
        i, j = geometry.pairs.edge_index
        squared = geometry.vectors.square().sum(dim=1, keepdim=True) / 6
        both = [f.index_select(0, i), f.index_select(0, j), geometry.edges, squared]
        harmonics = geometry.harmonics
        return self.second(self.first(torch.cat(both, dim=1), harmonics), harmonics)


class _LinearMessages(nn.Module):
    def __init__(self, network: Steerable) -> None:
        super().__init__()
        o3 = e3nn_o3()
        paths = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 0)]  # of (1o, 0e), (0e, 1o), (1o, 0e)
        self.product = o3.TensorProduct(
            network.irreps,
            HARMONICS,
            network.irreps,
            [(*path, "uvu", True) for path in paths],
            shared_weights=False,
        )
        self.radial = GaussianBasis(N_RADIAL, EXTENT)
        self.n_invariants = o3.Irreps(network.edge_irreps).count("0e")
        sizes = [N_RADIAL + self.n_invariants, network.width, self.product.weight_numel]
        self.weights = MLP(sizes)

    def forward(self, f: Tensor, geometry: Geometry) -> Tensor:
        invariants = geometry.edges[:, geometry.edges.shape[1] - self.n_invariants :]
        radial = self.radial(geometry.vectors.norm(dim=1))
        weights = self.weights(torch.cat([radial, invariants], dim=1))
        senders = f.index_select(0, geometry.pairs.edge_index[1])
        return self.product(senders, geometry.harmonics, weights)


class SEGNN(Steerable):
    """Steerable non-linear messages: every linear layer is a product with Y of the direction.

    Brandstetter, Hesselink, van der Pol, Bekkers, Welling, ICLR 2022.
    """

    MESSAGES = _NonlinearMessages


class TFN(Steerable):
    """Linear convolutions f_j (x) Y(x) with weights that are a network of invariants of the pair.

    Thomas, Smidt, Kearnes, Yang, Li, Kohlhoff, Riley, 2018.
    """

    MESSAGES = _LinearMessages


def _irreps(field_type: FieldType) -> str:
    """Of a type made of vectors, then invariants."""
    n = field_type.n_invariants
    return f"{(field_type.size - n) // 3}x1o + {n}x0e"


def _harmonics(vectors: Tensor) -> Tensor:
    """Y(x) up to degree 1, of unit variance, [N, 4]."""
    return e3nn_o3().spherical_harmonics(
        HARMONICS, vectors, normalize=True, normalization="component"
    )
