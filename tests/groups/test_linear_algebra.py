"""Bases that depend on the space alone."""

import numpy as np
import pytest
import torch

from sikff.groups.linear_algebra import canonical_basis, hom_basis, hom_projector, null_projector
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
def test_null_projector(rank: int) -> None:
    q = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    constraint = q[:, rank:] @ np.diag(np.arange(1.0, 7 - rank)) @ q[:, rank:].T
    np.testing.assert_allclose(null_projector(constraint), q[:, :rank] @ q[:, :rank].T, atol=EXACT)


@pytest.mark.parametrize("seed", range(5))
def test_the_canonical_basis_depends_on_the_space_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    space = np.linalg.qr(rng.normal(size=(7, 3)))[0]
    mixed = space @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    one, two = canonical_basis(space @ space.T), canonical_basis(mixed @ mixed.T)
    assert one.shape == (7, 3)
    np.testing.assert_allclose(one, two, atol=EXACT)
    np.testing.assert_allclose(one.T @ one, np.eye(3), atol=EXACT)
    np.testing.assert_allclose(one @ one.T, space @ space.T, atol=EXACT)


def test_hom() -> None:
    """Maps from two copies of the sign representation of {1, -1} to (sign + trivial)."""
    source = [-np.eye(2)]
    target = [np.diag([-1.0, 1.0])]
    projector = hom_projector(source, target)
    assert round(np.trace(projector)) == 2
    basis = hom_basis(source, target)
    assert basis.shape == (2, 2, 2)
    np.testing.assert_allclose(basis[:, 1], 0.0, atol=EXACT)
    assert np.abs(basis[:, 0]).max() > 0.5
    assert hom_basis(source, [np.eye(1)]).shape == (0, 1, 2)
