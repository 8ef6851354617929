"""Finite groups that features of low frequency cannot tell from continuous ones."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from sikff.groups.classify import standard_elements
from sikff.groups.group import SymmetryGroup
from sikff.groups.matrices import rotation, rotation_angle
from sikff.groups.names import generators, parse

Array = np.ndarray


def continuous_equivalent(group: SymmetryGroup, max_frequency: int) -> SymmetryGroup | None:
    """The continuous group whose networks equal those of a finite group, if there is one.

    A network couples three irreps of frequency up to max_frequency, so it depends on its group only
    through the invariants of degree up to three times that, and through directions, which are of
    degree 1: networks of C_nv with n > 3 max_frequency are those of C_inf_v, networks of Oh with
    frequencies up to 1 those of O(3).
    """
    degree = max(3 * max_frequency, 1)  # axial vectors would be products
    return same_invariants(group, degree, axial_vectors=max_frequency > 0)


def same_invariants(
    group: SymmetryGroup, max_degree: int, axial_vectors: bool = True
) -> SymmetryGroup | None:
    """The continuous group around a finite one that has no fewer invariants of low degree.

    Args:
        max_degree: largest degree l of the O(3) irreps, of both parities, whose invariants are
            compared.
        axial_vectors: whether those of the irrep l = 1 of even parity are.
    """
    larger = _same_invariants(group.name, max_degree, axial_vectors)
    return None if larger is None else SymmetryGroup(larger, group.axis)


@lru_cache(maxsize=1024)
def _same_invariants(name: str, max_degree: int, axial_vectors: bool) -> str | None:
    """The same by name; it does not depend on the orientation."""
    lie_dimension, _ = parse(name)
    if lie_dimension:
        return None
    larger = SymmetryGroup.from_generators(generators(name), lie_axes=[(0, 0, 1)])
    finite = _count_invariants(standard_elements(name), max_degree)
    continuous = _count_invariants_of_continuous(larger, max_degree)
    if not axial_vectors:
        finite[0, 1] = continuous[0, 1]
    return larger.name if np.array_equal(finite, continuous) else None


def _count_invariants_of_continuous(group: SymmetryGroup, max_degree: int) -> Array:
    """The same as :func:`_count_invariants` for a continuous group in standard orientation."""
    if group.lie_dimension == 3:  # scalars alone; pseudoscalars too if no element is improper
        counts = np.zeros((2, max_degree + 1), dtype=int)
        counts[:, 0] = 1, not group.has_improper
        return counts
    # the mean over a circle is exact for so many equidistant angles
    angles = 2 * np.pi * np.arange(max_degree + 1) / (max_degree + 1)
    rotations = np.array([rotation(group.axis, angle) for angle in angles])
    elements = rotations[:, None] @ standard_elements(group.name)
    return _count_invariants(elements.reshape(-1, 3, 3), max_degree)


def _count_invariants(elements: Array, max_degree: int) -> Array:
    """Dimension of the invariants in O(3)'s irreps, [even and odd parity, degree l].

    It is the mean of the character, which for a rotation by t is 1 + 2 sum_{m <= l} cos(m t).
    """
    determinants = np.linalg.det(elements)
    angles = np.array([rotation_angle(g) for g in elements * determinants[:, None, None]])
    cosines = np.cos(np.arange(max_degree + 1) * angles[:, None])
    characters = 2 * np.cumsum(cosines, axis=1) - 1
    means = [characters.mean(axis=0), (determinants[:, None] * characters).mean(axis=0)]
    return np.rint(np.stack(means)).astype(int)
