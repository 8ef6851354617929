"""Lie matrices of functions of known symmetry, in closed form."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sikff.training.studies.nbody.particle_symmetry import derivatives
from sikff.training.symmetry.from_labels import find_field_directions
from sikff.training.symmetry.lie import LieMatrix, angle_between, snap_axis
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
THRESHOLD = 1e-3
AXIS = torch.tensor([1.0, 2.0, 2.0]).double() / 3


def matrix_of(function: object, generator: torch.Generator, n: int = 200) -> LieMatrix:
    x = torch.randn(n, 1, 1, 3, generator=generator, dtype=torch.float64)
    assert callable(function)
    return LieMatrix.of_derivatives(derivatives(function, x).numpy(), 1.0, THRESHOLD)


def test_a_gradient_of_a_linear_energy(generator: torch.Generator) -> None:
    """f = c n: L_w f = -w x c n, so M = c^2 (1 - n n^T) whatever the points."""
    found = matrix_of(lambda x: 3 * AXIS.expand_as(x[..., 0, :]), generator)
    n = AXIS.numpy()
    assert abs(found.matrix - 9 * (np.eye(3) - np.outer(n, n))).max() < EXACT
    assert found.n_symmetries == 1
    assert angle_between(found.axes[0], n) < 1e-5
    assert [defect.size for defect in found.defects[1:]] == pytest.approx([3.0, 3.0])


def test_a_spring_along_an_axis(generator: torch.Generator) -> None:
    """f = (n . x) n: L_w f = (n . (w x x)) n - (n . x) w x n. For w across n and an isotropic
    x |L_w f|^2 is 1 + 1 on average."""
    found = matrix_of(lambda x: (x[..., 0, :] @ AXIS)[..., None] * AXIS, generator, n=20_000)
    sizes = np.array([defect.size for defect in found.defects]) ** 2
    assert sizes[0] < EXACT
    assert sizes[1:] == pytest.approx([2.0, 2.0], rel=0.05)  # of a mean over 20,000 points


def test_a_central_force_has_every_rotation(generator: torch.Generator) -> None:
    def central(x: Tensor) -> Tensor:
        return x[..., 0, :] * x[..., 0, :].square().sum(dim=-1, keepdim=True)

    found = matrix_of(central, generator)
    assert found.n_symmetries == 3
    assert abs(found.matrix).max() < EXACT
    assert matrix_of(lambda x: central(x) * torch.tensor([1, 1, 1.1]), generator).n_symmetries == 1


def test_a_force_without_rotations(generator: torch.Generator) -> None:
    sides = torch.tensor([1.0, 2.0, 4.0]).double()
    found = matrix_of(lambda x: x[..., 0, :] * sides, generator)
    assert found.n_symmetries == 0


def test_noise_does_not_break_a_symmetry() -> None:
    """Two estimates of nothing: M has no bias, and the limit is that of the noise."""
    rng = np.random.default_rng(0)
    first, second = 0.1 * rng.normal(size=(2, 3, 50, 4))
    found = LieMatrix.of_derivatives(first, 1.0, 1e-6, second)
    assert found.n_symmetries == 3
    assert LieMatrix.of_derivatives(first, 1.0, 1e-6).n_symmetries == 0
    assert found.noise.diagonal() == pytest.approx([4 * 0.01 / 2] * 3, rel=0.3)


def test_labels_that_are_all_zero_raise() -> None:
    with pytest.raises(ValueError, match="not all zero"):
        LieMatrix.of_derivatives(np.zeros((3, 2, 1)), 0.0, THRESHOLD)


def test_the_distinct_axis_is_that_of_the_eigenvalue_furthest_from_the_middle() -> None:
    for values, place in (((1.0, 4.0, 4.1), 0), ((1.0, 1.1, 4.0), 2)):
        lie = LieMatrix(np.diag(values), np.zeros((3, 3)), THRESHOLD)
        assert lie.distinct_axis.tolist() == np.eye(3)[place].tolist()


def test_axes_near_a_special_direction_snap_to_it() -> None:
    assert snap_axis(np.array([0.001, 0, -1]), []).tolist() == [0, 0, 1]
    tilted = np.array([0.3, 0, 1]) / np.hypot(0.3, 1)
    assert snap_axis(tilted, []).tolist() == tilted.round(4).tolist()
    assert snap_axis(tilted + 0.001 * np.eye(3)[1], [tilted]).tolist() == tilted.tolist()


def test_fields_along_one_line_have_one_direction() -> None:
    fields = np.array([[0, 0, 0], [0, 0.1, 0], [0, -0.3, 0]])
    assert find_field_directions(fields).tolist() == [[0, 1, 0]]
    assert len(find_field_directions(fields + np.eye(3))) > 1
    assert not len(find_field_directions(0 * fields))
