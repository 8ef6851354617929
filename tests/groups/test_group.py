"""SymmetryGroup as a value: equality by content, membership, sampling, errors."""

import copy
import pickle

import numpy as np
import pytest
import torch

from sikff.groups import SymmetryGroup, classify
from symmetry_cases import FINITE, NAMES, TILTED_AXIS, group, turn_about
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
Z = np.array([0.0, 0.0, 1.0])


def turned(g: SymmetryGroup, q: np.ndarray) -> SymmetryGroup:
    """Q G Q^T, made from generators."""
    lie_axes = {0: [], 1: [q @ g.axis], 3: [Z, [1, 0, 0]]}[g.lie_dimension]
    return SymmetryGroup.from_generators(q @ g.elements @ q.T, lie_axes=lie_axes)


# -- content ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_elements_are_orthogonal_and_closed(name: str) -> None:
    g = group(name)
    elements = g.elements
    identity = np.broadcast_to(np.eye(3), elements.shape)
    np.testing.assert_allclose(elements @ elements.swapaxes(1, 2), identity, atol=EXACT)
    np.testing.assert_allclose(g.orientation.T @ g.orientation, np.eye(3), atol=EXACT)
    assert np.linalg.det(g.orientation) > 0
    for h in [*elements[:3], *g.generators]:
        assert all(g.contains(h @ e, tolerance=EXACT) for e in elements)
        assert g.contains(h.T, tolerance=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_generators_span_the_group(name: str) -> None:
    g = group(name)
    lie_axes = {0: [], 1: [g.axis], 3: [Z, [1, 0, 0]]}[g.lie_dimension]
    again = SymmetryGroup.from_generators(g.generators, lie_axes=lie_axes)
    assert again == g
    np.testing.assert_allclose(again.orientation, g.orientation, atol=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_samples_belong_to_the_group_and_repeat(name: str) -> None:
    g = group(name)
    samples = g.sample(20, seed=3)
    assert samples.dtype == torch.float64
    assert samples.shape == (20, 3, 3)
    assert all(g.contains(h, tolerance=EXACT) for h in samples)
    assert torch.equal(samples, g.sample(20, seed=3))
    if g.order > 2:
        assert not torch.equal(samples, g.sample(20, seed=4))
    assert g.sample(0, seed=0).shape == (0, 3, 3)


@pytest.mark.parametrize("name", NAMES)
def test_samples_are_uniform(name: str) -> None:
    """The mean of a matrix over G is the projector on the invariant vectors."""
    g = group(name)
    mean = g.sample(4000, seed=0).mean(0).numpy()
    components = g.elements.mean(0)
    if g.lie_dimension == 1:
        components = np.outer(g.axis, g.axis) @ components
    elif g.lie_dimension == 3:
        components = np.zeros((3, 3))
    assert np.abs(mean - components).max() < 0.06  # 4 standard deviations of the mean


def test_sampling_reaches_every_element() -> None:
    g = SymmetryGroup("Td")
    seen = {int(np.abs(g.elements - h.numpy()).max((1, 2)).argmin()) for h in g.sample(400, seed=0)}
    assert seen == set(range(24))


def test_sampling_leaves_the_global_generators_alone() -> None:
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    SymmetryGroup("O(3)").sample(5)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


# -- equality ---------------------------------------------------------------------------------


def test_groups_are_equal_by_content() -> None:
    assert SymmetryGroup("D2") == SymmetryGroup("D2", axis=(1, 0, 0))
    assert SymmetryGroup("D2", axis=(0, 1, 0)) == SymmetryGroup("D2")
    assert SymmetryGroup("SO(2)", axis=(0, 0, -1)) == SymmetryGroup("SO(2)")
    assert SymmetryGroup("C4", axis=(0, 0, -3)) == SymmetryGroup("C4")
    assert SymmetryGroup("C_inf_v", axis=(1, 2, 2)) == SymmetryGroup("O(2)", axis=(-2, -4, -4))
    assert SymmetryGroup("Oh", axis=(0, 1, 0)) == SymmetryGroup("Oh")
    assert SymmetryGroup("O(3)", axis=(1, 2, 3)) == SymmetryGroup("O(3)")
    assert SymmetryGroup("C1", axis=(1, 2, 3)) == SymmetryGroup("C1")
    assert SymmetryGroup("Ci", axis=(1, 2, 3)) == SymmetryGroup("Ci")


@pytest.mark.parametrize(
    ("name", "dimension"),
    [("C1", 3), ("Cs", 2), ("C3", 1), ("SO(2)", 1), ("C6v", 1)]
    + [(name, 0) for name in ("Ci", "S4", "D3", "C_inf_h", "D_inf", "Td", "SO(3)", "O(3)")],
)
def test_invariant_vectors(name: str, dimension: int) -> None:
    g = SymmetryGroup(name, axis=(1, -2, 0.5))
    vectors = g.invariant_vectors
    assert vectors.shape == (dimension, 3)
    assert np.allclose(vectors @ vectors.T, np.eye(dimension))
    for element in g.sample(8, seed=0).numpy():
        assert np.allclose(vectors @ element.T, vectors)


def test_different_groups_differ() -> None:
    assert SymmetryGroup("D2") != SymmetryGroup("D2", axis=(1, 1, 0))
    assert SymmetryGroup("SO(2)") != SymmetryGroup("SO(2)", axis=(1, 0, 0))
    assert SymmetryGroup("SO(2)") != SymmetryGroup("C_inf_v")
    assert SymmetryGroup("C3v") != SymmetryGroup("D3")
    assert SymmetryGroup("Oh", axis=(1, 1, 1)) != SymmetryGroup("Oh")
    tilted = np.eye(3) @ turn_about(Z, np.pi / 6)
    assert turned(SymmetryGroup("C3v"), tilted) != SymmetryGroup("C3v")  # other mirrors
    assert SymmetryGroup("C4") != "C4"


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("C1", "Ci")])
def test_a_rotated_group_differs_but_has_the_same_name(name: str) -> None:
    g = group(name)
    q = turn_about(np.array([0.3, -0.8, 0.4]), 0.9)
    other = turned(g, q)
    assert other.name == g.name
    assert (other == g) == (g.lie_dimension == 3)
    assert turned(other, q.T) == g


@pytest.mark.parametrize("name", NAMES)
def test_equal_groups_hash_and_pickle_alike(name: str) -> None:
    g = group(name)
    again = pickle.loads(pickle.dumps(g))
    assert again == g
    assert hash(again) == hash(g)
    assert again.name == g.name
    assert {g: 1}[copy.deepcopy(g)] == 1
    np.testing.assert_allclose(again.elements, g.elements, atol=EXACT)
    np.testing.assert_allclose(again.orientation, g.orientation, atol=EXACT)


@pytest.mark.parametrize("name", ["SO(2)", "Td"])
def test_groups_are_immutable(name: str) -> None:
    g = SymmetryGroup(name)
    for attribute in ("name", "orientation", "axis", "elements", "order", "anything"):
        with pytest.raises(AttributeError):
            setattr(g, attribute, None)
    for array in (g.elements, g.orientation):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


def test_repr_names_an_axis_other_than_z() -> None:
    assert str(SymmetryGroup("C6v")) == "C6v"
    assert str(SymmetryGroup("C6v", axis=(1, 0, 0))) == "C6v about (1, 0, 0)"
    assert repr(SymmetryGroup("O(2)")) == "SymmetryGroup(C_inf_v)"


def test_standard_orientation() -> None:
    assert group("tilted S4").standard == SymmetryGroup("S4")
    np.testing.assert_array_equal(SymmetryGroup("Td", axis=(1, 1, 0)).standard.axis, Z)


# -- membership -------------------------------------------------------------------------------


def test_contains() -> None:
    conical = SymmetryGroup("C_inf_v", axis=(1, 1, 0))
    n = np.array([1.0, 1.0, 0.0])
    assert conical.contains(turn_about(n, 0.123))
    assert conical.contains(np.diag([1.0, 1.0, -1.0]))
    assert not conical.contains(-np.eye(3))
    assert not conical.contains(np.diag([1.0, -1.0, 1.0]))
    assert not conical.contains(turn_about([1.0, 1.0, 1e-3], 0.123))
    assert SymmetryGroup("SO(3)").contains(turn_about(n, 1.0))
    assert not SymmetryGroup("SO(3)").contains(-np.eye(3))
    assert SymmetryGroup("C4").contains(turn_about(Z, np.pi / 2))
    assert not SymmetryGroup("C4").contains(turn_about(Z, np.pi / 4))
    assert SymmetryGroup("C4").contains(torch.eye(3, dtype=torch.float32))


LATTICE = [
    ("C1", "Cs"),
    ("SO(3)", "O(3)"),
    ("SO(2)", "C_inf_v"),
    ("SO(2)", "C_inf_h"),
    ("SO(2)", "D_inf"),
    ("C_inf_v", "D_inf_h"),
    ("C_inf_h", "D_inf_h"),
    ("D_inf", "D_inf_h"),
    ("D_inf_h", "O(3)"),
    ("D_inf", "SO(3)"),
    ("C6v", "C_inf_v"),
    ("C3v", "C6v"),
    ("C4", "SO(2)"),
    ("C710", "SO(2)"),  # 1 rad is within 1e-7 of one of its rotations
    ("D3", "D3h"),
    ("D3h", "D_inf_h"),
    ("D6", "D_inf"),
    ("C6h", "C_inf_h"),
    ("T", "Td"),
    ("T", "O"),
    ("Td", "Oh"),
    ("O", "Oh"),
    ("T", "I"),
    ("I", "Ih"),
    ("Th", "Ih"),
    ("Ih", "O(3)"),
    ("I", "SO(3)"),
    ("D2", "T"),
    ("S4", "D2d"),
    ("D2d", "Td"),
    ("Ci", "Oh"),
]


@pytest.mark.parametrize(("smaller", "larger"), LATTICE)
def test_subgroups(smaller: str, larger: str) -> None:
    a, b = SymmetryGroup(smaller), SymmetryGroup(larger)
    assert a <= b
    assert b >= a
    assert a <= a
    assert not b <= a


@pytest.mark.parametrize(
    ("a", "b"), [("O", "Td"), ("C4", "Td"), ("C_inf_v", "D_inf"), ("Ih", "Oh"), ("C5", "C6")]
)
def test_groups_without_inclusion(a: str, b: str) -> None:
    assert not SymmetryGroup(a) <= SymmetryGroup(b)
    assert not SymmetryGroup(b) <= SymmetryGroup(a)


def test_a_subgroup_must_be_about_the_same_axis() -> None:
    assert not SymmetryGroup("C4", axis=(1, 1, 0)) <= SymmetryGroup("SO(2)")
    assert SymmetryGroup("C3", axis=(1, 1, 1)) <= SymmetryGroup("T")
    assert not SymmetryGroup("C3") <= SymmetryGroup("T")
    assert SymmetryGroup("C5", axis=(0, 1, (1 + 5**0.5) / 2)) <= SymmetryGroup("I")


# -- making groups ----------------------------------------------------------------------------


def test_continuous_groups_from_generators() -> None:
    make = SymmetryGroup.from_generators
    mirror_z = np.diag([1.0, 1.0, -1.0])
    assert make(lie_axes=[(0, 0, 2)]) == SymmetryGroup("SO(2)")
    assert make([mirror_z], lie_axes=[Z]) == SymmetryGroup("C_inf_h")
    assert make([np.diag([-1.0, 1.0, 1.0])], lie_axes=[Z]) == SymmetryGroup("C_inf_v")
    assert make([np.diag([-1.0, 1.0, -1.0])], lie_axes=[Z]) == SymmetryGroup("D_inf")
    assert make([turn_about(Z, 0.3)], lie_axes=[Z]) == SymmetryGroup("SO(2)")
    assert make([turn_about([1, 0, 0], 0.3)], lie_axes=[Z]) == SymmetryGroup("SO(3)")
    assert make([mirror_z], lie_axes=[Z, [1, 0, 0]]) == SymmetryGroup("O(3)")
    assert make(lie_axes=[Z, -Z]) == SymmetryGroup("SO(2)")
    assert make() == SymmetryGroup("C1")


def test_an_axis_with_a_nearly_parallel_image_raises() -> None:
    axis = np.array([0.36, 0.48, 0.8])
    mirror = np.eye(3) - 2 * np.outer(axis, axis)
    make = SymmetryGroup.from_generators
    assert make([mirror], lie_axes=[axis]) == SymmetryGroup("C_inf_h", axis)
    rough = np.eye(3) - 2 * np.outer(*2 * [axis + np.array([1e-5, 0, -1e-5])])
    with pytest.raises(ValueError, match="give matrices and axes to more digits"):
        make([rough], lie_axes=[axis])


def test_a_group_from_one_generator_about_a_tilted_axis() -> None:
    g = group("tilted S4")
    assert g.name == "S4"
    assert abs(abs(g.axis @ TILTED_AXIS) - 1) < EXACT
    assert g == SymmetryGroup("S4", axis=TILTED_AXIS)


@pytest.mark.parametrize("name", ["C3v", "C4", "Td", "D3", "C_inf_v", "Oh"])
@pytest.mark.parametrize("tilt", [0.0, 1e-9, 3e-7, 1e-5, 1e-2])
def test_an_axis_close_to_minus_z_loses_no_digits(name: str, tilt: float) -> None:
    """1 + z is a difference of nearly equal numbers there."""
    axis = np.array([tilt, tilt / 3, -1.0])
    g = SymmetryGroup(name, axis=axis)
    assert g.name == name
    np.testing.assert_allclose(g.orientation @ g.orientation.T, np.eye(3), atol=EXACT)
    identity = np.broadcast_to(np.eye(3), g.elements.shape)
    np.testing.assert_allclose(g.elements @ g.elements.swapaxes(1, 2), identity, atol=EXACT)
    if name in ("C3v", "C4", "D3", "C_inf_v"):
        direction = axis / np.linalg.norm(axis)
        np.testing.assert_allclose(abs(g.axis @ direction), 1.0, atol=EXACT)


@pytest.mark.parametrize(
    "axis", [(0, 0, 0), (0, 1), (0, 0, float("nan")), (0, 0, float("inf")), ((0, 0, 1),)]
)
def test_bad_axes(axis: tuple) -> None:
    with pytest.raises(ValueError, match="axis must be three finite numbers"):
        SymmetryGroup("C4", axis=axis)
    with pytest.raises(ValueError, match="axis must be three finite numbers"):
        SymmetryGroup.from_generators(lie_axes=[axis])


@pytest.mark.parametrize("matrix", [2 * np.eye(3), np.full((3, 3), np.nan), np.eye(3) + 1e-3])
def test_bad_matrices(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected orthogonal matrices"):
        SymmetryGroup.from_generators([matrix])
    with pytest.raises(ValueError, match="expected orthogonal matrices"):
        SymmetryGroup("O(3)").contains(matrix)


def test_bad_shapes() -> None:
    with pytest.raises(ValueError, match=r"expected 3x3 matrices.*\(1, 2, 2\)"):
        SymmetryGroup.from_generators([np.eye(2)])
    with pytest.raises(ValueError, match="takes one matrix"):
        SymmetryGroup("C4").contains(np.stack([np.eye(3)] * 2))


def test_an_infinite_group_needs_its_axes() -> None:
    with pytest.raises(ValueError, match=r"more than 4000 elements.*lie_axes"):
        SymmetryGroup.from_generators([turn_about(Z, 1.0)])


@pytest.mark.parametrize("name", [name for name in FINITE if name not in ("C1", "Ci")])
def test_inexact_generators_make_an_exact_group(name: str) -> None:
    rng = np.random.default_rng(0)
    q = turn_about([1.0, 2.0, -0.3], 0.4)
    g = turned(SymmetryGroup(name), q)
    noisy = [turn_about(rng.normal(size=3), 1e-8) @ generator for generator in g.generators]
    again = SymmetryGroup.from_generators(noisy)
    assert again == g
    assert all(
        again.contains(a @ b, tolerance=EXACT) for a in again.elements[:5] for b in again.elements
    )


@pytest.mark.parametrize("noise", [3e-7, 1e-6])
@pytest.mark.parametrize("name", ["C6v", "D6h", "O"])
def test_generators_too_inexact_to_close_raise(name: str, noise: float) -> None:
    rng = np.random.default_rng(0)
    noisy = [turn_about(rng.normal(size=3), noise) @ h for h in SymmetryGroup(name).generators]
    try:
        group = SymmetryGroup.from_generators(noisy)
    except ValueError as error:
        assert "the generators span" in str(error)
    else:
        assert group.name == name  # they closed after all


def test_elements_that_are_no_point_group_raise() -> None:
    elements = SymmetryGroup("C6v").elements
    with pytest.raises(ValueError, match="8 rotations of order up to 6, which is no point group"):
        classify.schoenflies(np.concatenate([elements[np.linalg.det(elements) > 0], elements[:2]]))
