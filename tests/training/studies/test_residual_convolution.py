"""The residual convolution: equivariance, and clouds that become coarser."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import neighbour_layout
from sikff.training.studies.residual_convolution import ResidualConvolution
from symmetry_cases import elements, outside, randn, relative_error
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
RECEIVERS = torch.tensor([1, 4, 7])
EDGES = torch.stack([torch.arange(3).repeat_interleave(10), torch.arange(10).repeat(3)])


@pytest.fixture(scope="module", params=["SO(2)", "C3v", "O(3)"])
def layer(request) -> ResidualConvolution:
    group = SymmetryGroup(request.param, axis=(1, 2, 2))
    in_type = FieldType.vector(group) + FieldType.scalar(group)
    out_type = FieldType.harmonic(group, 2, 4)
    attr_type = FieldType.vector(group)
    return ResidualConvolution(in_type, out_type, attr_type, cutoff=5.0).double()


def coarser(layer: ResidualConvolution, f, x, a) -> torch.Tensor:
    vectors = x[EDGES[1]] - x[RECEIVERS[EDGES[0]]]
    return layer(f, vectors, EDGES, a, neighbour_layout(EDGES, 3, f.dtype), RECEIVERS)


def test_equivariance(layer: ResidualConvolution) -> None:
    f, x, a = randn(10, 4, seed=0), randn(10, 3, seed=1), randn(30, 3, seed=2)
    group = layer.skip.in_type.group
    expected = coarser(layer, f, x, a)
    assert expected.shape == (3, layer.out_type.size)

    def turned(g: torch.Tensor) -> torch.Tensor:
        return coarser(layer, torch.cat([f[:, :3] @ g.T, f[:, 3:]], dim=1), x @ g.T, a @ g.T)

    for g in elements(group):
        wanted = expected @ layer.out_type.representation(g).T
        assert relative_error(turned(g), wanted) < TOLERANCE.equivariance
    if group != SymmetryGroup("O(3)"):
        n = layer.out_type.n_invariants
        for g in outside(SymmetryGroup("O(3)"), group):
            assert relative_error(turned(g)[:, :n], expected[:, :n]) > 1e-3


def test_a_subset_of_receivers_gets_the_same_features(layer: ResidualConvolution) -> None:
    f, x, a = randn(10, 4, seed=0), randn(10, 3, seed=1), randn(30, 3, seed=2)
    edges = torch.stack([RECEIVERS[EDGES[0]], EDGES[1]])
    everywhere = layer(f, x[edges[1]] - x[edges[0]], edges, a)
    assert relative_error(coarser(layer, f, x, a), everywhere[RECEIVERS]) < TOLERANCE.parity
