"""Group names (Schoenflies and continuous) and the generators they stand for, about the z axis."""

import math
import re

import numpy as np

from sikff.groups.matrices import rotation

Array = np.ndarray

MIRROR_XZ = np.diag([1.0, -1.0, 1.0])
MIRROR_XY = np.diag([1.0, 1.0, -1.0])
HALF_TURN_X = np.diag([1.0, -1.0, -1.0])
INVERSION = -np.eye(3)

_CONTINUOUS = {  # normalised spelling -> (name, dimension, representatives of the components)
    "o3": ("O(3)", 3, [INVERSION]),
    "so3": ("SO(3)", 3, []),
    "so2": ("SO(2)", 1, []),
    "cinf": ("SO(2)", 1, []),
    "o2": ("C_inf_v", 1, [MIRROR_XZ]),
    "cinfv": ("C_inf_v", 1, [MIRROR_XZ]),
    "cinfh": ("C_inf_h", 1, [MIRROR_XY]),
    "dinf": ("D_inf", 1, [HALF_TURN_X]),
    "dinfh": ("D_inf_h", 1, [HALF_TURN_X, INVERSION]),
}


def turn(n: int) -> Array:
    """Rotation by 2 pi / n about z."""
    return rotation(np.array([0.0, 0.0, 1.0]), 2 * np.pi / n)


_DIAGONAL = rotation(np.array([1.0, 1.0, 1.0]), 2 * np.pi / 3)
_FIVEFOLD = rotation(np.array([0.0, 1.0, (1 + np.sqrt(5)) / 2]), 2 * np.pi / 5)

_POLYHEDRAL = {
    "t": [turn(2), _DIAGONAL],
    "td": [turn(2), _DIAGONAL, turn(4) @ MIRROR_XY],
    "th": [turn(2), _DIAGONAL, INVERSION],
    "o": [turn(4), _DIAGONAL],
    "oh": [turn(4), _DIAGONAL, INVERSION],
    "i": [_DIAGONAL, _FIVEFOLD],
    "ih": [_DIAGONAL, _FIVEFOLD, INVERSION],
    "ci": [INVERSION],
    "cs": [MIRROR_XY],
}


def _axial_point_group(kind: str, n: int, suffix: str) -> list[Array] | None:
    """Generators of S_n, C_n(v, h) or D_n(h, d); None if there is no such group."""
    if kind == "s":
        return [turn(n) @ MIRROR_XY] if n % 2 == 0 and not suffix else None
    extra = {
        "c": {"": [], "v": [MIRROR_XZ], "h": [MIRROR_XY]},
        "d": {
            "": [HALF_TURN_X],
            "h": [HALF_TURN_X, MIRROR_XY],
            "d": [HALF_TURN_X, turn(2 * n) @ MIRROR_XY],
        },
    }[kind]
    return [turn(n), *extra[suffix]] if suffix in extra else None


def parse(name: str) -> tuple[int, list[Array]]:
    """Lie dimension (0, 1 or 3) and generators, about z, of a named group.

    For a continuous group the generators are representatives of its components.

    Raises:
        ValueError: no group has this name; the message lists the names.
    """
    key = re.sub(r"[\s_()]", "", str(name).replace("∞", "inf")).lower()
    if key in _CONTINUOUS:
        _, dimension, components = _CONTINUOUS[key]
        return dimension, list(components)
    if key in _POLYHEDRAL:
        return 0, list(_POLYHEDRAL[key])
    match = re.fullmatch(r"([cds])(\d+)([vhd]?)", key)
    if match and 1 <= int(match[2]) <= 1000:
        generators = _axial_point_group(match[1], int(match[2]), match[3])
        if generators is not None:
            return 0, generators
    raise ValueError(
        f"unknown symmetry group {name!r}; expected one of O(3), SO(3), SO(2), C_inf_v (= O(2)), "
        "C_inf_h, D_inf, D_inf_h, Ci, Cs, Cn, Cnv, Cnh, Dn, Dnh, Dnd, S2n (n a whole number up to "
        "1000), T, Td, Th, O, Oh, I, Ih; other groups: SymmetryGroup.from_generators(matrices)"
    )


def generators(name: str) -> Array:
    """Matrices [k, 3, 3] that generate a dense subgroup of a named group, about z."""
    dimension, components = parse(name)
    x, _, z = np.eye(3)
    continuous = {
        0: [],
        1: [rotation(z, 1.0), rotation(z, math.sqrt(2))],
        3: [rotation(z, 1.0), rotation(x, 1.0), rotation(z + x, math.sqrt(2))],
    }[dimension]
    return np.array([*continuous, *components] or [np.eye(3)])


def continuous_name(dimension: int, components: frozenset[tuple[int, int]]) -> str:
    """Name of a continuous group from its components' (sign along the axis, determinant)."""
    for name, dim, representatives in _CONTINUOUS.values():
        signs = {(1, 1)}
        for g in representatives:
            new = (round(g[2, 2]), round(np.linalg.det(g))) if dim == 1 else (1, -1)
            signs |= {(a * new[0], b * new[1]) for a, b in signs}
        if dim == dimension and signs == components:
            return name
    raise RuntimeError(f"no continuous group of dimension {dimension} has components {components}")
