"""Directions: that of the electric fields, and the axis that data single out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sikff.groups.matrices import positive_direction

from ..data.structures import Structures
from .lie import LieMatrix

Array = np.ndarray

SAME = 1e-6  # sine of the angle between fields along one line
NEAR = 0.5  # degrees from an axis to a special direction that is taken for it
Z = np.array([0.0, 0.0, 1.0])


def electric_fields(structures: Structures) -> Array:
    """The uniform field of each structure, [n, 3] in V/Å; zero where there is none."""
    return np.array([structure.conditions.field for structure in structures])


def field_directions(fields: Array) -> Array:
    """Unit vectors of the fields that are not zero, [m, 3]: one, if all are along one line."""
    sizes = np.linalg.norm(fields, axis=1)
    directions = fields[sizes > 0] / sizes[sizes > 0, None]
    across = np.linalg.norm(np.cross(directions, directions[:1]), axis=1)
    return directions if (across > SAME).any() else directions[:1]


def angle(first: Array, second: Array) -> float:
    """Degrees between two lines."""
    return float(np.degrees(np.arcsin(min(1.0, float(np.linalg.norm(np.cross(first, second)))))))


def nearest(axis: Array, special: Sequence[Array] | Array) -> Array:
    """The first special direction within half a degree of an axis, or else the axis, rounded.

    Coordinate axes are special, too.
    """
    for direction in (*special, *np.eye(3)):
        if angle(axis, direction) < NEAR:
            return direction
    return np.round(positive_direction(axis), 4)


def distinct(lie: LieMatrix) -> Array:
    """The eigenvector whose eigenvalue stands apart: the axis, under a finite rotation of order 3
    or more, as the two others are then equal."""
    low, middle, high = (defect.size**2 for defect in lie.defects)
    return lie.axes[0] if middle - low > high - middle else lie.axes[2]
