"""Potentials of mean force of a molecule above a surface: integrated, and from trajectories.

F(x, y) = -kT ln of the integral of exp(-U/kT) over heights and orientations, and F(h) likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
from ase import units
from ase.geometry import find_mic

from .adsorbate import Adsorbate
from .place_grid import PlaceGrid
from .rigid_samples import Energies, boltzmann_factors

Array = np.ndarray

BIN = 0.1  # Å, of heights
BLOCKS = 10  # of a trajectory, whose scatter is the error


class PlaceMap(NamedTuple):
    """F over the cell: values [n, n] at the places of a grid, NaN where nothing was, and their
    standard errors (eV); the lowest value is zero."""

    grid: PlaceGrid
    values: Array
    errors: Array


class MeanForce(NamedTuple):
    """A potential of mean force.

    Attributes:
        temperature: K.
        heights: centres [k] (Å) of bins of the height of the molecule.
        profile: F [k] (eV), NaN where nothing was; the lowest value is zero.
        errors: standard errors [k] of it.
        places: the map; None above a flat surface.
        vacuum: F far from the surface (eV), on the scale of the profile; NaN from trajectories.
    """

    temperature: float
    heights: Array
    profile: Array
    errors: Array
    places: PlaceMap | None
    vacuum: float = np.nan

    def averaged_places(self) -> PlaceMap | None:
        """The map with probabilities averaged over the cell of each place, as histograms are."""
        if self.places is None:
            return None
        kt, frequencies = units.kB * self.temperature, np.fft.fftfreq(self.places.grid.n)
        window = np.sinc(frequencies)[:, None] * np.sinc(frequencies)
        density = np.fft.ifft2(np.fft.fft2(np.exp(-self.places.values / kt)) * window).real
        return self.places._replace(values=_free_energy(density, kt))


def integrate(
    adsorbate: Adsorbate,
    energies: Energies,
    temperature: float,
    highest: float,
    n: int = 12,
    samples: int = 2048,
    on_place: Callable[[], Any] = lambda: None,
) -> MeanForce:
    """The potential of mean force of an atom or a rigid molecule, by numerical integration.

    Args:
        energies: of the rigid molecule at positions [B, atoms, 3] (eV), zero in vacuum.
        highest: heights (Å) up to this count, those of a molecule that is on the surface.
        n: places along each lattice vector.
        samples: heights and orientations at each place (not for atoms, where it is a quadrature).
        on_place: called after each of the places that are not equivalent.

    Raises:
        ValueError: a temperature or a height that is not positive.
    """
    _check(temperature, highest)
    kt, surface = units.kB * temperature, adsorbate.surface
    grid = None
    points, shares = surface.origin[None], np.ones(1)
    if surface.wallpaper is not None:
        grid = PlaceGrid(surface.wallpaper, n, adsorbate.is_chiral)
        points = surface.points(grid.places[grid.representatives])
        shares = grid.multiplicities / n**2
    bins = _bins(adsorbate, highest)
    found = []
    for number, point in enumerate(points):
        found.append(boltzmann_factors(adsorbate, energies, point, kt, bins, samples, number))
        on_place()
    factors = np.array([each.factors for each in found])
    errors = np.array([each.errors for each in found])
    mean = shares @ factors
    errors = kt * np.sqrt(shares**2 @ errors**2) / np.where(mean > 0, mean, np.inf)
    places = None
    if grid is not None:
        inside, scatter = factors.sum(axis=1), np.array([each.total_error for each in found])
        scatter = kt * scatter / np.where(inside > 0, inside, np.inf)
        values = _free_energy(grid.unfolded(inside), kt)
        places = PlaceMap(grid, values, grid.unfolded(scatter))
    vacuum = float(kt * np.log(mean.max() / (bins[1] - bins[0])))
    middles = (bins[1:] + bins[:-1]) / 2
    return MeanForce(temperature, middles, _free_energy(mean, kt), errors, places, vacuum)


def from_trajectory(
    adsorbate: Adsorbate,
    frames: Sequence[ase.Atoms],
    temperature: float,
    highest: float,
    n: int = 12,
) -> MeanForce:
    """The potential of mean force that the places in a trajectory at equilibrium show.

    Places are folded by the wallpaper group; frames may hold several molecules of the kind, each of
    which counts. Errors are from the scatter between blocks of successive frames.

    Raises:
        ValueError: other atoms than those of the molecule, or too few frames.
    """
    _check(temperature, highest)
    anchors = adsorbate.anchor(molecules_in(frames, adsorbate.free))
    kt, surface = units.kB * temperature, adsorbate.surface
    heights = surface.heights(anchors)
    bins = _bins(adsorbate, highest)
    blocks = np.array_split(np.arange(len(frames)), BLOCKS)
    inside = [(heights[b] >= bins[0]) & (heights[b] < bins[-1]) for b in blocks]
    along = [np.histogram(heights[b], bins)[0] for b in blocks]
    places = None
    if surface.wallpaper is not None:
        grid = PlaceGrid(surface.wallpaper, n, adsorbate.is_chiral)
        counts = [
            _folded(grid, surface.places(anchors[b][chosen]))
            for b, chosen in zip(blocks, inside, strict=True)
        ]
        places = PlaceMap(grid, *_from_blocks(np.array(counts), kt))
    middles = (bins[1:] + bins[:-1]) / 2
    return MeanForce(temperature, middles, *_from_blocks(np.array(along, float), kt), places)


def molecules_in(frames: Sequence[ase.Atoms], molecule: ase.Atoms) -> Array:
    """Positions [frames, molecules, atoms, 3] of like molecules, each in one piece.

    Raises:
        ValueError: other atoms, or fewer frames than blocks.
    """
    if len(frames) < BLOCKS:
        raise ValueError(f"got {len(frames)} frames; expected at least {BLOCKS}, better thousands")
    size, found = len(molecule), []
    for number, atoms in enumerate(frames):
        count = len(atoms) // size
        if len(atoms) % size or (atoms.numbers != np.tile(molecule.numbers, count)).any():
            raise ValueError(
                f"frame {number} of the trajectory is {atoms.get_chemical_formula()}; expected "
                f"molecules with the atoms {' '.join(molecule.symbols)}, in this order"
            )
        positions = atoms.positions.reshape(count, size, 3)
        if atoms.pbc.any():
            apart = (positions - positions[:, :1]).reshape(-1, 3)
            near = find_mic(apart, atoms.cell, atoms.pbc)[0].reshape(positions.shape)
            positions = positions[:, :1] + near
        found.append(positions)
    if len({len(each) for each in found}) > 1:
        raise ValueError("the frames of the trajectory hold different numbers of molecules")
    return np.array(found)


def largest_difference(
    one: PlaceMap, other: PlaceMap, kt: float, within: float
) -> tuple[float, float]:
    """Largest difference (eV) between two maps at places up to ``within`` (eV) above the lowest,
    and the root mean square of differences over their standard errors."""
    weights = np.nan_to_num(np.exp(-other.values / kt))
    apart = one.values - other.values
    apart = apart - (weights * np.nan_to_num(apart)).sum() / weights.sum()
    errors = np.hypot(one.errors, other.errors)
    near = (other.values <= within) & np.isfinite(apart)
    scaled = apart[near] / np.maximum(errors[near], 1e-12)
    return float(abs(apart[near]).max()), float(np.sqrt((scaled**2).mean()))


def _bins(adsorbate: Adsorbate, highest: float) -> Array:
    """Edges of bins of the height (Å), from where no atom is any more."""
    lowest = np.floor(min(adsorbate.floors.min(), 0.0) / BIN)
    return BIN * np.arange(lowest, np.ceil(highest / BIN - 1e-9) + 1)


def _folded(grid: PlaceGrid, places: Array) -> Array:
    """How often [n, n] places [..., 2] and their images are in the cell about each place."""
    counts = np.zeros((grid.n, grid.n))
    for k in grid.operations:
        o = grid.wallpaper.operations[k]
        images = places.reshape(-1, 2) @ np.array(o.matrix).T + o.shift
        index = np.floor(grid.n * images + 0.5).astype(int) % grid.n
        np.add.at(counts, tuple(index.T), 1 / len(grid.operations))
    return counts


def _from_blocks(counts: Array, kt: float) -> tuple[Array, Array]:
    """F and its standard error from the counts [blocks, ...] in successive blocks."""
    mean = counts.mean(axis=0)
    error = counts.std(axis=0, ddof=1) / np.sqrt(len(counts))
    return _free_energy(mean, kt), kt * error / np.where(mean > 0, mean, np.nan)


def _free_energy(density: Array, kt: float) -> Array:
    """-kT ln of a density, from its lowest value; NaN where it is zero."""
    density = np.where(density > 0, density, np.nan)
    if np.isnan(density).all():
        raise ValueError("nothing is within the heights that count; expected a larger height")
    f = -kt * np.log(density)
    return f - np.nanmin(f)


def _check(temperature: float, highest: float) -> None:
    if not (temperature > 0 and highest > 0):
        raise ValueError(
            f"got {temperature} K and heights up to {highest} Å; expected positive numbers"
        )
