"""High-symmetry sites, mirror lines and glide lines of wallpaper groups."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from sikff.surface.operations import Operation
from sikff.surface.wallpaper import Wallpaper

Array = np.ndarray

SAME_PLACE = 1e-5  # lattice coordinates; shifts of operations are exact to rounding


class Site(NamedTuple):
    """Equivalent points of the plane, each fixed by some rotation of the group.

    Attributes:
        symmetry: site group: 2, 2mm, 3, 3m, 4, 4mm, 6 or 6mm.
        positions: lattice coordinates [k, 2] in [0, 1) of the k points in a primitive cell, the
            one nearest to the origin first.
    """

    symmetry: str
    positions: Array


class Line(NamedTuple):
    """A mirror line or a glide line with its translates: points x with n.x = offset modulo 1.

    Attributes:
        direction: the shortest lattice vector along it, whole numbers (d1, d2); n = (-d2, d1).
        offset: in [0, 1).
        glide: translation along it in units of the direction, in [0, 1); 0: a mirror line.
    """

    direction: tuple[int, int]
    offset: float
    glide: float

    @property
    def point(self) -> Array:
        """Lattice coordinates [2] of a point of the line."""
        return self.offset * np.array(_across(self.direction))

    def distance(self, point: Array, lattice: Array) -> float:
        """Distance (Å) of a point [2] from the nearest translate of the line."""
        rest = self.direction[0] * point[1] - self.direction[1] * point[0] - self.offset
        area = np.linalg.norm(np.cross(*lattice))
        spacing = area / np.linalg.norm(self.direction @ lattice)
        return float(abs(rest - round(rest)) * spacing)

    @property
    def text(self) -> str:
        """Its points in lattice coordinates, such as "x, 0" or "1/2, y"."""
        names = ["x" if self.direction[0] else "y"] * 2
        start = self.point - np.floor(self.point + SAME_PLACE)
        if abs(self.direction[0]) == 1:  # such a line begins at x = 0
            start = start - start[0] * self.direction[0] * np.array(self.direction)
            start = start - np.floor(start + SAME_PLACE)
        parts = []
        for name, factor, constant in zip(names, self.direction, start, strict=True):
            steps = {0: "", 1: name, -1: f"-{name}"}.get(factor, f"{factor}{name}")
            number = format_coordinate(constant)
            parts.append(steps + f"+{number}" if steps and number != "0" else steps or number)
        return ", ".join(parts)


def find_sites(wallpaper: Wallpaper) -> tuple[Site, ...]:
    """All points that rotations fix, by orbit: the largest site groups first, then those nearest
    to the origin."""
    points: list[Array] = []
    for operation in wallpaper.operations:
        moves = np.eye(2) - operation.matrix
        if round(np.linalg.det(moves)) <= 0:  # the identity and reflections
            continue
        for whole in itertools.product(range(-2, 3), repeat=2):
            point = _in_cell(np.linalg.solve(moves, operation.shift + np.array(whole)))
            if not _contains(points, point):
                points.append(point)
    sites: list[Site] = []
    for point in points:
        if not any(_contains(site.positions, point) for site in sites):
            symmetry = site_symmetry(wallpaper, point)
            sites.append(Site(symmetry, equivalent_points(wallpaper, point)))

    def order(site: Site) -> tuple:  # few equivalent points: a large site group
        return (len(site.positions), *_from_origin(wallpaper, site.positions[0]))

    return tuple(sorted(sites, key=order))


def find_lines(wallpaper: Wallpaper) -> tuple[tuple[Line, ...], ...]:
    """All mirror lines and glide lines modulo the lattice, by orbit: mirror lines first."""
    lines = [line for o in wallpaper.operations for line in _lines_of(o)]
    orbits: list[list[Line]] = []
    lines.sort(key=lambda line: (line.glide, sum(map(abs, line.direction)), line.text))
    for line in lines:
        if not any(_is_among(line, orbit) for orbit in orbits):
            images = [_image(o, line) for o in wallpaper.operations]
            orbits.append([other for other in lines if _is_among(other, images)])
    return tuple(map(tuple, orbits))


def site_symmetry(wallpaper: Wallpaper, point: Array, tolerance: float = 1e-3) -> str:
    """Hermann-Mauguin name of the site group of a point [2]: 1, m, 2, 2mm, ... 6mm.

    Args:
        point: lattice coordinates.
        tolerance: Å; images of the point closer than this are the point.
    """
    kept = [o for o in wallpaper.operations if _distance(wallpaper, o, point, point) < tolerance]
    order = sum(_determinant(o) > 0 for o in kept)
    if len(kept) == order:
        return str(order)
    mirrors = {1: "m", 3: "3m"}
    return mirrors.get(order, f"{order}mm")


def equivalent_points(wallpaper: Wallpaper, point: Array, tolerance: float = 1e-3) -> Array:
    """The orbit of a point [2]: lattice coordinates [k, 2] in [0, 1), nearest to the origin
    first."""
    orbit: list[Array] = []
    for operation in wallpaper.operations:
        image = operation.matrix @ np.asarray(point) + operation.shift
        rest = [other - image - np.round(other - image) for other in orbit]
        if all(np.linalg.norm(each @ wallpaper.lattice) >= tolerance for each in rest):
            orbit.append(_in_cell(image))
    return np.array(sorted(orbit, key=lambda x: _from_origin(wallpaper, x)))


def format_coordinate(number: float) -> str:
    """A lattice coordinate as a fraction with a denominator up to 12, or with three decimals."""
    fraction = Fraction(float(number)).limit_denominator(12)
    is_exact = abs(float(fraction) - number) < SAME_PLACE
    return str(fraction) if is_exact else f"{number:.3f}"


def _lines_of(operation: Operation) -> list[Line]:
    """The two lines of a reflection and the lattice: its own, and one half a spacing away."""
    if _determinant(operation) > 0:
        return []
    matrix = np.array(operation.matrix)
    along = np.eye(2, dtype=int) + matrix  # its columns lie along the line
    column = max(along.T.tolist(), key=lambda c: np.abs(c).sum())
    direction = _with_sign([number // math.gcd(*column) for number in column])
    across = np.array(_across(direction))
    normal = np.array([-direction[1], direction[0]])
    lines = []
    for step in (0, 1):
        shift = operation.shift + step * across
        glide = np.dot(along @ shift / 2, direction) / np.dot(direction, direction)
        lines.append(Line(direction, _modulo_1(float(normal @ shift) / 2), _modulo_1(glide)))
    return lines


def _image(operation: Operation, line: Line) -> Line:
    """A line under an operation."""
    matrix = np.array(operation.matrix)
    direction = _with_sign((matrix @ line.direction).tolist())
    point = matrix @ line.point + operation.shift
    offset = -direction[1] * point[0] + direction[0] * point[1]
    return Line(direction, _modulo_1(offset), line.glide)


def _is_among(line: Line, others: Iterable[Line]) -> bool:
    """Whether a line is one of others modulo the lattice; glides of one line agree."""
    return any(
        line.direction == other.direction
        and abs(line.offset - other.offset - round(line.offset - other.offset)) < SAME_PLACE
        for other in others
    )


def _across(direction: tuple[int, int]) -> tuple[int, int]:
    """The smallest whole numbers with n.x = 1 for n = (-d2, d1)."""
    reach = range(-max(map(abs, direction)), max(map(abs, direction)) + 1)
    fitting = [(i, j) for i in reach for j in reach if direction[0] * j - direction[1] * i == 1]
    return min(fitting, key=lambda v: (abs(v[0]) + abs(v[1]), v))


def _with_sign(direction: Iterable[int]) -> tuple[int, int]:
    """Whole numbers of which the first that is not zero is positive."""
    first, second = direction
    return (first, second) if (first, second) > (0, 0) else (-first, -second)


def _from_origin(wallpaper: Wallpaper, point: Array) -> tuple:
    """Distance (Å) of a point from the nearest lattice point, then its coordinates: an order."""
    steps = np.array(list(itertools.product((0, 1), repeat=2)))
    distance = np.linalg.norm((point - steps) @ wallpaper.lattice, axis=1).min()
    return (round(distance, 4), *np.round(point, 4))


def _distance(wallpaper: Wallpaper, operation: Operation, point: Array, target: Array) -> float:
    """Distance (Å) of the image of a point from a target, modulo the lattice."""
    rest = operation.matrix @ np.asarray(point) + operation.shift - target
    return float(np.linalg.norm((rest - np.round(rest)) @ wallpaper.lattice))


def _contains(points: Iterable[Array], point: Array) -> bool:
    rest = (np.subtract(point, other) for other in points)
    return any(np.abs(each - np.round(each)).max() < SAME_PLACE for each in rest)


def _in_cell(point: Array) -> Array:
    """Lattice coordinates in [0, 1); those that rounding put below 1 are 0."""
    return np.array([_modulo_1(number) for number in point])


def _modulo_1(number: float) -> float:
    rest = float(number) % 1.0
    return 0.0 if min(rest, 1 - rest) < SAME_PLACE else rest


def _determinant(operation: Operation) -> int:
    (a, b), (c, d) = operation.matrix
    return a * d - b * c
