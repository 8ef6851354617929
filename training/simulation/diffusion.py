"""Diffusion along a surface, from mean-square displacements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sikff.groups.matrices import unit_vector

Array = np.ndarray

MOST_LAGS = 20
FEW_MOLECULES = 8  # below, time is cut into blocks for the error


class Diffusion(NamedTuple):
    """Diffusion along a plane.

    Attributes:
        coefficient: Å²/ps; 1 Å²/ps is 1e-4 cm²/s.
        error: its standard error, from blocks.
        lags: times [k] between two positions, ps.
        displacements: mean squares [k] of the displacements along the plane, Å².
    """

    coefficient: float
    error: float
    lags: Array
    displacements: Array


def diffusion_coefficient(
    tracks: Array,
    interval: float,
    lags: tuple[float, float] | None = None,
    normal: Sequence[float] = (0.0, 0.0, 1.0),
    blocks: int | None = None,
) -> Diffusion:
    """The slope of the mean-square displacement along a plane over four times the lag.

    Args:
        tracks: unwrapped positions [frames, molecules, 3] (Å), see ``centres_of_mass``.
        interval: time between frames, fs.
        lags: the shortest and the longest one of the fit, ps: past the time in which molecules
            move freely or about one site. None: 1/16 and 1/4 of a block.
        normal: of the plane.
        blocks: into which time is cut. Each molecule in each block is one value; their spread is
            the error. None: 8 for less than 8 molecules, otherwise 1.

    Raises:
        ValueError: tracks that are too short for the lags, or another shape.
    """
    tracks = np.asarray(tracks, dtype=float)
    if tracks.ndim != 3 or tracks.shape[2] != 3:
        raise ValueError(f"tracks have the shape {tracks.shape}; expected [frames, molecules, 3]")
    if blocks is None:
        blocks = 8 if tracks.shape[1] < FEW_MOLECULES else 1
    length = len(tracks) // max(blocks, 1)
    longest_possible = (length - 1) * interval / 1000
    shortest, longest = lags or (longest_possible / 16, longest_possible / 4)
    steps = np.unique(np.round(np.linspace(shortest, longest, MOST_LAGS) * 1000 / interval))
    steps = steps[steps > 0].astype(int)
    if blocks < 1 or len(steps) < 2 or not steps[-1] < length:
        raise ValueError(
            f"{len(tracks)} frames in {blocks} blocks are {longest_possible:g} ps each, too short "
            f"for lags from {shortest:g} to {longest:g} ps; expected a longer trajectory, frames "
            "closer to each other, or shorter lags"
        )
    n = unit_vector(normal)
    flat = tracks - (tracks @ n)[..., None] * n
    cut = flat[: blocks * length].reshape(blocks, length, -1, 3)
    squares = np.array(
        [((cut[:, k:] - cut[:, :-k]) ** 2).sum(axis=-1).mean(axis=1).ravel() for k in steps]
    )
    times = steps * interval / 1000
    slopes = np.polyfit(times, squares, 1)[0] / 4
    error = slopes.std(ddof=1) / len(slopes) ** 0.5 if len(slopes) > 1 else np.nan
    return Diffusion(float(slopes.mean()), float(error), times, squares.mean(axis=1))
