"""The Lie algebra of an unknown symmetry, from first derivatives.

Turn what goes into a map f by a small angle about w, and turn back what comes out: the change per
angle, L_w f, is linear in w. So the mean of |L_w f|^2 is w^T M w with a 3x3 matrix M, and the null
space of M is the Lie algebra of the symmetry: all of space for SO(3) and O(3); for axial groups one
line, which is their axis; nothing for finite groups. There is nothing to search.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sikff.groups.matrices import positive_direction

Array = np.ndarray

CLEAR = 3.0  # standard deviations of the noise that a rotation must break labels by


class Defect(NamedTuple):
    """By how much a symmetry is missed.

    Attributes:
        size: relative change of what should not change, root mean square.
        limit: from here on it is no symmetry.
    """

    size: float
    limit: float

    @property
    def is_broken(self) -> bool:
        return self.size >= self.limit


@dataclass(frozen=True, eq=False)
class LieMatrix:
    """M, relative to the size of what is turned.

    Attributes:
        matrix: M [3, 3], symmetric; up to noise without negative eigenvalues.
        noise: what M is on average where every rotation is a symmetry, [3, 3].
        threshold: relative change below which a rotation counts as a symmetry.
    """

    matrix: Array
    noise: Array
    threshold: float

    @cached_property
    def _modes(self) -> tuple[Array, Array]:
        return np.linalg.eigh(self.matrix)

    @property
    def axes(self) -> Array:
        """The eigenvectors as rows [3, 3], that of the best symmetry first."""
        return np.array([positive_direction(axis) for axis in self._modes[1].T])

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Of turns about the three axes, rising."""
        return tuple(self.defect(axis) for axis in self.axes)

    @property
    def n_symmetries(self) -> int:
        """Number of axes about which every rotation is a symmetry: 3, 1 or 0.

        2 is no Lie algebra: the turns of the data do not tell.
        """
        return sum(not defect.is_broken for defect in self.defects)

    def defect(self, axis: Array) -> Defect:
        """Of turns about an axis, a unit vector."""
        return defect(axis @ self.matrix @ axis, axis @ self.noise @ axis, self.threshold)


def defect(square: float, noise: float, threshold: float) -> Defect:
    """From mean squares of a relative change, which noise may make negative, and of its noise."""
    limit = max(threshold, CLEAR * math.sqrt(noise))
    return Defect(math.sqrt(max(0.0, square)), limit)


def lie_matrix(
    derivatives: Array, size: float, threshold: float, twin: Array | None = None
) -> LieMatrix:
    """M from the derivatives L_w f for w along x, y and z.

    With a twin, the derivatives of a second estimate of f from other data, M is made of products of
    one with the other, to which their noise does not contribute on average; their difference tells
    how large it is.

    Args:
        derivatives: [3, n, ...], n samples.
        size: mean of |f|^2, or of what else L_w f is to be compared with, over the samples.
        threshold: see :class:`LieMatrix`.
        twin: [3, n, ...].

    Raises:
        ValueError: the size is zero or not finite.
    """
    if not (np.isfinite(size) and size > 0):
        raise ValueError(f"expected labels that are not all zero; their mean square is {size}")
    n = derivatives.shape[1]
    first = derivatives.reshape(3, -1)
    second = first if twin is None else twin.reshape(3, -1)
    matrix, difference = first @ second.T / (n * size), (first - second) / 2
    noise = difference @ difference.T / (n * size)
    return LieMatrix((matrix + matrix.T) / 2, noise, threshold)
