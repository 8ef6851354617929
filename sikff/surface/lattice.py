"""Lattices of the plane: checks, reduction, and the nearest lattice with a symmetry."""

from collections.abc import Sequence

import numpy as np

from sikff.groups.matrices import nearest_orthogonal

Array = np.ndarray

ROUNDING = 1e-12


def as_lattice(lattice: Sequence | Array) -> Array:
    """Two lattice vectors [2, 3] (Å, float64); those given as [2, 2] are in the plane z = 0.

    Raises:
        ValueError: another shape, numbers that are not finite, or vectors along one line.
    """
    vectors = np.array(lattice, dtype=np.float64)
    if vectors.shape == (2, 2):
        vectors = np.pad(vectors, ((0, 0), (0, 1)))
    if vectors.shape != (2, 3) or not np.isfinite(vectors).all():
        raise ValueError(
            f"got the lattice {lattice!r}; expected two vectors of two or three numbers"
        )
    area = np.linalg.norm(np.cross(*vectors))
    if not area > 1e-3 * np.linalg.norm(vectors, axis=1).max() ** 2:
        raise ValueError(
            f"the lattice vectors {vectors.tolist()} are along one line; expected two directions"
        )
    return vectors


def normal(lattice: Array) -> Array:
    """Unit normal [3] of the plane, along a x b."""
    n = np.cross(*lattice)
    return n / np.linalg.norm(n)


def dual(lattice: Array) -> Array:
    """Vectors [2, 3] in the plane (1/Å): r has the lattice coordinates dual @ r."""
    return np.linalg.inv(lattice @ lattice.T) @ lattice


def reduced(lattice: Array) -> Array:
    """Two shortest vectors [2, 3] of the lattice, at 90 to 120 degrees (Gauss)."""
    a, b = lattice
    while True:
        b = b - np.round((a @ b) / (a @ a) * (1 - 1e-6)) * a  # equal choices: the given vectors
        if b @ b > (1 - 1e-6) * (a @ a):
            return np.array([a, b if a @ b < 1e-6 * (a @ a) else b - a])
        a, b = b, a


def symmetrised(lattice: Array, matrices: Sequence[Array]) -> Array:
    """The nearest lattice [2, 3] to which a group of matrices W [2, 2] is orthogonal.

    Its metric is the mean of W^T M W over the group; a lattice that fits is returned as it is.
    """
    metric = np.mean([np.transpose(w) @ lattice @ lattice.T @ w for w in matrices], axis=0)
    root = np.linalg.cholesky(metric)
    along = np.stack([lattice[0] / np.linalg.norm(lattice[0]), np.zeros(3)])
    along[1] = np.cross(normal(lattice), along[0])
    flat = lattice @ along.T
    exact = root @ nearest_orthogonal(root.T @ flat) @ along
    return lattice if np.abs(exact - lattice).max() < ROUNDING else exact


def describe(lattice: Array) -> str:
    """Lengths and angle of two lattice vectors, in words."""
    a, b = np.linalg.norm(lattice, axis=1)
    angle = np.degrees(np.arccos(np.clip(lattice[0] @ lattice[1] / (a * b), -1, 1)))
    return f"|a| = {a:.5g} Å, |b| = {b:.5g} Å, angle {angle:.5g}°"
