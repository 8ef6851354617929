"""Harmonic polynomials as a layer."""

import pytest
import torch

from sikff.groups.harmonic_polynomials import evaluate_harmonics
from sikff.nn import Harmonics
from symmetry_cases import NAMES, elements, group, randn, relative_error
from tolerances import TOLERANCES, Tolerance

D = torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_they_are_equivariant(name: str, dtype: torch.dtype, tolerance: Tolerance) -> None:
    layer = Harmonics(group(name), 3).to(dtype)
    x = randn(10, 3, seed=0)
    y = layer(x.to(dtype))
    for g in elements(group(name)):
        expected = y @ layer.out_type.representation(g).to(dtype).T
        assert relative_error(layer((x @ g.T).to(dtype)), expected) < tolerance.equivariance


@pytest.mark.parametrize("name", NAMES)
def test_components_have_unit_variance_over_the_sphere(name: str) -> None:
    """Exactly orthonormal: the mean of products over O(3)'s orbit, here by many random points."""
    layer = Harmonics(group(name), 3).double()
    assert layer.out_type.size == 16
    x = group("O(3)").sample(4000, seed=0) @ torch.tensor([0.6, 0.0, 0.8], dtype=D)
    gram = layer(x).T @ layer(x) / len(x)
    assert (gram - torch.eye(16, dtype=D)).abs().max() < 0.15
    total = (layer(x) ** 2).sum(-1)  # the addition theorem: 1 + 3 + 5 + 7, at every point
    assert relative_error(total, torch.full_like(total, 16.0)) < TOLERANCES[D].algebra


def test_for_o3_they_equal_the_harmonic_polynomials() -> None:
    layer = Harmonics(group("O(3)"), 3).double()
    x = randn(5, 3, seed=0)
    expected = torch.cat([torch.from_numpy(evaluate_harmonics(l, x.numpy())) for l in range(4)], 1)
    signs = (layer(x) * expected).sum(0).sign()
    assert relative_error(layer(x) * signs, expected) < TOLERANCES[D].algebra


def test_they_are_homogeneous_polynomials() -> None:
    layer = Harmonics(group("SO(2)"), 2).double()
    x = randn(4, 3, seed=0)
    values = torch.stack([layer(s * x) for s in (0.0, 1.0, 2.0, 3.0)])
    third_difference = values[3] - 3 * values[2] + 3 * values[1] - values[0]
    assert third_difference.abs().max() < TOLERANCES[D].parity * values.abs().max()


def test_degree_zero_is_one() -> None:
    layer = Harmonics(group("Oh"), 0)
    assert torch.equal(layer(torch.zeros(2, 3)), torch.ones(2, 1))
