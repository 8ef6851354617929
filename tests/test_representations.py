"""Field types from matrices: any representation in the irreps of its group."""

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import Linear, equivariance_error
from symmetry_cases import NAMES, class_average, elements, group, seeded
from tolerances import TOLERANCES

EXACT = 1e-12
MORE_FINITE = ("C2", "C3", "C5", "D2", "D4d", "D6h", "C3h", "S6", "T", "Th", "O", "C4v", "D2d")


def orthogonal(size: int, seed: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def random_sum(name: str, seed: int) -> FieldType:
    """Up to two copies of each irrep, the number drawn at random."""
    g, rng = group(name), np.random.default_rng(seed)
    irreps = g.irreps(3)
    return FieldType(g, [(int(rng.integers(k == 0, 3)), i) for k, i in enumerate(irreps)])


def conjugate(t: FieldType, q: np.ndarray) -> np.ndarray:
    return q @ t.representation(t.group.generators).numpy() @ q.T


@pytest.mark.parametrize("name", [*NAMES, *MORE_FINITE])
def test_a_conjugated_sum_of_irreps_is_decomposed(name: str) -> None:
    t = random_sum(name, 0)
    q = orthogonal(t.size, 1)
    found = FieldType.from_representation(t.group, conjugate(t, q))
    assert found.canonical == t.canonical
    basis = found.change_of_basis
    np.testing.assert_allclose(basis @ basis.T, np.eye(t.size), atol=EXACT)
    some = elements(t.group)
    given = q @ t.representation(some).numpy() @ q.T
    np.testing.assert_allclose(found.representation(some).numpy(), given, atol=EXACT)
    turned = basis @ found.canonical.representation(some).numpy() @ basis.T
    np.testing.assert_allclose(turned, given, atol=EXACT)


@pytest.mark.parametrize("name", [*NAMES, *MORE_FINITE])
def test_rounding_of_the_matrices_does_not_change_the_basis(name: str) -> None:
    """Also where irreps have several copies, or a commutant of two dimensions."""
    t = random_sum(name, 2)
    given = conjugate(t, orthogonal(t.size, 3))
    noise = np.random.default_rng(4).normal(size=given.shape)
    one, other = (
        FieldType.from_representation(t.group, d).change_of_basis
        for d in (given, given + 1e-13 * noise)
    )
    assert np.abs(one - other).max() < 1e-11


@pytest.mark.parametrize("name", ["C1", "Cs", "C4", "C3h", "S6", "C6v", "D3", "T", "Td", "Oh", "I"])
def test_the_regular_representation_holds_every_irrep(name: str) -> None:
    """dim copies of an irrep of real type, dim / 2 of one of complex type."""
    g = group(name)
    products = np.einsum("aij,bjk->abik", g.generators, g.elements)
    same = np.abs(products[:, None] - g.elements[:, None]).max(axis=(-2, -1)) < 1e-8
    t = FieldType.from_representation(g, same.astype(float))
    copies = {"real": 1, "complex": 2}
    assert t.size == g.order
    assert all(n == i.dim // copies[i.type] for n, i in t.fields)


@pytest.mark.parametrize("name", NAMES)
def test_functions_of_elements_are_representations_too(name: str) -> None:
    g = group(name)

    def matrices(h: np.ndarray) -> np.ndarray:
        return np.kron(h, h)

    t = FieldType.from_representation(g, matrices)
    some = elements(g)
    expected = torch.stack([torch.kron(h, h) for h in some])
    assert float((t.representation(some) - expected).abs().max()) < EXACT
    assert t.canonical == FieldType.vector(g).tensor_product(FieldType.vector(g))
    assert abs(class_average(g, [t]) - t.n_invariants) < 1e-10
    vector = FieldType.from_representation(g, lambda h: h)
    assert vector.canonical == FieldType.vector(g).canonical


@pytest.mark.parametrize("name", ["C6v", "C3h", "SO(2)"])
def test_layers_take_them(name: str) -> None:
    t = random_sum(name, 5)
    given = FieldType.from_representation(t.group, conjugate(t, orthogonal(t.size, 6)))
    layer = seeded(Linear(given, FieldType.vector(t.group, 2)).double())
    error = equivariance_error(layer, given, FieldType.vector(t.group, 2))
    assert error < TOLERANCES[torch.float64].equivariance


def test_matrices_that_are_no_representation_raise() -> None:
    g = SymmetryGroup("C4v")
    make = FieldType.from_representation
    given = FieldType.vector(g).representation(g.generators).numpy()
    with pytest.raises(ValueError, match=r"each of the 2 matrices .* \[2, d, d\]; got shape \(1,"):
        make(g, given[:1])
    with pytest.raises(ValueError, match=r"got shape \(2, 3, 2\)"):
        make(g, given[:, :, :2])
    with pytest.raises(ValueError, match=r"matrix 1 is not orthogonal: .* 3.0e\+00"):
        make(g, given * np.array([1.0, 2.0])[:, None, None])
    with pytest.raises(ValueError, match="not orthogonal"):
        make(g, np.full((2, 3, 3), np.nan))
    with pytest.raises(ValueError, match=r"no representation of C4v: .* differ by 2.0e\+00"):
        make(g, given[::-1])
    angle = np.pi / 3 * np.ones(2)  # orthogonal, but the order is six
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    with pytest.raises(ValueError, match="no representation of C4v"):
        make(g, turn.transpose(2, 0, 1))
    axial = SymmetryGroup("SO(2)")
    with pytest.raises(ValueError, match=r"no representation of SO\(2\): .* account for 0 of"):
        make(axial, turn.transpose(2, 0, 1))  # the same angle for both generators


def test_functions_that_are_no_representation_raise() -> None:
    axial = SymmetryGroup("SO(2)")

    def wrong_elsewhere(h: np.ndarray) -> np.ndarray:
        is_generator = np.abs(axial.generators - h).max(axis=(1, 2)).min() < 1e-9
        return h if is_generator else np.eye(3)

    with pytest.raises(ValueError, match="the function is no representation"):
        FieldType.from_representation(axial, wrong_elsewhere)


@pytest.mark.parametrize("name", ["SO(2)", "C_inf_v", "SO(3)"])
def test_high_frequencies_of_continuous_groups_are_found(name: str) -> None:
    g = group(name)
    t = FieldType(g, [(1, g.irreps(9)[-1]), (1, g.irreps(2)[-1])])
    given = conjugate(t, orthogonal(t.size, 0))
    assert FieldType.from_representation(g, given).canonical == t.canonical


def test_the_empty_representation_is_the_empty_type() -> None:
    g = SymmetryGroup("C4v")
    assert FieldType.from_representation(g, np.zeros((2, 0, 0))) == FieldType(g, [])
