"""The plane of a surface that is not among the atoms, found in labelled forces.

A surface pushes and pulls a structure as a whole: the forces on its atoms sum to a net force along
the normal, which is large near the surface and vanishes far from it. Above a flat one it has no
other component; lateral net forces are those of a corrugated one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sikff.graph.conditions import VACUUM
from sikff.groups.matrices import positive_direction, unit_vector

from .structures import Structures

Array = np.ndarray

FEWEST = 10  # structures
NET_FORCE = 1e-2  # relative size above which the sum of forces is not rounding
ONE_DIRECTION = 3.0  # times the mean square along others
DECAY = 3.0  # of the net force, from the lowest third of structures to the highest
ROUNDING = 1e-4  # eV/Å, of net forces
LOWEST_ATOM = 1.3  # Å above the plane, about that of a hydrogen atom pressed onto a surface
NEAREST, FURTHEST = 0.5, 3.5  # Å; from here to there the lowest atom may be above a plane
SNAP, MOST_SNAP = 2.0, 15.0  # degrees, from a normal to a special direction that replaces it
LEAST_RANGE, USUAL_RANGE = 4.0, 10.0  # Å


class Plane(NamedTuple):
    """The plane of a surface, and what acts from there.

    Attributes:
        normal: unit vector [3] from the surface to the structures.
        origin: a point [3] (Å) of the plane; zero if structures have a surface_origin.
        reach: height (Å) from which on there are no net forces.
        vanishes: whether structures show that.
        surfaces: their names.
        lowest: height (Å) of the lowest atom of each structure; infinite in vacuum.
        net_force: root mean square of net forces, relative to the forces on atoms.
        corrugation: the same of their lateral components.
        floor: meV/Å; no flat model has a smaller mean absolute error of force components.
    """

    normal: Array
    origin: Array
    reach: float
    vanishes: bool
    surfaces: tuple[str, ...]
    lowest: Array
    net_force: float
    corrugation: float
    floor: float

    @property
    def environment(self) -> dict[str, Any]:
        """As in ``model.environment``."""
        named = {"surfaces": [*self.surfaces]} if self.surfaces else {}
        origin = [round(float(x), 4) + 0.0 for x in self.origin]
        return {"plane_origin": origin, "plane_range": self.reach, **named}


def find_plane(
    structures: Structures,
    axis: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
) -> Plane | None:
    """The plane of the surface that acts on structures; None if their forces show none.

    Args:
        structures: those with forces on all atoms count.
        axis: the normal, from the surface to the structures (default: to be found).
        origin: a point of the plane (Å; default: below the lowest atom).
    """
    conditions = [each.conditions for each in structures]
    net = np.array([each.value("forces").sum(axis=0) for each in structures]).reshape(-1, 3)
    known = np.isfinite(net).all(axis=1)
    near = known & np.array([c.surface != VACUUM for c in conditions], dtype=bool)
    if near.sum() < FEWEST:
        return None
    positions = [
        each.atoms.positions - np.array(c.origin or (0, 0, 0))
        for each, c in zip(structures, conditions, strict=True)
    ]
    at = [p for p, is_near in zip(positions, near, strict=True) if is_near]
    size = math.sqrt(
        float(np.mean([(structures[i].value("forces") ** 2).sum() for i in near.nonzero()[0]]))
    )
    if not size or _rms(net[near]) < NET_FORCE * size:
        return None
    normal = _find_normal(structures, at, net[near]) if axis is None else unit_vector(axis)
    if normal is None or _decay(at, net[near], normal) < DECAY:
        return None
    lowest = np.array([float((p @ normal).min()) for p in positions])
    given = any(c.origin is not None for c in conditions)
    if origin is not None:
        point = np.array(origin, dtype=float)
    else:
        point = (0.0 if given else _height_of_plane(lowest[near].min())) * normal
    lowest = np.where(near, lowest - point @ normal, np.inf)
    reach, vanishes = _find_reach(lowest[near], net[near], net[known & ~near])
    lateral = net[near] - np.outer(net[near] @ normal, normal)
    n_atoms = np.array([len(p) for p in at])
    floor = float((abs(lateral).sum(axis=1)).sum() / (3 * n_atoms.sum()))
    names = sorted({c.surface for c in conditions if c.surface is not None} - {VACUUM})
    relative = (_rms(net[near]) / size, _rms(lateral) / size)
    return Plane(normal, point, reach, vanishes, tuple(names), lowest, *relative, 1000 * floor)


def _rms(vectors: Array) -> float:
    return math.sqrt(float((vectors**2).sum(axis=1).mean()))


def _find_normal(structures: Structures, positions: Sequence[Array], net: Array) -> Array | None:
    """The direction of the net forces near the surface, or a special one within their scatter."""
    squares, axes = np.linalg.eigh(net.T @ net)
    if squares[2] < ONE_DIRECTION * squares[1]:
        return None
    normal = max((axes[:, 2], -axes[:, 2]), key=lambda n: _decay(positions, net, n))
    sizes = np.linalg.norm(net, axis=1, keepdims=True)
    units = (net / np.maximum(sizes, ROUNDING))[sizes[:, 0] > 10 * ROUNDING]
    if len(units) >= FEWEST:  # all count alike: near the surface lateral forces are large, too
        normal = unit_vector((units * np.sign(units @ normal)[:, None]).mean(axis=0))
    lateral = units - np.outer(units @ normal, normal)
    error = math.degrees(_rms(lateral) / math.sqrt(len(units))) if len(units) else 0.0
    scatter = min(max(3 * error, SNAP), MOST_SNAP)
    for direction in _special_directions(structures):
        cosine = float(direction @ normal)
        if abs(cosine) > math.cos(math.radians(scatter)):
            return direction * np.sign(cosine)
    return np.round(normal, 4)


def _special_directions(structures: Structures) -> list[Array]:
    """Normals of the periodic cell, and the coordinate axes."""
    atoms = next((each.atoms for each in structures if each.atoms.pbc.sum() >= 2), None)
    directions = []
    if atoms is not None:
        cell, periodic = atoms.cell.array, atoms.pbc
        for i, j in ((0, 1), (1, 2), (2, 0)):
            cross = np.cross(cell[i], cell[j])
            if periodic[i] and periodic[j] and np.linalg.norm(cross) > 0:
                directions.append(positive_direction(unit_vector(cross)))
    return [*directions, *np.eye(3)[::-1]]


def _decay(positions: Sequence[Array], net: Array, normal: Array) -> float:
    """Net force of the lowest third of structures over that of the highest, along a normal."""
    order = np.argsort([(p @ normal).min() for p in positions])
    third = len(order) // 3
    return _rms(net[order[:third]]) / max(_rms(net[order[-third:]]), 1e-12)


def _height_of_plane(lowest: float) -> float:
    """Zero if the lowest atom may be above a surface there; else a tenth of an Å below it."""
    if NEAREST <= lowest <= FURTHEST:
        return 0.0
    return math.floor(10 * (lowest - LOWEST_ATOM)) / 10


def _find_reach(lowest: Array, net: Array, in_vacuum: Array) -> tuple[float, bool]:
    """Height from which on net forces vanish, and whether there are structures that show it."""
    noise = float(np.linalg.norm(in_vacuum, axis=1).max(initial=0.0))
    limit = max(ROUNDING, 3 * noise, 1e-4 * _rms(net))
    last = float(lowest[np.linalg.norm(net, axis=1) > limit].max(initial=0.0))
    if len(in_vacuum) or (lowest > last).sum() >= 3:
        return max(LEAST_RANGE, float(math.ceil(last))), True
    return max(USUAL_RANGE, float(math.ceil(last))), False
