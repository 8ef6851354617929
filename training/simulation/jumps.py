"""Jumps of molecules between sites of a crystal surface, counted in trajectories."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sikff.surface.lattice import as_lattice, dual, reduced

from .rates import Rate, counted_rate

Array = np.ndarray

CORE = 0.25  # of the shortest distance between sites


class Jumps(NamedTuple):
    """Jumps between sites.

    Attributes:
        rate: of jumps out of a site, to any other.
        steps: displacements [count, 3] from site to site, Å.
    """

    rate: Rate
    steps: Array

    @property
    def diffusion(self) -> float:
        """The diffusion coefficient (Å²/ps) if no jump remembers the one before."""
        squares = (self.steps**2).sum(axis=-1)
        return self.rate.value * float(squares.mean()) / 4 if len(squares) else 0.0


def visited_sites(
    tracks: Array,
    lattice: ArrayLike,
    sites: ArrayLike,
    core: float | None = None,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
) -> Array:
    """The site that each molecule has visited last, as a point [frames, molecules, 3] (Å).

    A molecule visits a site when it is within a core around it, so that one which turns back
    between two sites has not jumped. Before its first visit the point is NaN.

    Args:
        tracks: unwrapped positions [frames, molecules, 3] (Å), see ``centres_of_mass``.
        lattice: two vectors of the surface, Å.
        sites: lattice coordinates [k, 2] of the sites in a cell, such as the positions of one of
            ``sikff.surface.find_sites``.
        core: radius along the surface, Å. None: a quarter of the shortest distance between sites.
        origin: of the lattice.

    Raises:
        ValueError: cores that overlap.
    """
    vectors = as_lattice(np.asarray(lattice))
    points = np.asarray(sites, dtype=float).reshape(-1, 2) @ vectors
    short = reduced(vectors)  # whose nearest point is among the nine next to the rounded one
    coordinates = dual(short)
    around = np.array(list(itertools.product((-1, 0, 1), repeat=2)))
    nearest = _shortest_distance(points, around @ short, coordinates, short)
    core = CORE * nearest if core is None else core
    if not 0 < core < nearest / 2:
        raise ValueError(
            f"core is {core:g} Å; expected a radius above 0 and below {nearest / 2:g} Å, half of "
            "the shortest distance between sites"
        )
    relative = np.asarray(tracks, dtype=float) - np.asarray(origin)
    visited = np.full(relative.shape, np.nan)
    for point, shift in itertools.product(points, around):
        cells = np.round((relative - point) @ coordinates.T) + shift
        images = point + cells @ short
        apart = (relative - images) @ coordinates.T @ short  # along the surface
        inside = (apart**2).sum(axis=-1) < core**2
        visited[inside] = images[inside]
    return _last_known(visited) + np.asarray(origin)


def count_jumps(visited: Array, interval: float) -> Jumps:
    """The jumps in what ``visited_sites`` returns, from frames ``interval`` fs apart.

    Frames must be so close that no molecule passes through a core between two of them.

    Raises:
        ValueError: no molecule that has ever visited a site, or one frame.
    """
    steps = np.diff(visited, axis=0)
    known = np.isfinite(steps).all(axis=-1)
    moved = np.nan_to_num(steps)[known]
    moved = moved[(moved**2).sum(axis=-1) > 1e-6]  # sites are never so near
    time = float(known.sum() * interval / 1000)
    return Jumps(counted_rate(len(moved), time), moved)


def _last_known(points: Array) -> Array:
    """Points [frames, ...] in which NaN is replaced by the last point before it."""
    known = np.isfinite(points).all(axis=-1)
    index = np.where(known, np.arange(len(points))[:, None], 0)
    last = np.maximum.accumulate(index, axis=0)
    return np.take_along_axis(points, last[..., None], axis=0)


def _shortest_distance(points: Array, around: Array, coordinates: Array, short: Array) -> float:
    """Shortest distance (Å) between two sites or images of one."""
    apart = [np.linalg.norm(each) for each in around if each.any()]
    for one, other in itertools.combinations(points, 2):
        rest = other - one
        rest = rest - np.round(rest @ coordinates.T) @ short
        apart.append(np.linalg.norm(rest + around, axis=1).min())
    return float(min(apart))
