"""What stands at the sites of a surface, and which atoms its layers have."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols

from sikff.surface.slab import SlabSurface, SurfaceAtoms

Array = np.ndarray

LAYER = 0.4  # Å; larger gaps between the heights of atoms separate layers
SAME_PLACE = 0.15  # Å, along the surface: an atom at a site; equal distances from a site
_STEPS = np.array(list(itertools.product(range(-2, 3), repeat=2)))


class Layer(NamedTuple):
    """Atoms of about one height in a primitive cell.

    Attributes:
        height: of its highest atom above the plane of the outermost atoms (Å), 0 or less.
        symbols: chemical symbols of its atoms.
        coordinates: lattice coordinates [k, 2] of its atoms, in [0, 1).
    """

    height: float
    symbols: tuple[str, ...]
    coordinates: Array


def find_layers(found: SlabSurface) -> tuple[Layer, ...]:
    """The layers of a slab, from the surface down, with the atoms of a primitive cell."""
    atoms = _one_cell(found)
    below = np.argsort(-atoms.heights, kind="stable")
    ends = np.flatnonzero(-np.diff(atoms.heights[below]) > LAYER) + 1
    layers = []
    for members in np.split(below, ends):
        symbols = tuple(chemical_symbols[n] for n in atoms.numbers[members])
        height = float(atoms.heights[members[0]])
        layers.append(Layer(height, symbols, atoms.coordinates[members]))
    return tuple(layers)


def describe_place(found: SlabSurface, layers: tuple[Layer, ...], point: Array) -> str:
    """What is at a point [2] of the surface, such as "top Na" or "hollow: 3 Cu at 1.47 Å"."""
    lattice = found.wallpaper.lattice
    top, *lower = layers
    distances = _distances(lattice, top.coordinates, point)  # to all images
    nearest = distances.min()
    if nearest < SAME_PLACE:
        atom = np.unravel_index(distances.argmin(), distances.shape)[0]
        return f"top {top.symbols[atom]}"
    around = (distances < nearest + SAME_PLACE).sum(axis=1)
    counts: Counter[str] = Counter()
    for symbol, number in zip(top.symbols, around.tolist(), strict=True):
        counts[symbol] += number
    kind = {1: "beside", 2: "bridge"}.get(counts.total(), "hollow")
    atoms = ", ".join(f"{number} {symbol}" for symbol, number in counts.items() if number)
    return f"{kind}: {atoms} at {nearest:.2f} Å{_beneath(lattice, lower, point)}"


def _beneath(lattice: Array, lower: list[Layer], point: Array) -> str:
    """The first atom straight below a point, in words; nothing if there is none."""
    for layer in lower:
        distances = _distances(lattice, layer.coordinates, point).min(axis=1)
        if distances.min() < SAME_PLACE:
            return f", above {layer.symbols[distances.argmin()]} {-layer.height:.2f} Å lower"
    return ""


def _distances(lattice: Array, coordinates: Array, point: Array) -> Array:
    """Distances [k, images] (Å) along the surface of points from a point and its images."""
    apart = coordinates[:, None] - point - _STEPS
    return np.asarray(np.linalg.norm(apart @ lattice, axis=-1))


def _one_cell(found: SlabSurface) -> SurfaceAtoms:
    """The atoms of the slab that no lattice translation maps to each other."""
    atoms = found.atoms
    kept: list[int] = []
    for i in range(len(atoms.numbers)):
        rest = atoms.coordinates[kept] - atoms.coordinates[i]
        rest = (rest - np.round(rest)) @ atoms.lattice
        distances = np.hypot(np.linalg.norm(rest, axis=1), atoms.heights[kept] - atoms.heights[i])
        is_like = atoms.numbers[kept] == atoms.numbers[i]
        if not (is_like & (distances < 2 * SAME_PLACE)).any():
            kept.append(i)
    folded = atoms.coordinates - np.floor(atoms.coordinates + 1e-6)
    return atoms._replace(coordinates=folded).select(np.array(kept))
