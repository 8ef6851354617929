"""The wallpaper group of a crystal surface, found from the atoms of a slab."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import ase
import numpy as np

from sikff.surface.lattice import as_lattice, dual, normal, reduced
from sikff.surface.names import parse
from sikff.surface.operations import Operation
from sikff.surface.wallpaper import Wallpaper

Array = np.ndarray

VACUUM = 5.0  # Å; least gap between the images of a slab that is periodic in three directions
SIDES = ("top", "bottom")


class SlabSurface(NamedTuple):
    """What :func:`find_wallpaper` finds.

    Attributes:
        wallpaper: the group, in the setting of the International Tables for this origin.
        origin: origin [3] (Å) of the lattice at the height of the outermost atom: of the sites
            that the International Tables allow the one nearest to that atom.
        normal: unit vector [3] out of the slab.
        misfit: largest distance (Å) between an atom and the image of another one.
        atoms: of the slab, about the origin.
    """

    wallpaper: Wallpaper
    origin: Array
    normal: Array
    misfit: float
    atoms: SurfaceAtoms


class SurfaceAtoms(NamedTuple):
    """Atoms above one lattice: species [n], lattice coordinates [n, 2], heights [n] (Å)."""

    lattice: Array
    numbers: Array
    coordinates: Array
    heights: Array

    def select(self, which: Array) -> SurfaceAtoms:
        """Some of the atoms."""
        return SurfaceAtoms(
            self.lattice, self.numbers[which], self.coordinates[which], self.heights[which]
        )

    def classes(self, gap: float) -> list[Array]:
        """Indices of the atoms of each species, split at gaps (Å) between their heights."""
        order = np.lexsort([self.heights, self.numbers])
        numbers, heights = self.numbers[order], self.heights[order]
        ends = np.flatnonzero((np.diff(numbers) != 0) | (np.diff(heights) > gap)) + 1
        return np.split(order, ends)

    def compare(self, matrix: Array, shift: Array, classes: list[Array]) -> tuple[float, Array]:
        """Largest distance (Å) of an image from the nearest atom, and the mean rest [2].

        Args:
            classes: sets of atoms; an image is compared with those of its atom's set.
        """
        rests, largest = np.empty_like(self.coordinates), 0.0
        for members in classes:
            coordinates, heights = self.coordinates[members], self.heights[members]
            rest = coordinates - (coordinates @ matrix.T + shift)[:, None]
            rest -= np.round(rest)
            across = heights - heights[:, None]
            distances = ((rest @ self.lattice) ** 2).sum(axis=-1) + across**2
            nearest = distances.argmin(axis=1)
            rows = np.arange(len(nearest))
            largest = max(largest, float(np.sqrt(distances[rows, nearest].max())))
            rests[members] = rest[rows, nearest]
        return largest, rests.mean(axis=0)

    def find_shifts(self, matrix: Array, tolerance: float) -> list[tuple[float, Array]]:
        """All (misfit, w) with which x -> W x + w maps the atoms to atoms, the best first."""
        height = self.heights / max(tolerance, 1e-6)
        is_like = (self.numbers == self.numbers[:, None]) & (abs(height - height[:, None]) < 2)
        rarest = is_like.sum(axis=1).argmin()
        alike = self.select(is_like[rarest])  # few atoms, so most shifts are soon excluded
        classes, of_alike = (each.classes(2 * tolerance) for each in (self, alike))
        start = matrix @ self.coordinates[rarest]
        tried: list[Array] = []
        found: list[tuple[float, Array]] = []
        for target in alike.coordinates:
            shift = target - start
            if self.is_near(shift, tried, tolerance):
                continue
            tried.append(shift)
            if alike.compare(matrix, shift, of_alike)[0] >= 2 * tolerance:
                continue
            misfit, rest = self.compare(matrix, shift, classes)
            if misfit < 2 * tolerance:  # the target may be off itself: take the mean of all atoms
                found.append((self.compare(matrix, shift + rest, classes)[0], shift + rest))
        distinct: list[tuple[float, Array]] = []
        for misfit, shift in sorted(found, key=lambda pair: pair[0]):
            if misfit < tolerance and not self.is_near(
                shift, [other for _, other in distinct], 4 * tolerance
            ):
                distinct.append((misfit, shift))
        return distinct

    def is_near(self, shift: Array, others: list[Array], distance: float) -> bool:
        """Whether a shift is one of others within a distance (Å), modulo the lattice."""
        apart = np.reshape(others, (-1, 2)) - shift
        apart = (apart - np.round(apart)) @ self.lattice
        return bool((np.linalg.norm(apart, axis=1) < distance).any())


def find_wallpaper(
    slab: ase.Atoms, tolerance: float = 0.02, side: str = "top", depth: float | None = None
) -> SlabSurface:
    """The wallpaper group of a slab: lattice, operations and origin.

    These are the symmetries of the slab that keep its normal. Where only the layers near the
    surface are meant (a relaxed surface on fixed layers of another kind), set ``depth``.

    Args:
        slab: periodic in two directions, or in three with at least 5 Å of vacuum along one.
        tolerance: Å; atoms closer than this to an image of another one are the same.
        side: "top" (along the third cell vector) or "bottom".
        depth: Å below the outermost atom that count; None: all.

    Raises:
        ValueError: no slab, a slab without vacuum, or atoms that are symmetric in some respects
            to within the tolerance only.
    """
    _check(slab, tolerance, side)
    cell, out, all_positions = _plane(slab, side)
    heights = all_positions @ out
    is_near = heights >= heights.max() - (np.inf if depth is None else depth) - tolerance
    positions, heights, numbers = all_positions[is_near], heights[is_near], slab.numbers[is_near]
    points = SurfaceAtoms(cell, numbers, positions @ dual(cell).T, heights)
    lattice = _primitive(points, tolerance)
    points = SurfaceAtoms(lattice, numbers, positions @ dual(lattice).T, heights)
    operations, misfit = [], 0.0
    for matrix in _automorphisms(lattice, tolerance):
        for worst, shift in points.find_shifts(matrix, tolerance)[:1]:
            operations.append(Operation.of(matrix, shift))
            misfit = max(misfit, worst)
    found = Wallpaper.from_generators(lattice, operations, tolerance=4 * tolerance)
    if len(found.operations) != len(operations):
        raise ValueError(
            f"{len(operations)} operations map the slab to itself within {tolerance:g} Å, but "
            f"together they make {len(found.operations)}: choose a larger tolerance, or a smaller "
            "one that tells its atoms apart"
        )
    highest = positions[np.flatnonzero(heights > heights.max() - tolerance)[0]]
    wallpaper, origin = _standard_setting(found, highest, 4 * tolerance)
    origin = origin + (heights.max() - origin @ out) * out
    above = all_positions - origin
    atoms = SurfaceAtoms(wallpaper.lattice, slab.numbers, above @ wallpaper.dual.T, above @ out)
    return SlabSurface(wallpaper, origin, out, misfit, atoms)


def _check(slab: ase.Atoms, tolerance: float, side: str) -> None:
    """Raise ValueError for arguments of which no surface can be found."""
    if side not in SIDES:
        raise ValueError(f"got the side {side!r}; expected one of {', '.join(SIDES)}")
    if not tolerance > 0:
        raise ValueError(f"got the tolerance {tolerance} Å; expected a positive number")
    if len(slab) < 1 or slab.pbc.sum() < 2:
        raise ValueError(
            f"got {len(slab)} atoms, periodic in {slab.pbc.sum()} directions; expected a slab, "
            "periodic in the two directions of its surface (set its cell and pbc)"
        )
    if not (np.isfinite(slab.positions).all() and np.isfinite(slab.cell.array).all()):
        raise ValueError("the slab has positions or cell vectors that are not finite numbers")
    lengths = slab.cell.lengths()[slab.pbc]
    if not lengths.all():
        raise ValueError(
            f"pbc is {slab.pbc.tolist()}, but the cell vectors there have the lengths "
            f"{lengths.round(4).tolist()} Å; set pbc to false where the slab does not repeat"
        )


def _plane(slab: ase.Atoms, side: str) -> tuple[Array, Array, Array]:
    """Lateral cell vectors [2, 3], the normal [3] out of the slab, and unwrapped positions."""
    periodic = np.flatnonzero(slab.pbc)
    open_axes = [0, 1, 2] if len(periodic) == 3 else [i for i in range(3) if i not in periodic]
    layouts = [_layers(slab, axis, wraps=len(periodic) == 3) for axis in open_axes]
    gap, axis, out, positions = max(layouts, key=lambda layout: layout[0])
    if gap < VACUUM:
        raise ValueError(
            f"the slab has no vacuum: the largest gap between its layers is {gap:.3g} Å, expected "
            f"at least {VACUUM:g} Å along one cell vector, or a slab periodic in two directions"
        )
    lateral = as_lattice(np.delete(slab.cell.array, axis, axis=0))
    _check_lateral(lateral, positions)
    out = out if side == "top" else -out
    outermost = (positions @ out).argmax()  # stays where it is: molecules are above it
    positions = positions + slab.positions[outermost] - positions[outermost]
    return (lateral if np.cross(*lateral) @ out > 0 else lateral[::-1]), out, positions


def _check_lateral(lateral: Array, positions: Array) -> None:
    """Raise ValueError if there is vacuum between images of the slab along its surface."""
    coordinates = np.sort(positions @ dual(lateral).T % 1.0, axis=0)
    gaps = np.diff(coordinates, axis=0, append=coordinates[:1] + 1).max(axis=0)
    for gap, other, vector in zip(gaps, dual(lateral), lateral, strict=True):
        width = gap / np.linalg.norm(other)
        if width > VACUUM + np.linalg.norm(vector) / len(positions):
            raise ValueError(
                f"along its cell vector {vector.round(4).tolist()} Å the slab has a gap of "
                f"{width:.3g} Å, so it does not repeat there; expected vacuum along the normal "
                "only (is pbc right?)"
            )


def _layers(slab: ase.Atoms, axis: int, wraps: bool) -> tuple[float, int, Array, Array]:
    """Gap (Å) along the normal of a pair of cell vectors, the axis, normal, unwrapped positions."""
    cell, positions = slab.cell.array, slab.positions
    out = normal(as_lattice(np.delete(cell, axis, axis=0)))
    third = cell[axis]
    out = out if third @ out >= 0 else -out
    if not wraps:
        return np.inf, axis, out, positions
    period = third @ out
    heights = np.sort(positions @ out % period)
    gaps = np.diff(heights, append=heights[0] + period)
    first = heights[(gaps.argmax() + 1) % len(heights)]  # the lowest atom above the gap
    turns = np.floor((positions @ out - first + 1e-9) / period)
    return gaps.max(), axis, out, positions - np.outer(turns, third)


def _primitive(points: SurfaceAtoms, tolerance: float) -> Array:
    """Two shortest vectors [2, 3] of all translations that map the atoms to atoms."""
    cell = points.lattice
    shifts = [shift for _, shift in points.find_shifts(np.eye(2), tolerance)]
    area = np.linalg.norm(np.cross(*cell)) / max(len(shifts), 1)
    whole = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    vectors = ((np.array(shifts)[:, None] + whole).reshape(-1, 2)) @ cell
    vectors = vectors[np.linalg.norm(vectors, axis=1) > 4 * tolerance]
    # the shortest first, of equal ones those nearest to the first cell vector
    order = np.lexsort([-(vectors @ cell[0]).round(3), np.linalg.norm(vectors, axis=1).round(3)])
    vectors = vectors[order]
    areas = np.cross(vectors[:, None], vectors) @ normal(cell)
    pairs = np.argwhere(abs(areas / area - 1) < 0.05)
    if len(pairs):
        near = vectors[pairs[0]]
        # exact: the cell vectors are whole multiples
        return reduced(np.linalg.inv(np.round(cell @ dual(near).T)) @ cell)
    raise ValueError(
        f"translations map the slab to itself within {tolerance:g} Å, but do not make a lattice: "
        "choose another tolerance"
    )


def _automorphisms(lattice: Array, tolerance: float) -> Iterator[Array]:
    """Whole matrices [2, 2] under which a reduced lattice is itself within a tolerance (Å)."""
    metric, longest = lattice @ lattice.T, np.linalg.norm(lattice, axis=1).max()
    for entries in itertools.product((1, 0, -1), repeat=4):
        matrix = np.reshape(entries, (2, 2))
        change = np.abs(matrix.T @ metric @ matrix - metric).max()
        if abs(round(np.linalg.det(matrix))) == 1 and change < 2 * longest * tolerance:
            yield matrix


def _standard_setting(found: Wallpaper, near: Array, tolerance: float) -> tuple[Wallpaper, Array]:
    """The named group with the same operations, and its origin [3] nearest to a point."""
    for vectors in _conventional_vectors(found):
        named = Wallpaper(found.name, vectors, tolerance)
        is_same_lattice = found.lattice_misfit(named.lattice) < tolerance
        if not is_same_lattice or not named.point_group <= found.point_group:
            continue
        origins = _origins(found, named, near, tolerance)
        if origins:
            return named, min(
                origins, key=lambda o: (round(np.linalg.norm(o - near), 3), *o.round(3))
            )
    raise ValueError(
        f"the operations of {found.name} were found in the slab, but not where the International "
        f"Tables have them, within {tolerance / 4:g} Å: choose another tolerance"
    )


def _conventional_vectors(found: Wallpaper) -> Iterator[Array]:
    """Lattice vectors in which the named group may have its standard setting."""
    kind, _ = parse(found.name)
    if kind not in ("rectangular", "centred"):
        yield found.lattice
        return
    whole = np.array([m for m in itertools.product(range(-2, 3), repeat=2) if any(m)])
    vectors = whole @ found.lattice
    # as near to x (then y, z) as can be, and the shortest first
    lengths = np.linalg.norm(vectors, axis=1)
    across = -(vectors @ np.array([1.0, 0.1, 0.01]) / lengths).round(6)
    vectors = vectors[np.lexsort([lengths.round(6), across])]
    area = np.linalg.norm(np.cross(*found.lattice)) * (2 if kind == "centred" else 1)
    for a, b in itertools.permutations(vectors, 2):
        is_cell = abs(np.cross(a, b) @ found.normal / area - 1) < 1e-3
        if is_cell and abs(a @ b) < 1e-6 * area:
            yield np.array([a, b])


def _origins(found: Wallpaper, named: Wallpaper, near: Array, tolerance: float) -> list[Array]:
    """Points s near a given one with R r + t = s + R (r - s) + t_named modulo the lattice.

    So (1 - R) s = t - t_named, modulo the lattice, for each operation.
    """
    one_minus = np.eye(3) - named.rotations
    differences = found.translations[found.operation_indices(named.rotations)] - named.translations
    # the operation that leaves the fewest points alone decides; the others must agree
    decisive = np.linalg.matrix_rank(one_minus, tol=1e-6).argmax()
    system = one_minus[decisive]
    inverse = np.linalg.pinv(system, rcond=1e-6)
    origins = []
    for step in np.array(list(itertools.product(range(-2, 3), repeat=2))) @ found.lattice:
        right = differences[decisive] + step
        s = near + inverse @ (right - system @ near)  # free directions: as near as can be
        misfit = found.lattice_misfit(one_minus @ s - differences)
        if np.abs(system @ s - right).max() < tolerance and misfit < tolerance:
            origins.append(s + np.round((near - s) @ found.dual.T) @ found.lattice)
    return origins
