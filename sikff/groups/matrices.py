"""Orthogonal 3x3 matrices and directions: checks, rotations, axes and angles."""

import math
from collections.abc import Sequence

import numpy as np
import torch

Array = np.ndarray
Matrices = torch.Tensor | Array | Sequence

SAME = 1e-6  # two matrices, or directions, closer than this are the same


def as_matrices(matrices: Matrices) -> Array:
    """Matrices [..., 3, 3] as a float64 array.

    Raises:
        ValueError: another shape, or matrices that are not orthogonal to 1e-4.
    """
    if isinstance(matrices, torch.Tensor):
        matrices = matrices.detach().cpu().numpy()
    array = np.asarray(matrices, dtype=np.float64)
    if array.shape[-2:] != (3, 3):
        raise ValueError(f"expected 3x3 matrices, shape [..., 3, 3]; got shape {array.shape}")
    error = np.abs(array @ np.swapaxes(array, -1, -2) - np.eye(3)).max(initial=0.0)
    if not error < 1e-4:
        raise ValueError(f"expected orthogonal matrices; got |g g^T - 1| up to {error:.1e}")
    return array


def unit_vector(axis: Sequence[float] | Array) -> Array:
    """The unit vector [3] along an axis.

    Raises:
        ValueError: the axis is not three finite numbers, or all are zero.
    """
    direction = np.asarray(axis, dtype=np.float64)
    length = np.linalg.norm(direction) if direction.shape == (3,) else math.nan
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"axis must be three finite numbers, not all zero; got {axis!r}")
    return direction / length


def rotation(axis: Array, angle: float) -> Array:
    """The 3x3 rotation by ``angle`` (radians) about ``axis`` (Rodrigues' formula)."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * (k @ k)


def rotation_angle(g: Array) -> float:
    """Angle in [0, pi] of a proper rotation."""
    sine = np.linalg.norm([g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]]) / 2
    return float(np.arctan2(sine, (np.trace(g) - 1) / 2))


def rotation_axis(g: Array) -> Array:
    """Unit axis (up to sign) of a proper rotation other than the identity."""
    symmetric = g + g.T + (1 - np.trace(g)) * np.eye(3)  # 2 (1 - cos) n n^T
    column = symmetric[:, np.argmax(np.linalg.norm(symmetric, axis=0))]
    return column / np.linalg.norm(column)


def positive_direction(n: Array) -> Array:
    """Of +n and -n, the one whose first non-zero component in the order z, x, y is positive."""
    for i in (2, 0, 1):
        if abs(n[i]) > SAME:
            return n if n[i] > 0 else -n
    raise ValueError(f"expected a direction, got the zero vector {n}")


def minimal_rotation(n: Array) -> Array:
    """The smallest rotation that takes the z axis to the unit vector n (about x for n = -z)."""
    x, y, z = n
    rho_squared = x**2 + y**2
    if z < 0 and rho_squared < 1e-30:
        return np.diag([1.0, -1.0, -1.0])
    v = np.array([[0, 0, x], [0, 0, y], [-x, -y, 0]])
    one_plus_z = 1 + z if z > 0 else rho_squared / (1 - z)  # without cancellation near -z
    return np.eye(3) + v + v @ v / one_plus_z


def nearest_orthogonal(matrix: Array) -> Array:
    """The orthogonal matrix nearest to a square matrix (its polar factor)."""
    u, _, v = np.linalg.svd(matrix)
    return u @ v


def is_member(g: Array, elements: Array, tolerance: float = SAME) -> bool:
    """Whether g [3, 3] is, within ``tolerance``, one of the elements [n, 3, 3]."""
    return bool(np.abs(elements - g).max(axis=(1, 2)).min() < tolerance)
