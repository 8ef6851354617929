"""Irreps: representations, irreducible, inequivalent, complete, of the declared type."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from symmetry_cases import (
    CONTINUOUS,
    FINITE,
    NAMES,
    class_average,
    elements,
    group,
    turn_about,
)
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
MORE = ("C5", "C3h", "S6", "D2", "D2d", "D4d", "D5d", "T", "Th", "O", "C4h", "D6h")
ENDOMORPHISMS = {"real": 1, "complex": 2, "quaternionic": 4}


def o3_character(l: int, parity: int, matrices: np.ndarray) -> np.ndarray:
    """Character of O(3)'s irrep (l, parity): sum_m exp(i m t), times the parity if improper."""
    det = np.sign(np.linalg.det(matrices))
    angle = np.arccos(np.clip((det * np.trace(matrices, axis1=1, axis2=2) - 1) / 2, -1, 1))
    rotation = sum(np.cos(m * angle) for m in range(-l, l + 1))
    return rotation * np.where(det > 0, 1, parity)


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_representations_are_orthogonal_homomorphisms(name: str) -> None:
    g = group(name)
    some = elements(g, 4).numpy()
    for irrep in g.irreps(3):
        rho = irrep.representation(some)
        assert rho.shape == (len(some), irrep.dim, irrep.dim)
        identity = np.broadcast_to(np.eye(irrep.dim), rho.shape)
        np.testing.assert_allclose(rho @ rho.swapaxes(1, 2), identity, atol=EXACT)
        for h, rho_h in zip(some, rho, strict=True):
            np.testing.assert_allclose(
                irrep.representation(h @ some), rho_h @ rho, atol=EXACT, err_msg=str(irrep)
            )


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_irreps_are_irreducible_inequivalent_and_of_their_type(name: str) -> None:
    """Mean of chi_i chi_j: 0 for different irreps, the number of endomorphisms for equal ones."""
    g = group(name)
    types = [FieldType(g, [(1, irrep)]) for irrep in g.irreps(2 if g.lie_dimension else 8)]
    for i, a in enumerate(types):
        for j, b in enumerate(types[: i + 1]):
            expected = ENDOMORPHISMS[a.irreps[0].type] if i == j else 0
            assert abs(class_average(g, [a, b]) - expected) < EXACT, (str(a), str(b))


@pytest.mark.parametrize("name", [*FINITE, *MORE])
def test_frobenius_schur_indicator(name: str) -> None:
    """Mean of chi(g^2): 1 real, 0 complex, -2 quaternionic."""
    g = group(name)
    for irrep in g.irreps(8):
        squares = irrep.representation(g.elements @ g.elements)
        indicator = np.trace(squares, axis1=1, axis2=2).mean()
        expected = {"real": 1, "complex": 0, "quaternionic": -2}[irrep.type]
        assert abs(indicator - expected) < EXACT, irrep.name


@pytest.mark.parametrize("name", [*FINITE, *MORE])
def test_the_list_of_a_finite_group_is_complete(name: str) -> None:
    g = group(name)
    irreps = g.irreps(9)
    assert sum(i.dim**2 // ENDOMORPHISMS[i.type] for i in irreps) == g.order
    assert len({i.name for i in irreps}) == len(irreps)
    assert g.irreps(12) == irreps  # no frequency adds any


@pytest.mark.parametrize("name", [*NAMES, *MORE])
def test_frequency_is_the_lowest_degree_that_contains_the_irrep(name: str) -> None:
    """By O(3)'s character formula; all O(3) irreps of the degree are exhausted."""
    g = group(name)
    if g.lie_dimension:  # equally spaced on the circle; Weyl's weights for the sphere
        angles = 2 * np.pi * np.arange(24) / 24
        matrices = np.array([turn_about(g.axis, t) @ c for t in angles for c in g.elements])
        weights = np.repeat(1 - np.cos(angles), len(g.elements))
        weights = weights if g.lie_dimension == 3 else np.ones(len(matrices))
    else:
        matrices, weights = np.asarray(g.elements), np.ones(len(g.elements))
    weights = weights / weights.sum()
    irreps = g.irreps(2)
    characters = [np.trace(i.representation(matrices), axis1=1, axis2=2) for i in irreps]
    assert [i.index for i in irreps] == list(range(len(irreps)))
    assert irreps[0].is_trivial
    np.testing.assert_allclose(characters[0], 1.0, atol=EXACT)
    for l in range(3):
        for parity in (1, -1):
            theirs = o3_character(l, parity, matrices)
            filled = 0
            for irrep, character in zip(irreps, characters, strict=True):
                copies = (weights * theirs * character).sum() / ENDOMORPHISMS[irrep.type]
                assert abs(copies - round(copies)) < EXACT
                filled += round(copies) * irrep.dim
                if l < irrep.frequency:
                    assert round(copies) == 0, f"{irrep} is already in l = {l}"
                if (l, parity) == (irrep.frequency, irrep.parity):
                    assert round(copies) > 0
            assert filled == 2 * l + 1


@pytest.mark.parametrize("name", [*CONTINUOUS, "C6v", "Td", "Ih"])
def test_a_higher_maximum_extends_the_list(name: str) -> None:
    g = group(name)
    assert g.irreps(1) == g.irreps(2)[: len(g.irreps(1))]
    assert all(i.frequency <= 2 for i in g.irreps(2))


def test_a_rotated_group_has_the_same_embeddings() -> None:
    g = group("tilted S4")
    standard = SymmetryGroup("S4")
    q = g.orientation
    for mine, theirs in zip(g.irreps(2), standard.irreps(2), strict=True):
        some = standard.sample(4, seed=0).numpy()
        np.testing.assert_allclose(
            mine.representation(q @ some @ q.T), theirs.representation(some), atol=EXACT
        )
        assert mine != theirs  # they are irreps of different groups
        assert mine.name == theirs.name


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("O(3)", "0e 0o 1o 1e 2e 2o"),
        ("SO(3)", "0 1 2"),
        ("SO(2)", "A E1 E2"),
        ("C_inf_v", "A1 A2 E1 E2"),
        ("C1", "A"),
        ("Ci", "Ag Au"),
        ("Cs", "A' A\""),
        ("C4", "A E1 B"),
        ("C6v", "A1 A2 E1 E2 B1 B2"),
        ("D3", "A1 A2 E1"),
        ("O", "A1 T1 E T2 A2"),
        ("Oh", "A1g A1u T1u T1g Eg T2g Eu T2u A2u A2g"),
        ("I", "A T1 H T2 G"),
    ],
)
def test_labels(name: str, labels: str) -> None:
    g = SymmetryGroup(name)
    assert " ".join(map(str, g.irreps(3 if g.order < 200 else 2))) == labels


def test_irreps_are_values() -> None:
    one, two = SymmetryGroup("Td").irreps(2)[2], SymmetryGroup("Td").irreps(1)[2]
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == one
    assert one != SymmetryGroup("Td").irreps(2)[3]
    with pytest.raises(ValueError, match="read-only"):
        one.embedding[0] = 0.0
    with pytest.raises(AttributeError):
        one.dim = 5


@pytest.mark.parametrize("frequency", [-1, 1.5])
def test_bad_frequency(frequency: float) -> None:
    with pytest.raises(ValueError, match="whole number >= 0"):
        SymmetryGroup("SO(2)").irreps(frequency)


def test_irreps_are_equal_by_group_and_index_alone() -> None:
    first, second = SymmetryGroup("C3v").irreps(1)[:2]
    renamed = dataclasses.replace(first, name="Gamma1")
    assert renamed == first
    assert hash(renamed) == hash(first)
    assert second != first
    assert SymmetryGroup("C4v").irreps(0)[0] != first
