"""The Lie algebra of an unknown symmetry, from first derivatives, and the axis it singles out.

Rotate the input of a map f by a small angle about w, and rotate its output back: the change per
angle, L_w f, is linear in w. So the mean of |L_w f|^2 is w^T M w with a 3x3 matrix M, and the null
space of M is the Lie algebra of the symmetry: all of space for SO(3) and O(3); for axial groups one
line, which is their axis; nothing for finite groups. There is nothing to search.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from sikff.groups.matrices import positive_direction, unit_vector

Array = np.ndarray

N_SIGMA = 3.0  # standard deviations of the noise by which a rotation must change labels
NEAR = 0.5  # degrees from an axis to a special direction that replaces it
SHOWN = 0.01  # degrees between axes that are reported as different
Z = np.array([0.0, 0.0, 1.0])


class Defect(NamedTuple):
    """Relative change of what a symmetry leaves unchanged.

    Attributes:
        size: root mean square.
        limit: the symmetry is broken from this size on.
    """

    size: float
    limit: float

    @property
    def is_broken(self) -> bool:
        return self.size >= self.limit

    @classmethod
    def of_squares(cls, square: float, noise: float, threshold: float) -> Defect:
        """From mean squares of a relative change, which noise may make negative, and its noise."""
        limit = max(threshold, N_SIGMA * math.sqrt(noise))
        return cls(math.sqrt(max(0.0, square)), limit)


@dataclass(frozen=True, eq=False)
class LieMatrix:
    """M, relative to the mean square of f.

    Attributes:
        matrix: M [3, 3], symmetric; positive semidefinite up to noise.
        noise: the expectation of M if every rotation is a symmetry, [3, 3].
        threshold: relative change below which a rotation counts as a symmetry.
    """

    matrix: Array
    noise: Array
    threshold: float

    @classmethod
    def of_derivatives(
        cls, derivatives: Array, size: float, threshold: float, second: Array | None = None
    ) -> LieMatrix:
        """M from the derivatives L_w f for w along x, y and z.

        With `second`, the derivatives of another estimate of f from independent data, M is made of
        products of the two, to which their noise does not contribute on average; their difference
        measures the noise.

        Args:
            derivatives: [3, n, ...], n samples.
            size: mean over the samples of |f|^2, or of another scale of |L_w f|^2.
            threshold: see the class.
            second: [3, n, ...].

        Raises:
            ValueError: the size is zero or not finite.
        """
        if not (np.isfinite(size) and size > 0):
            raise ValueError(
                "expected forces or displacements that are not all zero; their mean square is "
                f"{size}"
            )
        n = derivatives.shape[1]
        one = derivatives.reshape(3, -1)
        other = one if second is None else second.reshape(3, -1)
        matrix, difference = one @ other.T / (n * size), (one - other) / 2
        noise = difference @ difference.T / (n * size)
        return cls((matrix + matrix.T) / 2, noise, threshold)

    @cached_property
    def _modes(self) -> tuple[Array, Array]:
        return np.linalg.eigh(self.matrix)

    @property
    def axes(self) -> Array:
        """The eigenvectors as rows [3, 3], that of the best symmetry first."""
        return np.array([positive_direction(axis) for axis in self._modes[1].T])

    @property
    def defects(self) -> tuple[Defect, ...]:
        """Of rotations about the three axes, rising."""
        return tuple(self.defect_about(axis) for axis in self.axes)

    @property
    def n_symmetries(self) -> int:
        """Number of axes about which every rotation is a symmetry: 3, 1 or 0.

        2 is no Lie algebra: the orientations in the data are too few.
        """
        return sum(not defect.is_broken for defect in self.defects)

    @property
    def distinct_axis(self) -> Array:
        """The eigenvector of the eigenvalue that differs most from the middle one.

        That is the axis of a finite rotation of order 3 or more: the other two are then equal.
        """
        low, middle, high = (defect.size**2 for defect in self.defects)
        return self.axes[0] if middle - low > high - middle else self.axes[2]

    def defect_about(self, axis: Array) -> Defect:
        """Of rotations about an axis, a unit vector."""
        square, noise = axis @ self.matrix @ axis, axis @ self.noise @ axis
        return Defect.of_squares(square, noise, self.threshold)


def find_axis(
    lie: LieMatrix | None,
    given: Sequence[float] | None = None,
    special: Sequence[Array] | Array = (),
) -> Array:
    """Unit vector [3]: the given axis, or else that of the Lie matrix; z if there is none.

    Args:
        lie: None only if the axis is given.
        given: of any length.
        special: known directions; one within half a degree replaces the axis.

    Raises:
        ValueError: the orientations in the data are too few.
    """
    if given is not None:
        return unit_vector(given)
    if lie is None or lie.n_symmetries == 3:
        return special[0] if len(special) else Z
    if lie.n_symmetries == 2:
        raise ValueError(
            "rotations about two axes seem to change nothing, but those about the third do, which "
            "is true of no group: structures or systems are turned in too few ways. Give more "
            "orientations, or the axis"
        )
    return snap_axis(lie.axes[0] if lie.n_symmetries else lie.distinct_axis, special)


def snap_axis(axis: Array, special: Sequence[Array] | Array) -> Array:
    """The first special direction, or coordinate axis, within half a degree; else the axis, rounded
    to four digits."""
    for direction in (*special, *np.eye(3)):
        if angle_between(axis, direction) < NEAR:
            return direction
    return np.round(positive_direction(axis), 4)


def angle_between(first: Array, second: Array) -> float:
    """Degrees between two lines, given by unit vectors."""
    return float(np.degrees(np.arcsin(min(1.0, float(np.linalg.norm(np.cross(first, second)))))))


def write_axis_notes(lie: LieMatrix | None, axis: Array) -> list[str]:
    """A note if the axis used is not that of the Lie matrix."""
    if lie is None or lie.n_symmetries != 1:
        return []
    off = angle_between(lie.axes[0], axis)
    if off < SHOWN:
        return []
    shown = ", ".join(f"{x:.4f}" for x in lie.axes[0])
    return [f"rotations about [{shown}] are symmetries, {off:.2f}° from the axis used"]
