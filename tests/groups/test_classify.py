"""Any finite set of generators gets its right name and its canonical orientation."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sikff.groups import SymmetryGroup, classify
from symmetry_cases import turn_about
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra

axial = st.builds(
    lambda letter, n, suffix: f"{letter}{n}{suffix}",
    st.sampled_from("CD"),
    st.integers(2, 7),
    st.sampled_from(["", "v", "h", "d"]),
).filter(lambda name: not (name[0] == "C" and name[-1] == "d") and name[0] + name[-1] != "Dv")
improper = st.integers(2, 6).map(lambda n: f"S{2 * n}")
point_groups = st.one_of(
    axial, improper, st.sampled_from(["C1", "Ci", "Cs", "T", "Td", "Th", "O", "Oh", "I", "Ih"])
)
rotations = st.builds(
    turn_about,
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1).map(np.array),
    st.floats(0, np.pi),
)


@given(point_groups, rotations, st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_a_conjugate_is_recognised(name: str, q: np.ndarray, random) -> None:
    original = SymmetryGroup(name)
    assert original.name == name
    matrices = [q @ g @ q.T for g in original.generators]
    products = [random.choice(matrices) @ random.choice(matrices) for _ in range(3)]
    shuffled = matrices + products
    random.shuffle(shuffled)
    group = SymmetryGroup.from_generators(shuffled)
    assert group.name == name
    assert group.order == original.order
    assert all(group.contains(g, tolerance=EXACT) for g in shuffled)
    # the canonical orientation conjugates the standard group into this one, element by element
    back = group.orientation.T @ group.elements @ group.orientation
    assert all(original.contains(g, tolerance=EXACT) for g in back)


@given(point_groups, rotations)
@settings(max_examples=20)
def test_the_orientation_depends_on_the_content_alone(name: str, q: np.ndarray) -> None:
    """Starting from a conjugate by a normaliser's element gives the same group and orientation."""
    original = SymmetryGroup(name)
    one = SymmetryGroup.from_generators(q @ original.generators @ q.T)
    assume(np.abs(one.orientation).min() > 1e-4)  # ties are broken at 1e-6
    h = original.elements[-1]
    other = SymmetryGroup.from_generators((q @ h @ original.generators @ h.T @ q.T)[::-1])
    assert one == other
    assert hash(one) == hash(other)
    np.testing.assert_allclose(one.orientation, other.orientation, atol=EXACT)


@given(rotations.filter(lambda q: abs(np.trace(q) - 3) > 1e-3))
@settings(max_examples=20)
def test_angle_and_axis_of_a_rotation(q: np.ndarray) -> None:
    angle, axis = classify.rotation_angle(q), classify.rotation_axis(q)
    np.testing.assert_allclose(q @ axis, axis, atol=1e-8)  # the axis of a small turn is soft
    both = [turn_about(axis, angle), turn_about(axis, -angle)]
    assert min(np.abs(q - r).max() for r in both) < 1e-8


@pytest.mark.parametrize("n", [(0, 0, 1), (0, 0, -1), (1, 0, 0), (0.6, 0, -0.8), (1e-8, 0, -1)])
def test_the_minimal_rotation_takes_z_to_n(n: tuple) -> None:
    n = np.array(n) / np.linalg.norm(n)
    q = classify.minimal_rotation(n)
    np.testing.assert_allclose(q[:, 2], n, atol=EXACT)
    np.testing.assert_allclose(q @ q.T, np.eye(3), atol=EXACT)
    assert np.linalg.det(q) > 0
    # minimal: turned by the angle between z and n, no more
    np.testing.assert_allclose(np.trace(q), 1 + 2 * n[2], atol=EXACT)


def test_directions_have_a_positive_representative() -> None:
    np.testing.assert_array_equal(classify.positive_direction(np.array([1.0, 0, -1])), [-1, 0, 1])
    np.testing.assert_array_equal(classify.positive_direction(np.array([-1.0, 2, 0])), [1, -2, 0])
    np.testing.assert_array_equal(classify.positive_direction(np.array([0.0, -1, 0])), [0, 1, 0])
    with pytest.raises(ValueError, match="zero vector"):
        classify.positive_direction(np.zeros(3))
