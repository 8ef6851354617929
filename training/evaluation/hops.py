"""Minimum-energy paths of an adsorbed molecule to equivalent minima, and their barriers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import ase
import numpy as np
from ase.mep import NEB
from ase.optimize import FIRE
from scipy.optimize import linear_sum_assignment
from scipy.spatial.transform import Rotation

from sikff.surface import Wallpaper

from .adsorbate import FMAX, Adsorbate
from .vibrations import Vibrations, harmonic_frequencies

Array = np.ndarray

REACH = 2  # cells in which images of the minimum are searched
PERIOD = 5  # whole translations are counted modulo this, to see whether a molecule gets anywhere
SAME = 0.05  # Å, root mean square: an image is the minimum itself
RIGID = 0.2  # Å, likewise: an image that no rotation brings to the minimum is its mirror image
TURN = 0.1  # Å, as which a turn by 1 rad counts in the length of a path
SPRING = 0.5  # eV/Å²
ASIDE = 0.03  # Å; images leave lines of symmetry, on which a path would stay
MOST_STEPS = 500
BAND_FMAX = 3 * FMAX


class Element(NamedTuple):
    """An element of the wallpaper group: one of its operations, then whole lattice vectors."""

    operation: int
    steps: tuple[int, int]


class Hop(NamedTuple):
    """A minimum-energy path from a minimum to an equivalent one.

    Attributes:
        element: maps the first minimum to the second.
        distance: Å, between the places of the two.
        path: the structures, from minimum to minimum.
        energies: of them (eV), from that of the free molecule.
        vibrations: normal modes at the highest one, with one imaginary frequency.
        converged: whether the forces on the path are small.
    """

    element: Element
    distance: float
    path: list[ase.Atoms]
    energies: Array
    vibrations: Vibrations
    converged: bool

    @property
    def barrier(self) -> float:
        """Highest energy on the path above that of the minimum (eV)."""
        return float(self.energies.max() - self.energies[0])

    @property
    def saddle(self) -> ase.Atoms:
        """The highest structure."""
        return self.path[int(self.energies.argmax())]


class Neighbour(NamedTuple):
    """An image of a minimum: positions [n, 3] of its atoms in the order of those of the minimum."""

    element: Element
    positions: Array
    apart: float  # Å, root mean square over the atoms
    angle: float  # by which the molecule turns on the way


def find_hops(
    adsorbate: Adsorbate, minimum: ase.Atoms, most: int = 3, images: int = 7
) -> list[Hop]:
    """The shortest paths from a minimum to its images, until they lead to all of them.

    An image that hops found so far lead to, one after the other, is left out; so the list ends when
    the molecule gets everywhere. Minima of other kinds may lie on a path.

    Args:
        minimum: relaxed.
        most: number of paths.
        images: structures between the ends of a path.
    """
    wallpaper = adsorbate.surface.corrugated
    # of images in one place, with like atoms exchanged, that which turns least has the lowest path
    neighbours = sorted(
        _neighbours(adsorbate, minimum), key=lambda each: each.apart + TURN * each.angle
    )
    stay = [each.element for each in neighbours if each.apart < SAME]
    hops: list[Hop] = []
    reached = _generated(wallpaper, stay)
    for neighbour in neighbours:
        if len(hops) == most:
            break
        if neighbour.apart >= SAME and _modulo(neighbour.element) not in reached:
            hops.append(_hop(adsorbate, minimum, neighbour, images))
            stay.append(neighbour.element)
            reached = _generated(wallpaper, stay)
    return hops


def _neighbours(adsorbate: Adsorbate, minimum: ase.Atoms) -> Iterator[Neighbour]:
    """Images in nearby cells that the molecule reaches without passing through its mirror image."""
    surface, start = adsorbate.surface, adsorbate.positions(minimum)
    home = surface.places(adsorbate.anchor(start))
    cells = range(-REACH, REACH + 1)
    for operation in range(len(surface.corrugated.operations)):
        image = surface.images(start, operation, np.zeros(2))
        moved = np.round(surface.places(adsorbate.anchor(image)) - home)
        for cell in itertools.product(cells, repeat=2):
            steps = np.array(cell) - moved
            positions = surface.images(start, operation, steps)
            positions = _matched(adsorbate.free.numbers, start, positions)
            turn, rest = _rigid_motion(start, positions)
            if rest < RIGID:
                element = Element(operation, tuple(steps.astype(int)))
                apart = float(np.sqrt(((positions - start) ** 2).sum(axis=1).mean()))
                yield Neighbour(element, positions, apart, float(turn.magnitude()))


def _matched(numbers: Array, start: Array, image: Array) -> Array:
    """The image with like atoms in the order that moves them least, if all bonds stay."""
    order = np.arange(len(start))
    for number in np.unique(numbers):
        like = np.flatnonzero(numbers == number)
        squares = ((start[like][:, None] - image[like]) ** 2).sum(axis=-1)
        order[like] = like[linear_sum_assignment(squares)[1]]
    lengths = (np.linalg.norm(x[:, None] - x, axis=-1) for x in (start, image[order]))
    before, after = lengths
    return image[order] if abs(before - after).max() < RIGID else image


def _rigid_motion(start: Array, end: Array) -> tuple[Rotation, float]:
    """The rotation about the centre that takes one set of positions to another, and what is left
    (Å, root mean square)."""
    a, b = (x - x.mean(axis=0) for x in (start, end))
    u, _, vt = np.linalg.svd(b.T @ a)
    turn = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    rest = np.sqrt(((a @ turn.T - b) ** 2).sum(axis=1).mean())
    return Rotation.from_matrix(turn), float(rest)


def _hop(adsorbate: Adsorbate, minimum: ase.Atoms, to: Neighbour, n_images: int) -> Hop:
    """The path to a neighbour, from a rigid motion."""
    start = adsorbate.positions(minimum)
    turn, _ = _rigid_motion(start, to.positions)
    centre, moved = start.mean(axis=0), to.positions.mean(axis=0) - start.mean(axis=0)
    rest = to.positions - to.positions.mean(axis=0) - turn.apply(start - centre)
    rng = np.random.default_rng(0)
    path = []
    for share in np.linspace(0, 1, n_images + 2):
        turned = Rotation.from_rotvec(share * turn.as_rotvec()).apply(start - centre)
        positions = turned + centre + share * (moved + rest)
        if 0 < share < 1:
            positions = positions + ASIDE * rng.normal(size=3)
        path.append(adsorbate.above(positions))
    band = NEB(path, climb=True, k=SPRING, method="improvedtangent", allow_shared_calculator=True)
    converged = bool(FIRE(band, logfile=None).run(fmax=BAND_FMAX, steps=MOST_STEPS))
    energies = np.array([adsorbate.energy(atoms) for atoms in path])
    vibrations = harmonic_frequencies(path[int(energies.argmax())])
    along = adsorbate.surface.places(adsorbate.anchor(np.array([start, to.positions])))
    distance = float(np.linalg.norm((along[1] - along[0]) @ adsorbate.surface.lattice))
    return Hop(to.element, distance, path, energies, vibrations, converged)


def _generated(wallpaper: Wallpaper, elements: list[Element]) -> set[Element]:
    """The group that elements generate, with translations modulo PERIOD lattice vectors."""
    shifts = np.array([o.shift for o in wallpaper.operations])
    index = {o.matrix: k for k, o in enumerate(wallpaper.operations)}

    def product(one: Element, other: Element) -> Element:
        first = np.array(wallpaper.operations[one.operation].matrix)
        matrix = first @ wallpaper.operations[other.operation].matrix
        (a, b), (c, d) = matrix.tolist()
        operation = index[(a, b), (c, d)]
        inner = shifts[other.operation] + other.steps
        shift = first @ inner + shifts[one.operation] + one.steps
        return _modulo(Element(operation, tuple(np.round(shift - shifts[operation]).astype(int))))

    found = [Element(0, (0, 0))]
    seen = set(found)
    for element in found:  # grows meanwhile
        for generator in elements:
            new = product(element, generator)
            if new not in seen:
                seen.add(new)
                found.append(new)
    return seen


def _modulo(element: Element) -> Element:
    steps = tuple(int(step) % PERIOD for step in element.steps)
    return Element(element.operation, (steps[0], steps[1]))
