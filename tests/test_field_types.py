"""Field types as values, their representations and bases."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from symmetry_cases import (
    NAMES,
    TILTED,
    class_average,
    elements,
    every_irrep,
    group,
    random_type,
    relative_error,
)
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra


@pytest.mark.parametrize("name", NAMES)
def test_a_vector_transforms_with_the_matrix_itself(name: str) -> None:
    g = group(name)
    some = elements(g)
    assert relative_error(FieldType.vector(g).representation(some), some) < EXACT
    two = FieldType.vector(g, 2).representation(some)
    assert relative_error(two[:, :3, :3], some) < EXACT
    assert relative_error(two[:, 3:, 3:], some) < EXACT
    assert not two[:, :3, 3:].any()
    assert FieldType.vector(g, 0).size == 0


@pytest.mark.parametrize("name", NAMES)
def test_representations_are_homomorphisms(name: str) -> None:
    t = random_type(group(name), 0)
    some = elements(t.group, 3)
    rho = t.representation(some)
    identity = torch.eye(t.size, dtype=torch.float64).expand_as(rho)
    assert relative_error(rho @ rho.transpose(1, 2), identity) < EXACT
    for g, rho_g in zip(some, rho, strict=True):
        assert relative_error(t.representation(g @ some), rho_g @ rho) < EXACT


@pytest.mark.parametrize("name", NAMES)
def test_change_of_basis_leads_to_the_canonical_type(name: str) -> None:
    t = random_type(group(name), 1)
    basis = torch.from_numpy(t.change_of_basis)
    assert relative_error(basis @ basis.T, torch.eye(t.size, dtype=torch.float64)) < EXACT
    some = elements(t.group, 3)
    turned = basis @ t.canonical.representation(some) @ basis.T
    assert relative_error(turned, t.representation(some)) < EXACT
    assert t.canonical.is_canonical
    assert t.canonical.canonical == t.canonical
    assert t.canonical.n_fields == t.n_fields
    indices = [irrep.index for _, irrep in t.canonical.fields]
    assert indices == sorted(set(indices))


def test_blocks_store_component_by_component() -> None:
    g = group("SO(3)")
    t = FieldType(g, [(2, g.irreps(1)[1])])
    one = FieldType(g, [(1, g.irreps(1)[1])])
    (h,) = g.sample(1, seed=0)
    expected = torch.kron(one.representation(h), torch.eye(2, dtype=torch.float64))
    assert relative_error(t.representation(h), expected) < EXACT
    (block,) = t.blocks
    assert (block.copies, block.start, block.stop) == (2, 0, 6)


@pytest.mark.parametrize("name", NAMES)
def test_tensor_products_have_the_right_character(name: str) -> None:
    g = group(name)
    a, b = every_irrep(g, 1), random_type(g, 2, size=5)
    product = a.tensor_product(b)
    assert product.size == a.size * b.size
    some = torch.cat([torch.eye(3, dtype=torch.float64)[None], elements(g, 4)])
    traces = [t.representation(some).diagonal(dim1=1, dim2=2).sum(1) for t in (a, b, product)]
    assert relative_error(traces[2], traces[0] * traces[1]) < EXACT


@pytest.mark.parametrize("name", NAMES)
def test_harmonic_types_contain_the_irreps_of_functions_of_a_direction(name: str) -> None:
    g = group(name)
    t = FieldType.harmonic(g, 2, n=3)
    assert all(n == 3 for n, _ in t.fields)
    degrees = FieldType.from_o3(g, "0e + 1o + 2e")
    assert degrees.size == 9
    assert set(t.irreps) == set(degrees.irreps)
    if name == "O(3)":
        assert [str(irrep) for irrep in t.irreps] == ["0e", "1o", "2e"]


@pytest.mark.parametrize("name", NAMES)
def test_restriction_of_o3_types(name: str) -> None:
    """Characters of the restricted type are O(3)'s own."""
    g, o3 = group(name), group("O(3)")
    text = "2x0e + 1x0o + 1x1o + 2x1e + 1x2e"
    restricted, original = FieldType.from_o3(g, text), FieldType.from_o3(o3, text)
    assert restricted.is_canonical
    some = torch.cat([torch.eye(3, dtype=torch.float64)[None], elements(g, 4)])
    traces = [
        t.representation(some).diagonal(dim1=1, dim2=2).sum(1) for t in (restricted, original)
    ]
    assert relative_error(traces[0], traces[1]) < EXACT
    if not g.has_improper:
        assert restricted == FieldType.from_o3(g, "3x0e + 3x1o + 1x2e")


@pytest.mark.parametrize("name", NAMES)
def test_multiplicities_are_those_of_the_character(name: str) -> None:
    t = random_type(group(name), 3)
    for irrep in t.irreps:
        one = FieldType(t.group, [(1, irrep)])
        copies = class_average(t.group, [one, t]) / class_average(t.group, [one, one])
        assert abs(copies - t.multiplicity(irrep)) < EXACT
    assert sum(t.multiplicity(i) * i.dim for i in t.irreps) == t.size


def test_types_are_values() -> None:
    g = group("tilted S4")
    t = random_type(g, 0)
    assert t == random_type(group("tilted S4"), 0)
    assert hash(t) == hash(random_type(group("tilted S4"), 0))
    for again in (pickle.loads(pickle.dumps(t)), copy.deepcopy(t)):
        assert again == t
        assert hash(again) == hash(t)
        np.testing.assert_allclose(again.change_of_basis, t.change_of_basis, atol=EXACT)
    assert t != random_type(g, 1)
    irrep_basis = FieldType(g, FieldType.vector(g).fields)
    assert FieldType.vector(g) != irrep_basis  # the same irreps in another basis
    assert FieldType.vector(g).canonical == irrep_basis.canonical
    assert t != "3x0e"
    assert "own basis" in repr(FieldType.vector(g))
    assert repr(FieldType(group("O(3)"), [])) == "FieldType(O(3): 0)"


@pytest.mark.parametrize(
    ("larger", "smaller"),
    [*(("O(3)", name) for name in NAMES), ("C_inf_v", "C6v"), ("D_inf_h", "C1v"), ("Oh", "D2d")],
)
def test_restriction_to_a_subgroup(larger: str, smaller: str) -> None:
    """The same features in another basis, in which a subgroup acts by its own irreps."""
    t, h = random_type(group(larger), 1), group(smaller)
    restricted, matrix = t.restrict(h), torch.from_numpy(t.restriction_matrix(h))
    assert restricted.group == h
    assert restricted.size == t.size
    some = elements(h)
    assert relative_error(matrix @ matrix.T, torch.eye(t.size, dtype=matrix.dtype)) < EXACT
    whole = t.representation(some) @ matrix
    assert relative_error(matrix @ restricted.representation(some), whole) < EXACT
    if larger != smaller:
        assert restricted.is_canonical
        outside = t.representation(elements(t.group)) @ matrix
        assert relative_error(matrix @ restricted.representation(some[:1]), outside) > 0.01


def test_restriction_step_by_step() -> None:
    t, axial, last = every_irrep(group("O(3)"), 3, n=2), group("C_inf_v"), group("C3")
    assert t.restrict(axial).restrict(last) == t.restrict(last)
    assert t.restrict(t.group) is t
    tilted = random_type(group(TILTED), 0)
    assert tilted.restrict(tilted.group) is tilted
    with pytest.raises(ValueError, match=r"O\(3\) is not a subgroup of C_inf_v"):
        t.restrict(axial).restrict(t.group)
    with pytest.raises(ValueError, match=r"C3 about .* is not a subgroup of C_inf_v"):
        t.restrict(axial).restrict(SymmetryGroup("C3", axis=(1, 1, 1)))


def test_sizes() -> None:
    g = group("O(3)")
    t = FieldType(g, [(2, g.irreps(2)[4]), (0, g.irreps(0)[1]), (3, g.irreps(0)[0])])
    assert t.size == 13
    assert t.n_fields == 5
    assert t.max_frequency == 2
    assert len(t.fields) == 2
    assert FieldType(g, []).max_frequency == 0
    assert (t + FieldType.scalar(g)).size == 14
    assert not t.is_canonical
    assert not (FieldType.scalar(g) + FieldType.scalar(g)).is_canonical


def test_bad_input() -> None:
    a, b = group("SO(3)"), group("O(3)")
    with pytest.raises(ValueError, match=r"irrep of SO\(3\)"):
        FieldType(a, [(1, b.irreps(0)[0])])
    with pytest.raises(ValueError, match="irrep of"):
        FieldType(a, [(1, "0e")])
    for n in (-1, 1.5):
        with pytest.raises(ValueError, match="whole number >= 0"):
            FieldType(a, [(n, a.irreps(0)[0])])
    with pytest.raises(ValueError, match=r"cannot add field types of SO\(3\) and O\(3\)"):
        FieldType.scalar(a) + FieldType.scalar(b)
    with pytest.raises(ValueError, match="expected orthogonal"):
        FieldType.vector(a).representation(2 * np.eye(3))


def test_negative_multiplicities_raise() -> None:
    for make in (FieldType.vector, FieldType.scalar):
        with pytest.raises(ValueError, match="a multiplicity is a whole number >= 0; got -2"):
            make(SymmetryGroup("O(3)"), -2)
