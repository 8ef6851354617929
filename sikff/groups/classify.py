"""From a set of matrices to a group's name and its orientation.

Every compact G <= O(3) is Q G_std Q^T with G_std a named group in its standard orientation. The
orientation Q is chosen from G's content alone, so equal groups get equal orientations (and equal
irreps), however they were made.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sikff.groups.matrices import (
    SAME,
    is_member,
    minimal_rotation,
    nearest_orthogonal,
    positive_direction,
    rotation_angle,
    rotation_axis,
)
from sikff.groups.names import parse

Array = np.ndarray

ROUNDING = 1e-12
MAX_ORDER = 4000


def closure(generators: Sequence[Array]) -> Array:
    """All elements [n, 3, 3] of the finite group that the generators span.

    Raises:
        ValueError: more than 4000 elements were found, so the group is not finite.
    """
    elements, count = np.zeros((MAX_ORDER + len(generators) + 1, 3, 3)), 1
    elements[0] = np.eye(3)
    done = 0
    while done < count:
        for generator in generators:
            new = nearest_orthogonal(elements[done] @ generator)  # rounding does not pile up
            if not is_member(new, elements[:count]):
                elements[count] = new
                count += 1
        done += 1
        if count > MAX_ORDER:
            raise ValueError(
                f"the generators span more than {MAX_ORDER} elements: not a finite group. "
                "Name the axes of its continuous rotations with lie_axes=[...]"
            )
    return elements[:count]


@lru_cache(maxsize=256)
def standard_elements(name: str) -> Array:
    """Elements [n, 3, 3] of a named group in its standard orientation.

    For a continuous group: one of each component.
    """
    elements = closure(parse(name)[1])
    elements.setflags(write=False)
    return elements


def contains(
    elements: Array, lie_dimension: int, axis: Array, g: Array, tolerance: float = SAME
) -> bool:
    """Whether g [3, 3] belongs to a group, within ``tolerance``.

    Args:
        elements: all elements of a finite group; one of each component of a continuous one.
        lie_dimension: 0, 1 or 3; for 1, all rotations about ``axis`` belong to the group.
    """
    if lie_dimension == 0:
        return is_member(g, elements, tolerance)
    components = np.sign(np.linalg.det(elements))
    if lie_dimension == 3:
        return bool((components == np.sign(np.linalg.det(g))).any())
    image = g @ axis
    if min(np.abs(image - axis).max(), np.abs(image + axis).max()) > tolerance:
        return False
    # components of an axial group differ by determinant and by what they make of the axis
    same_axis = np.sign(axis @ elements @ axis) == np.sign(image @ axis)
    return bool((same_axis & (components == np.sign(np.linalg.det(g)))).any())


def _polyhedral_or_axial(rotations: Array) -> tuple[str, int]:
    """Kind (C, D, T, O or I) and principal order of a finite group of proper rotations."""
    angles = [rotation_angle(g) for g in rotations]
    order = max((round(2 * np.pi / a) for a in angles if a > SAME), default=1)
    n = len(rotations)
    if n == order:
        return "C", order
    if n == 2 * order:
        return "D", order
    polyhedral = {12: "T", 24: "O", 60: "I"}
    if n not in polyhedral:
        raise ValueError(
            f"the generators span {n} rotations of order up to {order}, which is no point group: "
            "give the matrices more accurately (to 1e-8)"
        )
    return polyhedral[n], order


def schoenflies(elements: Array) -> str:
    """Name of a finite group from all its elements."""
    determinants = np.linalg.det(elements)
    proper = elements[determinants > 0]
    kind, n = _polyhedral_or_axial(proper)
    if len(proper) == len(elements):
        return kind if kind in "TOI" else f"{kind}{n}"
    if np.abs(elements + np.eye(3)).max(axis=(1, 2)).min() < SAME:  # contains the inversion
        if kind in "TOI":
            return kind + "h"
        if kind == "C":
            return "Ci" if n == 1 else f"C{n}h" if n % 2 == 0 else f"S{2 * n}"
        return f"D{n}h" if n % 2 == 0 else f"D{n}d"
    larger, _ = _polyhedral_or_axial(elements * determinants[:, None, None])
    if kind == "T":
        return "Td"
    if kind == "C" and larger == "C":
        return "Cs" if n == 1 else f"C{n}h" if n % 2 else f"S{2 * n}"
    if kind == "C":
        return f"C{n}v"
    return f"D{n}h" if n % 2 else f"D{n}d"


def canonical_orientation(name: str, elements: Array) -> Array:
    """The rotation Q [3, 3] with {elements} = Q G_std Q^T, chosen from the content alone.

    For one-axis groups Q is the smallest rotation of z to the axis; otherwise, of the finitely many
    solutions, the one nearest to the identity (ties: the lexicographically largest).
    """
    if name in ("C1", "Ci"):
        return np.eye(3)
    proper_parts = elements * np.linalg.det(elements)[:, None, None]
    rotations = [g for g in proper_parts if rotation_angle(g) > SAME]
    axes = _distinct_directions([rotation_axis(g) for g in rotations])
    angles = [rotation_angle(g) for g in rotations]
    if name == "Cs" or (name[0] in "CS" and name[-1] != "v"):
        return minimal_rotation(positive_direction(axes[0]))
    _, generators = parse(name)
    proper = [g for g in elements if np.linalg.det(g) > 0 and rotation_angle(g) > SAME]
    if name[0] == "C":
        principal = [rotation_axis(proper[0])]
    elif name[0] == "D" and min(angles) < np.pi - SAME:
        principal = [rotation_axis(rotations[int(np.argmin(angles))])]
    else:
        principal = axes
    candidates = []
    for z in (sign * a for a in principal for sign in (1, -1)):
        for other in (sign * a for a in axes for sign in (1, -1) if abs(a @ z) < SAME):
            for q in (
                np.stack([other, np.cross(z, other), z], axis=1),
                np.stack([np.cross(other, z), other, z], axis=1),
            ):
                if all(is_member(q @ g @ q.T, elements) for g in generators):
                    candidates.append(q)
    chosen = max(candidates, key=lambda q: (round(np.trace(q), 6), *np.round(q, 6).ravel()))
    orientation = nearest_orthogonal(chosen)  # inexact elements have axes not quite perpendicular
    is_standard = np.abs(orientation - np.eye(3)).max() < ROUNDING
    return np.eye(3) if is_standard else orientation  # machines round differently


def _distinct_directions(vectors: Sequence[Array]) -> list[Array]:
    distinct: list[Array] = []
    for v in vectors:
        if not any(abs(abs(v @ w) - 1) < 1e-9 for w in distinct):
            distinct.append(v)
    return distinct
