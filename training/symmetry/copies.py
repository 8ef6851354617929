"""Labelled frames that are turned or mirrored copies of each other: covariance, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sikff.groups import SymmetryGroup

from ..data.structures import Structures
from .lie import Defect

Array = np.ndarray

SAME_SHAPE = 1e-3  # Å, between copies
SAME_ELEMENT = 0.01  # between an element of a group and how a copy is turned


@dataclass(frozen=True, eq=False)
class Copy:
    """A frame that is another one, turned or mirrored.

    Attributes:
        matrix: g [3, 3], orthogonal, with r' - r'_c = g (r - r_c).
        defect: |F' - g F| / |F|.
    """

    matrix: Array
    defect: float


def copies(frames: Structures, forces: Sequence[Array], felt: Array | None = None) -> list[Copy]:
    """Frames that are copies of an earlier one: the same atoms, field and distances, in one order.

    Copies that are not turned do not count.

    Args:
        felt: directions [k, 3] in which the surroundings change from place to place (across a
            plane, for one): copies that are shifted along one do not count; None: none.
    """
    felt = np.zeros((0, 3)) if felt is None else felt
    groups: dict[tuple[bytes, ...], list[int]] = {}
    for place, structure in enumerate(frames):
        if not structure.atoms.pbc.any():
            groups.setdefault(structure.system_key, []).append(place)
    found = []
    for places in groups.values():
        shapes = np.array([_extent(frames.atoms[place].positions) for place in places])
        order = np.argsort(shapes)
        for k, here in enumerate(order):
            for there in order[k + 1 :]:
                if shapes[there] - shapes[here] > SAME_SHAPE:
                    break
                first, second = sorted((places[here], places[there]))
                both = [frames.atoms[place].positions for place in (first, second)]
                if abs(felt @ (both[1] - both[0]).mean(axis=0)).max(initial=0.0) > SAME_SHAPE:
                    continue
                matrix = _turn(*both)
                if matrix is not None and abs(matrix - np.eye(3)).max() > SAME_ELEMENT:
                    change = forces[second] - forces[first] @ matrix.T
                    size = max(np.linalg.norm(forces[first]), np.finfo(float).tiny)
                    found.append(Copy(matrix, float(np.linalg.norm(change) / size)))
    return found


def defect_of_copies(
    found: Sequence[Copy], group: SymmetryGroup, threshold: float
) -> Defect | None:
    """Of the copies that are turned by an element of a group, if there are any."""
    inside = [each.defect for each in found if group.contains(each.matrix, SAME_ELEMENT)]
    return Defect(float(np.sqrt(np.mean(np.square(inside)))), threshold) if inside else None


def _extent(positions: Array) -> float:
    """Root mean square distance from the centroid: the same for copies, and quick to compare."""
    return float(np.sqrt(((positions - positions.mean(axis=0)) ** 2).sum(axis=1).mean()))


def _turn(first: Array, second: Array) -> Array | None:
    """The orthogonal matrix that takes one set of positions to the other, if there is one."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    u, _, v = np.linalg.svd(b.T @ a)
    matrix = u @ v
    return matrix if abs(b - a @ matrix.T).max() < SAME_SHAPE else None
