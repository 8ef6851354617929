"""Every bilinear map of two types: equivariant, complete, equal to its explicit matrix."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import Contraction, equivariance_error
from symmetry_cases import (
    NAMES,
    class_average,
    every_irrep,
    group,
    randn,
    random_type,
    relative_error,
    seeded,
    summed_both_ways,
)
from tolerances import TOLERANCES, Tolerance

D = torch.float64
PARITY = TOLERANCES[D].parity


def contraction(name: str) -> Contraction:
    g = group(name)
    types = (random_type(g, seed, size=8).canonical for seed in range(3))
    return seeded(Contraction(*types)).double()


@pytest.mark.parametrize("name", NAMES)
def test_contraction_is_equivariant_and_equals_its_matrix(name: str) -> None:
    layer = contraction(name)
    left, right = layer.left_type, layer.right_type

    def product(h: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return layer(h[:, :, None] * f[:, None, :])

    error = equivariance_error(product, [left, right], layer.out_type, n_elements=4)
    assert error < TOLERANCES[D].equivariance
    h, f = randn(6, left.size, seed=0), randn(6, right.size, seed=1)
    explicit = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0]
    assert relative_error(product(h, f), explicit) < PARITY


@pytest.mark.parametrize("name", NAMES)
def test_contraction_has_every_bilinear_map(name: str) -> None:
    layer = contraction(name)
    expected = class_average(
        layer.left_type.group, [layer.left_type, layer.right_type, layer.out_type]
    )
    assert layer.weight.numel() == round(expected) > 0


def test_the_sum_over_neighbours_equals_that_of_explicit_matrices(
    dtype: torch.dtype, tolerance: Tolerance
) -> None:
    got, expected = summed_both_ways(contraction("SO(2)").to(dtype), dtype)
    assert relative_error(got, expected) < tolerance.parity


@pytest.mark.parametrize("name", NAMES)
def test_unit_variance_in_gives_unit_variance_out(name: str) -> None:
    """Independent unit-variance h and f give unit-variance products, for every group."""
    t = every_irrep(group(name), 2, n=4)
    layer = seeded(Contraction(t, t, t), 3)
    h, f = (randn(200, t.size, seed=seed, dtype=torch.float32) for seed in (0, 1))
    y = layer(h[:, :, None] * f[:, None, :])
    for block in t.blocks:
        assert 0.6 < y[:, block.start : block.stop].std() < 1.6


def test_types_without_paths_have_no_weights() -> None:
    g = group("O(3)")
    scalar, pseudo = (FieldType(g, [(2, irrep)]) for irrep in g.irreps(0))
    layer = Contraction(scalar, scalar, pseudo)
    assert layer.weight.numel() == 0
    assert torch.equal(layer(torch.ones(3, 2, 2)), torch.zeros(3, 2))
