"""Finite groups that features of low frequency cannot tell from continuous ones."""

from __future__ import annotations

import numpy as np

from sikff.groups.classify import rotation_angle
from sikff.groups.group import SymmetryGroup
from sikff.groups.names import rotation

Array = np.ndarray


def mistaken_for(group: SymmetryGroup, max_frequency: int) -> SymmetryGroup | None:
    """The continuous group whose networks are those of a finite group, if there is one.

    What a network couples are three irreps of frequency up to max_frequency, so what it can know of
    its group are the invariants of degree up to three times that, and directions, which are of
    degree 1: networks of C_nv with n > 3 max_frequency are those of C_inf_v, networks of Oh with
    frequencies up to 1 those of O(3).
    """
    degree = max(3 * max_frequency, 1)  # axial vectors would be products
    return same_invariants(group, degree, axial_vectors=max_frequency > 0)


def same_invariants(
    group: SymmetryGroup, max_degree: int, axial_vectors: bool = True
) -> SymmetryGroup | None:
    """The continuous group around a finite one that has no fewer invariants of low degree.

    Compared are the invariants in O(3) irreps of both parities and degrees up to max_degree,
    perhaps without the axial vectors.
    """
    if group.lie_dimension:
        return None
    larger = SymmetryGroup.from_generators(group.generators, lie_axes=[group.axis])
    own, expected = _invariants(group.elements, max_degree), _expected(larger, max_degree)
    if not axial_vectors:
        own[0, 1] = expected[0, 1]
    return larger if np.array_equal(own, expected) else None


def _expected(group: SymmetryGroup, max_degree: int) -> Array:
    """The same as `_invariants`, of a continuous group."""
    if group.lie_dimension == 3:  # scalars alone; pseudoscalars too if no element is improper
        found = np.zeros((2, max_degree + 1), dtype=int)
        found[:, 0] = 1, not group.has_improper
        return found
    angles = 2 * np.pi * np.arange(max_degree + 1) / (max_degree + 1)  # exact up to this degree
    turns = np.array([rotation(group.axis, angle) for angle in angles])
    return _invariants((turns[:, None] @ group.elements).reshape(-1, 3, 3), max_degree)


def _invariants(elements: Array, max_degree: int) -> Array:
    """Dimension of the invariants [even and odd parity, degree l] in O(3) irreps: mean character.

    The character of a rotation by t is 1 + 2 sum_{m <= l} cos(m t).
    """
    signs = np.linalg.det(elements)
    angles = np.array([rotation_angle(g) for g in elements * signs[:, None, None]])
    cosines = np.cos(np.arange(max_degree + 1) * angles[:, None])
    characters = 2 * np.cumsum(cosines, axis=1) - 1
    means = np.stack([characters.mean(axis=0), (signs[:, None] * characters).mean(axis=0)])
    return np.rint(means).astype(int)
