"""Where a molecule sits on a crystal surface: its lowest energy at each place, and the minima."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import ase
import numpy as np

from sikff.surface import Site, find_sites, site_symmetry
from sikff.surface.sites import format_coordinate

from .adsorbate import TIGHT, Adsorbate, orientations
from .place_grid import PlaceGrid
from .vibrations import Vibrations, harmonic_frequencies

Array = np.ndarray

SAME_ENERGY = 1e-3  # eV
SAME_PLACE = 0.3  # Å
AT_LINE = 0.02  # Å, of a relaxed molecule from a mirror line
HOPELESS = 0.05  # eV; a structure so much too high is not relaxed at another place
PULLED = 0.01  # eV/Å; a held molecule that is pulled less is at a stationary point
ROUNDED = 5e-4  # lattice coordinates of relaxed molecules so near to a fraction are shown as it
MOST_SWEEPS, MOST_KICKS, KICK = 3, 3, 0.1


class SiteMap(NamedTuple):
    """The lowest energy at each place of a grid, over all heights and orientations.

    Attributes:
        grid: the places.
        energies: [n, n] (eV), from those of the free molecule.
        structures: relaxed, by the indices of the grid's representatives.
    """

    grid: PlaceGrid
    energies: Array
    structures: dict[int, ase.Atoms]

    @property
    def minima(self) -> list[int]:
        """Representatives with no neighbour that is lower, the lowest first."""
        e = self.energies.ravel()
        around = self.grid.neighbours
        found = [p for p in self.grid.representatives if (e[p] <= e[around(p)] + 1e-9).all()]
        return sorted(found, key=lambda place: e[place])


class Stationary(NamedTuple):
    """A molecule at a place of the surface.

    Attributes:
        atoms: the structure, relaxed; energy: from that of the free molecule (eV).
        place: lattice coordinates [2], or None above a flat surface.
        symmetry: site group of the place.
        pull: lateral force (eV/Å); of held molecules.
        vibrations: its normal modes; None where it is not stationary.
    """

    atoms: ase.Atoms
    energy: float
    place: Array | None
    symmetry: str
    pull: float
    vibrations: Vibrations | None

    @property
    def kind(self) -> str:
        """minimum, saddle point, or what it is instead."""
        if self.vibrations is None:
            return "pulled away"
        n = self.vibrations.n_imaginary
        return {0: "minimum", 1: "saddle point"}.get(n, f"{n} imaginary")


def map_sites(
    adsorbate: Adsorbate,
    n: int = 12,
    starts: int = 6,
    on_place: Callable[[], Any] = lambda: None,
) -> SiteMap:
    """The lowest energy at each place, from several orientations and from neighbouring places.

    Args:
        n: places along each lattice vector; a multiple of 6 has all high-symmetry sites.
        starts: orientations from which the molecule is relaxed at each place.
        on_place: called after each of the places that are not equivalent.
    """
    surface = adsorbate.surface
    wallpaper = surface.corrugated
    grid = PlaceGrid(wallpaper, n, adsorbate.is_chiral)
    turns = orientations(starts, len(adsorbate))
    structures, energies = {}, {}
    for place in grid.representatives:
        structures[place] = adsorbate.lowest(surface.points(grid.places[place]), turns)
        energies[place] = adsorbate.energy(structures[place])
        on_place()
    changed = set(structures)
    for _ in range(MOST_SWEEPS if len(adsorbate) > 1 else 0):
        changed = _spread(adsorbate, grid, structures, energies, changed)
    values = np.array([energies[place] for place in grid.representatives])
    return SiteMap(grid, grid.unfolded(values), structures)


def _spread(
    adsorbate: Adsorbate,
    grid: PlaceGrid,
    structures: dict[int, ase.Atoms],
    energies: dict[int, float],
    sources: set[int],
) -> set[int]:
    """Relaxes the structures of places at their neighbours; returns the places that are lower."""
    lowered = set()
    for place in grid.representatives:
        for other in grid.neighbours(place):
            if grid.first[other] not in sources or grid.first[other] == place:
                continue
            positions = _moved(adsorbate, grid, structures[grid.first[other]], other, place)
            trial = adsorbate.above(positions)
            if adsorbate.energy(trial) > energies[place] + HOPELESS:
                continue
            trial = adsorbate.relaxed(trial)
            energy = adsorbate.energy(trial)
            if energy < energies[place] - SAME_ENERGY:
                structures[place], energies[place] = trial, energy
                lowered.add(place)
    return lowered


def _moved(
    adsorbate: Adsorbate, grid: PlaceGrid, atoms: ase.Atoms, other: int, place: int
) -> Array:
    """Positions of the molecule of a representative as it is at an equivalent place, moved to a
    third one."""
    surface = adsorbate.surface
    images = surface.images(adsorbate.positions(atoms), grid.operation[other], np.zeros(2))
    apart = grid.places[place] - surface.places(adsorbate.anchor(images))
    return images + apart @ surface.lattice


def find_minima(adsorbate: Adsorbate, sites: SiteMap) -> list[Stationary]:
    """The minima of the energy that the lowest places of a map lead to, the lowest first."""
    found: list[Stationary] = []
    for place in sites.minima:
        minimum = relaxed_minimum(adsorbate, sites.structures[place])
        if not any(_is_same(adsorbate, minimum, other) for other in found):
            found.append(minimum)
    return sorted(found, key=lambda minimum: minimum.energy)


def relaxed_minimum(adsorbate: Adsorbate, atoms: ase.Atoms) -> Stationary:
    """The minimum below a structure, with its vibrations; saddle points are left downhill."""
    for _ in range(MOST_KICKS):
        atoms = adsorbate.relaxed(atoms, TIGHT, held=False)
        vibrations = harmonic_frequencies(atoms)
        if not vibrations.n_imaginary:
            break
        kicked = adsorbate.positions(atoms).copy()
        downhill = vibrations.modes[0] / np.sqrt(vibrations.masses)[:, None]
        kicked += KICK * downhill / np.linalg.norm(downhill, axis=1).max()
        atoms = adsorbate.above(kicked)
    return _stationary(adsorbate, atoms, vibrations)


def at_sites(adsorbate: Adsorbate, sites: SiteMap, starts: int = 6) -> list[Stationary]:
    """The molecule held above each high-symmetry site, relaxed in all other respects: from the
    structure of the map where it has one there, else from several orientations."""
    return [
        _at_site(adsorbate, sites, site, starts)
        for site in find_sites(adsorbate.surface.corrugated)
    ]


def _at_site(adsorbate: Adsorbate, sites: SiteMap, site: Site, starts: int) -> Stationary:
    place = site.positions[0]
    number = sites.grid.index(place)
    if number is not None:
        first = sites.structures[int(sites.grid.first[number])]
        positions = _moved(adsorbate, sites.grid, first, number, number)
        atoms = adsorbate.relaxed(adsorbate.above(positions), TIGHT)
    else:
        turns = orientations(starts, len(adsorbate))
        atoms = adsorbate.lowest(adsorbate.surface.points(place), turns, TIGHT)
    is_stationary = adsorbate.lateral_force(atoms) < PULLED
    vibrations = harmonic_frequencies(atoms) if is_stationary else None
    return _stationary(adsorbate, atoms, vibrations)


def above_flat(adsorbate: Adsorbate, starts: int = 6) -> Stationary:
    """The molecule above a flat surface, at its lowest energy."""
    turns = orientations(starts, len(adsorbate))
    return relaxed_minimum(adsorbate, adsorbate.lowest(adsorbate.surface.origin, turns))


def _stationary(
    adsorbate: Adsorbate, atoms: ase.Atoms, vibrations: Vibrations | None
) -> Stationary:
    place, symmetry, wallpaper = None, "", adsorbate.surface.wallpaper
    if wallpaper is not None:
        place = adsorbate.place(atoms)
        symmetry = site_symmetry(wallpaper, place, 2 * AT_LINE)
        place = place - np.floor(place + 1e-4)
    pull = adsorbate.lateral_force(atoms)
    return Stationary(atoms, adsorbate.energy(atoms), place, symmetry, pull, vibrations)


def _is_same(adsorbate: Adsorbate, one: Stationary, other: Stationary) -> bool:
    """Whether two minima are equivalent: the same energy, at equivalent places."""
    if one.place is None or other.place is None or abs(one.energy - other.energy) > SAME_ENERGY:
        return False
    wallpaper = adsorbate.surface.corrugated
    for operation in wallpaper.operations:
        apart = operation.matrix @ one.place + operation.shift - other.place
        if np.linalg.norm((apart - np.round(apart)) @ wallpaper.lattice) < SAME_PLACE:
            return True
    return False


def describe_point(place: Array) -> str:
    """Lattice coordinates in words, such as "1/2, 0.183"."""
    twelfths = np.round(12 * place) / 12
    shown = np.where(abs(place - twelfths) < ROUNDED, twelfths, place)
    return ", ".join(map(format_coordinate, shown))
