"""Wallpaper groups: names, lattices, operations."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from ase.spacegroup import Spacegroup

from sikff.surface import Wallpaper
from sikff.surface.lattice import reduced
from sikff.surface.operations import Operation
from wallpaper_cases import NAMES, POINT_GROUPS, TILT, lattice_of, moved_wallpaper, wallpaper

EXACT = 1e-12
# space groups that are a wallpaper group times a line, and the axes of its plane
SPACE_GROUPS = {
    "p1": (1, [0, 1]), "p2": (3, [0, 2]), "pm": (6, [1, 2]), "pg": (7, [1, 2]), "cm": (8, [1, 0]),
    "p2mm": (25, [0, 1]), "p2mg": (28, [0, 1]), "p2gg": (32, [0, 1]), "c2mm": (35, [0, 1]),
    "p4": (75, [0, 1]), "p4mm": (99, [0, 1]), "p4gm": (100, [0, 1]), "p3": (143, [0, 1]),
    "p3m1": (156, [0, 1]), "p31m": (157, [0, 1]), "p6": (168, [0, 1]), "p6mm": (183, [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_operations_are_those_of_the_international_tables(name: str) -> None:
    """Against the tables of space groups in ASE, in coordinates of the conventional cell."""
    number, axes = SPACE_GROUPS[name]
    expected = set()
    for matrix, shift in zip(*Spacegroup(number).get_op(), strict=True):
        expected.add(code(matrix[np.ix_(axes, axes)], shift[axes]))
    cell = lattice_of(name)
    coordinates = np.linalg.inv(cell @ cell.T) @ cell
    w = Wallpaper(name, cell)
    found = set()
    for rotation, t in zip(w.rotations, w.translations, strict=True):
        for m, n in itertools.product((0, 1), repeat=2):  # two translations of a centred cell
            shift = t + np.array([m, n]) @ w.lattice
            found.add(code(coordinates @ rotation @ cell.T, coordinates @ shift))
    assert found == expected


def code(matrix: np.ndarray, shift: np.ndarray) -> tuple:
    twelfths = tuple((12 * shift).round().astype(int) % 12)
    assert np.abs(12 * shift - (12 * shift).round()).max() < 1e-9
    return (*np.round(matrix).astype(int).ravel(), *twelfths)


@pytest.mark.parametrize("name", NAMES)
def test_operations_form_a_group_modulo_translations(name: str) -> None:
    w = wallpaper(name)
    np.testing.assert_allclose(w.rotations[0], np.eye(3), atol=EXACT)
    np.testing.assert_allclose(w.rotations @ w.normal, np.tile(w.normal, (len(w.rotations), 1)))
    for i, j in itertools.product(range(len(w.operations)), repeat=2):
        product = w.rotations[i] @ w.rotations[j]
        shift = w.rotations[i] @ w.translations[j] + w.translations[i]
        k = w.operation_indices(product)[0]
        assert np.abs(w.rotations[k] - product).max() < EXACT
        assert w.lattice_misfit((shift - w.translations[k])[None]) < EXACT
    images = np.einsum("nij,kj->nki", w.rotations, w.lattice).reshape(-1, 3)
    assert w.lattice_misfit(images) < EXACT


@pytest.mark.parametrize("name", NAMES)
def test_the_point_group_is_oriented_as_the_lattice(name: str) -> None:
    w = wallpaper(name)
    assert w.point_group.name == POINT_GROUPS[name]
    assert w.point_group.order == len(w.operations)
    assert all(w.point_group.contains(r) for r in w.rotations)
    with pytest.raises(ValueError, match="expected elements of the point group"):
        w.operation_indices(-np.eye(3))


@pytest.mark.parametrize("name", NAMES)
def test_operations_tell_their_group(name: str) -> None:
    """The name follows from the operations, whatever the basis, the origin and the setting."""
    w = wallpaper(name)
    assert w.name == name
    basis = np.array([[1, 2], [1, 1]])
    move = np.array([0.123, 0.456])
    generators = []
    for o in w.operations:
        matrix = np.linalg.inv(basis.T) @ o.matrix @ basis.T
        shift = np.linalg.inv(basis.T) @ (np.array(o.shift) + move - o.matrix @ move)
        generators.append(Operation.of(matrix.round(), shift))
    again = Wallpaper.from_generators(basis @ w.lattice, generators)
    assert again.name == name
    assert again.point_group == w.point_group


@pytest.mark.parametrize(
    ("name", "other"),
    [("p2mm", "pmm"), ("p2mg", "pmg"), ("p2gg", "P2GG"), ("p2gg", "pgg"), ("c2mm", "cmm"),
     ("pm", "p1m1"), ("pg", "p1g1"), ("cm", "c1m1"), ("cm", "c 1 m 1"), ("p4mm", "p4m"),
     ("p4gm", "p4g"), ("p6mm", "p6m")],
)  # fmt: skip
def test_long_and_short_names_are_the_same_group(name: str, other: str) -> None:
    assert Wallpaper(other, lattice_of(name)) == wallpaper(name)


@pytest.mark.parametrize(
    ("name", "exchanged"), [("pm", "p11m"), ("pg", "p11g"), ("cm", "c11m"), ("p2mg", "p2gm")]
)
def test_other_settings_exchange_the_lattice_vectors(name: str, exchanged: str) -> None:
    w, other = wallpaper(name), Wallpaper(exchanged, lattice_of(name)[::-1])
    assert other.name == name
    assert np.abs(w.rotations - other.rotations).max() < EXACT
    assert w.lattice_misfit(w.translations - other.translations) < EXACT
    assert Wallpaper(exchanged, lattice_of(name)) != w


@pytest.mark.parametrize("name", ["p3", "p3m1", "p31m", "p6", "p6mm", "p4", "p4mm", "p4gm"])
def test_square_and_hexagonal_lattices_may_be_given_by_any_vectors(name: str) -> None:
    w, (a, b) = wallpaper(name), lattice_of(name)
    for vectors in ([a, a + b], [b, a], [2 * a + b, a], [a, -b]):
        other = Wallpaper(name, np.array(vectors))
        assert other.point_group == w.point_group
        assert w.lattice_misfit(other.lattice) < EXACT
        order = other.operation_indices(w.rotations)
        assert w.lattice_misfit(w.translations - other.translations[order]) < EXACT


@pytest.mark.parametrize("name", ["cm", "c11m", "c2mm"])
def test_centred_groups_take_the_rectangle_or_the_rhombus(name: str) -> None:
    a, b = lattice_of("cm")
    rectangle, rhombus = Wallpaper(name, [a, b]), Wallpaper(name, [(a - b) / 2, (a + b) / 2])
    assert rectangle == rhombus
    assert np.linalg.norm(np.cross(*rhombus.lattice)) == pytest.approx(3.1 * 4.3 / 2)
    reverses = rectangle.rotations @ (b if name == "c11m" else a)
    assert np.abs(reverses + (b if name == "c11m" else a)).sum(axis=1).min() < 1e-9
    square = Wallpaper("cm", [[3.0, 0.0], [0.0, 3.0]])  # the sides of a centred square
    assert np.linalg.norm(square.lattice[0]) == pytest.approx(3 / np.sqrt(2))


def test_lattices_with_few_digits_are_made_exact() -> None:
    w = Wallpaper("p6m", [[2.46, 0], [1.23, 2.1304]])
    a, b = w.lattice
    assert a @ a == pytest.approx(b @ b, rel=1e-14)
    assert a @ b == pytest.approx(-a @ a / 2, rel=1e-14)
    assert w.lattice_misfit(np.array([[2.46, 0, 0], [1.23, 2.1304, 0]])) < 1e-3
    assert Wallpaper("p4", 2 * np.eye(2)).lattice.tolist() == [[2, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize(
    ("name", "vectors", "message"),
    [
        ("p4", [[3, 0], [0, 3.1]], r"p4 needs a square lattice; got \|a\| = 3 Å, .* 0.05 Å off"),
        ("p6m", [[3, 0], [0, 3]], "needs a hexagonal lattice .* angle 90°"),
        ("pmm", [[3, 0], [0.2, 3.1]], "needs a rectangular lattice .* Give the lattice to more"),
        ("cmm", [[3, 0], [0.2, 3.1]], "two vectors of equal length"),
        ("p1", [[3, 0], [6, 0]], "along one line"),
        ("p1", [[3, 0], [np.nan, 1]], "expected two vectors of two or three numbers"),
        ("p1", np.eye(3), "expected two vectors"),
        ("p5", np.eye(2), "unknown wallpaper group 'p5'; expected one of p1, p2, pm"),
    ],
)
def test_lattices_that_do_not_fit_raise(name: str, vectors: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wallpaper(name, vectors)


def test_groups_from_generators() -> None:
    lattice = lattice_of("pg")
    assert Wallpaper.from_generators(lattice, ["-x, y+1/2"]) == Wallpaper("pg", lattice)
    square = lattice_of("p4gm")
    w = Wallpaper.from_generators(square, ["-y,x", "-x + 0.5, 0.5 + y"])
    assert w == Wallpaper("p4g", square)
    assert Wallpaper.from_generators(square, []).name == "p1"
    moved = Wallpaper.from_generators(lattice, ["-x+0.3, y+0.5000004"])  # glide line at x = 0.15
    assert moved.name == "pg"
    (a, b) = moved.operations[1].shift
    assert (a, b) == (pytest.approx(0.3, abs=1e-12), 0.5)


@pytest.mark.parametrize(
    ("generators", "message"),
    [
        (["-x, y+1/3"], "make the translation .* of the lattice vectors too"),
        (["-x+1/2,-y", "-x,-y"], "make the translation"),
        (["-y,x"], r"the lattice \(\|a\| = 3.1 Å, .* does not have the operations -y, x: it is"),
        (["x+y,y"], "span more than 12 operations"),
        (["x,z"], "got the operation 'x,z'; expected a form like"),
        (["x"], "expected a form like"),
        (["x,y,z"], "expected a form like"),
        (["x,x"], "whole numbers .* with determinant 1 or -1"),
        (["2x,y"], "expected a form like"),
        (["x,y+1/0"], "expected a form like"),
    ],
)
def test_generators_that_do_not_fit_raise(generators: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Wallpaper.from_generators(lattice_of("pm"), generators)


@pytest.mark.parametrize(
    "text", ["x, y", "-x+1/2, y", "-y, x-y+1/3", "y+1/8, x+0.123", "-x+0.00000012345678912345, y"]
)
def test_operations_print_as_they_are_read(text: str) -> None:
    assert str(Operation.parse(text)) == text
    assert Operation.parse(str(Operation.parse(text))) == Operation.parse(text)


@pytest.mark.parametrize("name", NAMES)
def test_lattice_and_texts_of_operations_make_the_same_group(name: str) -> None:
    for one in (wallpaper(name), moved_wallpaper(name)):
        again = Wallpaper.from_generators(one.lattice.tolist(), map(str, one.operations))
        assert np.abs(again.lattice - one.lattice).max() == 0.0
        assert np.abs(again.rotations - one.rotations).max() < 1e-14
        assert one.lattice_misfit(again.translations - one.translations) < 1e-14
        assert again == one
        assert hash(again) == hash(one)


def test_cells_are_compared_with_the_lattice() -> None:
    w = Wallpaper("p6m", lattice_of("p6mm"))
    a, b = w.lattice
    assert w.lattice_misfit(np.array([4 * a + 2 * b, 3 * b])) < EXACT
    assert w.lattice_misfit(np.array([4.1 * a, 3 * b])) == pytest.approx(0.31, abs=1e-9)
    assert w.lattice_misfit(np.array([a + 0.2 * w.normal])) == pytest.approx(0.2)
    assert w.lattice_misfit(np.zeros((0, 3))) == 0.0


def test_wallpaper_groups_are_values() -> None:
    w = wallpaper("p4gm")
    assert w != wallpaper("p4mm")
    assert w != Wallpaper("p4gm", 1.01 * lattice_of("p4gm"))
    assert w != "p4gm"
    assert w != Wallpaper("p4", lattice_of("p4gm"))
    for again in (pickle.loads(pickle.dumps(w)), copy.deepcopy(w), wallpaper("p4gm")):
        assert again == w
        assert hash(again) == hash(w)
    assert repr(Wallpaper("pg", 3 * np.eye(2))) == (
        "Wallpaper(pg: |a| = 3 Å, |b| = 3 Å, angle 90°)"
    )
    with pytest.raises(AttributeError, match="immutable"):
        w.name = "p1"
    with pytest.raises(ValueError, match="read-only"):
        w.lattice[0, 0] = 1.0


def test_reduction_keeps_vectors_that_are_shortest() -> None:
    for name in ("p1", "pm", "p4", "p6"):
        given = lattice_of(name)
        assert np.abs(reduced(given) - given).max() == 0.0 or name == "p1"
    a, b = lattice_of("p1")
    shortest = reduced(np.array([5 * a + 2 * b, 3 * a + b]))
    lengths = np.linalg.norm(shortest, axis=1)
    assert sorted(lengths.round(9)) == [3.1, 4.3]
    assert shortest[0] @ shortest[1] <= 0
    assert np.abs(TILT @ TILT.T - np.eye(3)).max() < EXACT
