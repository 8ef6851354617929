"""Canonical bases depend on the space alone."""

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.null_space import canonical_basis, hom_basis, hom_projector
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra


def test_the_hom_projector_equals_that_of_the_joint_system() -> None:
    """Against the null space of all constraints at once, for a reducible representation."""
    group = SymmetryGroup("D3")
    field_type = FieldType(group, [(2, irrep) for irrep in group.irreps(2)])
    rho = list(field_type.representation(group.generators).numpy())
    n = field_type.size
    rows = [np.kron(g, np.eye(n)) - np.kron(np.eye(n), g.T) for g in rho]
    _, singular, vectors = np.linalg.svd(np.concatenate(rows))
    null = vectors[singular < 1e-9]
    assert len(null) == 4 * len(group.irreps(2))
    np.testing.assert_allclose(hom_projector(rho, rho), null.T @ null, atol=EXACT)


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


def test_hom_bases_are_equivariant() -> None:
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
