"""Larger groups that a slab nearly has: at a larger tolerance, or without its topmost atoms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import ase
import numpy as np

from sikff.surface.slab import SlabSurface, find_wallpaper

Array = np.ndarray

TOLERANCES = (0.05, 0.1, 0.2)  # Å
GAP = 0.4  # Å, between the heights of atoms above and below which a slab may be cut
MOST_CUTS = 12


class WithoutTop(NamedTuple):
    """The surface of a slab without its topmost atoms.

    Attributes:
        removed: indices of these atoms.
    """

    found: SlabSurface
    removed: Array


def find_at_larger_tolerance(
    slab: ase.Atoms,
    found: SlabSurface,
    tolerance: float,
    side: str = "top",
    depth: float | None = None,
) -> tuple[float, SlabSurface] | None:
    """The smallest of some larger tolerances (Å) at which the slab has more symmetry, and that.

    Args:
        found: what the slab has within ``tolerance``.
    """
    for larger in TOLERANCES:
        if larger > tolerance:
            other = _find(slab, larger, side, depth)
            if other is not None and _density(other) > 1.01 * _density(found):
                return larger, other
    return None


def find_without_top(
    slab: ase.Atoms, found: SlabSurface, tolerance: float, side: str = "top"
) -> WithoutTop | None:
    """The most symmetric surface below the topmost atoms, if it has more symmetry than the slab.

    At most half of the atoms are left out, as few as needed. Such atoms may be adsorbates.
    """
    best, densest = None, 1.01 * _density(found)
    for removed in _topmost(found.atoms.heights):
        other = _find(slab[np.delete(np.arange(len(slab)), removed)], tolerance, side, None)
        if other is not None and _density(other) > densest:
            best, densest = WithoutTop(other, removed), 1.01 * _density(other)
    return best


def _find(slab: ase.Atoms, tolerance: float, side: str, depth: float | None) -> SlabSurface | None:
    """The surface of a slab; None if it has no group at this tolerance."""
    try:
        return find_wallpaper(slab, tolerance, side, depth)
    except ValueError:  # this is a try: the caller goes on with the next one
        return None


def _density(found: SlabSurface) -> float:
    """Operations, translations too, in a square Å."""
    area = np.linalg.norm(np.cross(*found.wallpaper.lattice))
    return len(found.wallpaper.operations) / float(area)


def _topmost(heights: Array) -> Iterator[Array]:
    """Indices of the atoms above each gap, fewest first, up to half of them."""
    below = np.argsort(-heights, kind="stable")
    ends = np.flatnonzero(-np.diff(heights[below]) > GAP) + 1
    for end in ends[ends <= len(heights) / 2][:MOST_CUTS]:
        yield below[:end]
