"""Where molecules are in a trajectory, without the jumps of periodic images."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase.geometry import find_mic

Array = np.ndarray


def centres_of_mass(frames: Sequence[ase.Atoms], size: int) -> Array:
    """Centres of mass [frames, molecules, 3] (Å) of molecules of ``size`` consecutive atoms each.

    Along periodic directions positions may be wrapped, as long as no atom moves by half of the cell
    from frame to frame.

    Raises:
        ValueError: no frames, frames of other atoms, or a number of atoms that is no multiple of
            the size.
    """
    if not len(frames):
        raise ValueError("got no frames; expected a trajectory")
    first = frames[0]
    if size < 1 or len(first) % size:
        raise ValueError(
            f"molecules of {size} atoms do not add up to the {len(first)} of a frame; expected "
            "frames of molecules of one size, the atoms of each beside each other"
        )
    for k, frame in enumerate(frames):
        if not np.array_equal(frame.numbers, first.numbers):
            raise ValueError(f"frame {k} holds other atoms, {frame.symbols}, than the first one")
    positions = np.stack([frame.positions for frame in frames])
    if first.pbc.any():
        positions = unwrapped(positions, first.cell.array, first.pbc)
    molecules = positions.reshape(len(frames), -1, size, 3)
    masses = first.get_masses().reshape(-1, size, 1)
    return (molecules * masses).sum(axis=2) / masses.sum(axis=1)


def unwrapped(positions: Array, cell: Array, pbc: Array) -> Array:
    """Positions [frames, n, 3] (Å) in which each step takes the shortest way in the cell."""
    steps, _ = find_mic(np.diff(positions, axis=0).reshape(-1, 3), cell, pbc)
    walked = np.cumsum(steps.reshape(-1, *positions.shape[1:]), axis=0)
    return positions[0] + np.concatenate([np.zeros_like(positions[:1]), walked])
