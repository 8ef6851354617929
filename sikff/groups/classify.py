"""From a set of matrices to a group's name and its frame.

Every compact G <= O(3) is Q G_std Q^T with G_std a named group in its standard orientation. The
frame Q is chosen from G's content alone, so equal groups get equal frames (and equal irreps),
however they were made.
"""

from collections.abc import Sequence

import numpy as np

from sikff.groups.names import parse

Array = np.ndarray

ROUNDING = 1e-12
SAME = 1e-6  # two matrices, or directions, closer than this are the same
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


def nearest_orthogonal(matrix: Array) -> Array:
    """The orthogonal matrix nearest to a 3x3 matrix."""
    u, _, v = np.linalg.svd(matrix)
    return u @ v


def rotation_angle(g: Array) -> float:
    """Angle in [0, pi] of a proper rotation."""
    sine = np.linalg.norm([g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1]]) / 2
    return float(np.arctan2(sine, (np.trace(g) - 1) / 2))


def rotation_axis(g: Array) -> Array:
    """Unit axis (up to sign) of a proper rotation other than the identity."""
    symmetric = g + g.T + (1 - np.trace(g)) * np.eye(3)
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


def canonical_frame(name: str, elements: Array) -> Array:
    """The rotation Q [3, 3] with {elements} = Q G_std Q^T, chosen from the content alone.

    For one-axis groups Q is the smallest rotation of z to the axis; otherwise, of the finitely many
    frames, the one nearest to the identity (ties: the lexicographically largest).
    """
    if name in ("C1", "Ci"):
        return np.eye(3)
    rotations = elements * np.linalg.det(elements)[:, None, None]
    turning = [g for g in rotations if rotation_angle(g) > SAME]
    axes = _distinct_directions([rotation_axis(g) for g in turning])
    angles = [rotation_angle(g) for g in turning]
    if name == "Cs" or (name[0] in "CS" and name[-1] != "v"):
        return minimal_rotation(positive_direction(axes[0]))
    _, generators = parse(name)
    proper = [g for g in elements if np.linalg.det(g) > 0 and rotation_angle(g) > SAME]
    if name[0] == "C":
        principal = [rotation_axis(proper[0])]
    elif name[0] == "D" and min(angles) < np.pi - SAME:
        principal = [rotation_axis(turning[int(np.argmin(angles))])]
    else:
        principal = axes
    frames = []
    for z in (sign * a for a in principal for sign in (1, -1)):
        for other in (sign * a for a in axes for sign in (1, -1) if abs(a @ z) < SAME):
            for frame in (
                np.stack([other, np.cross(z, other), z], axis=1),
                np.stack([np.cross(other, z), other, z], axis=1),
            ):
                if all(is_member(frame @ g @ frame.T, elements) for g in generators):
                    frames.append(frame)
    chosen = max(frames, key=lambda q: (round(np.trace(q), 6), *np.round(q, 6).ravel()))
    frame = nearest_orthogonal(chosen)  # axes of inexact elements are not quite perpendicular
    standard = np.abs(frame - np.eye(3)).max() < ROUNDING
    return np.eye(3) if standard else frame  # machines round differently; tables are kept by frame


def is_member(g: Array, elements: Array, tolerance: float = SAME) -> bool:
    """Whether g is, within ``tolerance``, one of the elements."""
    return bool(np.abs(elements - g).max(axis=(1, 2)).min() < tolerance)


def _distinct_directions(vectors: Sequence[Array]) -> list[Array]:
    distinct: list[Array] = []
    for v in vectors:
        if not any(abs(abs(v @ w) - 1) < 1e-9 for w in distinct):
            distinct.append(v)
    return distinct
