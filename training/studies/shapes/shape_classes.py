"""Procedural shapes, many of which differ only by a flip, a reflection or a tilt.

The best accuracy of a model of a given symmetry is known exactly: :func:`bound`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sikff.groups import SymmetryGroup

from .mesh import Array, Mesh

Z = np.array([0.0, 0.0, 1.0])
UPRIGHT = np.eye(3)
FLIP = np.diag([1.0, -1.0, -1.0])  # a half turn about x
MIRROR = np.diag([1.0, -1.0, 1.0])  # in the plane of x and z
TILT = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])  # z becomes x


def cone(rng: np.random.Generator) -> Mesh:
    """With its tip cut off."""
    tip, height = rng.uniform(0.1, 0.4), rng.uniform(1.4, 2.2)
    return tower([1.0, tip], [-height / 2, height / 2])


def post(rng: np.random.Generator) -> Mesh:
    """A long cylinder."""
    height = rng.uniform(2.5, 4.5)
    return tower([1.0, 1.0], [-height / 2, height / 2])


def ring(rng: np.random.Generator) -> Mesh:
    """A flat tube."""
    inner, height = rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.7)
    outside = tower([1.0, 1.0], [-height / 2, height / 2], closed=False)
    inside = tower([inner, inner], [-height / 2, height / 2], closed=False)
    n = len(outside.vertices) // 2
    i, j = np.arange(n), np.roll(np.arange(n), -1)
    lids = [_strip(2 * n + i, 2 * n + j, i, j), _strip(n + i, n + j, 3 * n + i, 3 * n + j)]
    return Mesh(
        np.concatenate([outside.vertices, inside.vertices]),
        np.concatenate([outside.triangles, inside.triangles[:, ::-1] + 2 * n, *lids]),
    )


def box(rng: np.random.Generator) -> Mesh:
    """With a square base, about as high as wide."""
    height = rng.uniform(0.8, 1.2) * np.sqrt(2)
    return tower([1.0, 1.0], [-height / 2, height / 2], n_sides=4)


def screw(rng: np.random.Generator) -> Mesh:
    """A square column, twisted to the right."""
    return _twisted(rng, 1.0)


def horn(rng: np.random.Generator) -> Mesh:
    """A square column, twisted to the right, that becomes thinner."""
    return _twisted(rng, rng.uniform(0.2, 0.4))


def tower(
    radii: Array | list[float],
    heights: Array | list[float],
    angles: Array | list[float] | None = None,
    *,
    n_sides: int = 24,
    closed: bool = True,
) -> Mesh:
    """Regular polygons above each other, joined to a surface.

    Args:
        radii, heights, angles: of the polygons, from below; angles are 0 by default.
        n_sides: of the polygons.
        closed: whether there is a bottom and a top.
    """
    angles = np.zeros(len(radii)) if angles is None else angles
    corner = 2 * np.pi * np.arange(n_sides) / n_sides
    vertices = np.concatenate(
        [
            np.stack([r * np.cos(corner + a), r * np.sin(corner + a), np.full(n_sides, z)], axis=1)
            for r, z, a in zip(radii, heights, angles, strict=True)
        ]
    )
    i, j = np.arange(n_sides), np.roll(np.arange(n_sides), -1)
    floors = n_sides * np.arange(len(radii) - 1)
    triangles = [_strip(f + i, f + j, f + n_sides + i, f + n_sides + j) for f in floors]
    if closed:
        fan = np.stack([np.zeros_like(i[1:-1]), i[1:-1], j[1:-1]], axis=1)
        triangles += [fan[:, ::-1], fan + n_sides * (len(radii) - 1)]
    return Mesh(vertices, np.concatenate(triangles))


@dataclass(frozen=True, eq=False)
class ShapeClass:
    """A family of shapes in one of its placements.

    Attributes:
        family: makes an upright shape of random proportions.
        symmetry: name of the group, about z, of the family, up to rotations about z.
        placement: orthogonal matrix [3, 3] that is applied to the upright shape.
    """

    name: str
    family: Callable[[np.random.Generator], Mesh]
    symmetry: str
    placement: Array

    def mesh(self, rng: np.random.Generator) -> Mesh:
        """One shape."""
        return self.family(rng).moved(self.placement)


CLASSES = (
    ShapeClass("ring", ring, "D_inf_h", UPRIGHT),
    ShapeClass("box", box, "D_inf_h", UPRIGHT),
    ShapeClass("post", post, "D_inf_h", UPRIGHT),
    ShapeClass("post, lying", post, "D_inf_h", TILT),
    ShapeClass("cone", cone, "C_inf_v", UPRIGHT),
    ShapeClass("cone, tip down", cone, "C_inf_v", FLIP),
    ShapeClass("screw, right", screw, "D_inf", UPRIGHT),
    ShapeClass("screw, left", screw, "D_inf", MIRROR),
    ShapeClass("horn, right", horn, "SO(2)", UPRIGHT),
    ShapeClass("horn, left", horn, "SO(2)", MIRROR),
    ShapeClass("horn, right, tip down", horn, "SO(2)", FLIP),
    ShapeClass("horn, left, tip down", horn, "SO(2)", FLIP @ MIRROR),
)


def bound(group: SymmetryGroup) -> float:
    """The best mean accuracy of a model with this symmetry.

    Classes have equally many shapes, rotated about z at random, so what counts is the smallest
    group with the model's symmetries and all rotations about z. Of a finite group only elements
    that keep the axis count, as the others map hardly any of the rotated shapes to another one.
    Classes of one family that the group maps to each other cannot be distinguished.
    """
    if group.lie_dimension < 3:
        upright = [g for g in group.elements if np.isclose(abs(g[2, 2]), 1.0)]
        group = SymmetryGroup.from_generators(np.array(upright), lie_axes=[Z])

    def same(a: ShapeClass, b: ShapeClass) -> bool:
        symmetries = SymmetryGroup(a.symmetry).elements
        moves = (b.placement @ s @ a.placement.T for s in symmetries)
        return a.family is b.family and any(group.contains(move) for move in moves)

    n_distinct = sum(not any(same(a, b) for b in CLASSES[:k]) for k, a in enumerate(CLASSES))
    return n_distinct / len(CLASSES)


def _twisted(rng: np.random.Generator, tip: float, n_floors: int = 6) -> Mesh:
    height, twist = rng.uniform(2.0, 3.0), rng.uniform(1.2, 2.0)
    t = np.linspace(0, 1, n_floors + 1)
    return tower(1 + (tip - 1) * t, height * (t - 0.5), twist * t, n_sides=4)


def _strip(i: Array, j: Array, above_i: Array, above_j: Array) -> Array:
    """Two triangles for each side i - j of a polygon, [2 n, 3]."""
    return np.concatenate([np.stack([i, j, above_j], 1), np.stack([i, above_j, above_i], 1)])
