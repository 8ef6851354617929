"""Frames of trajectories at equilibrium."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np

OFF = 0.1  # share by which the mean kinetic temperature may be off


def read_trajectories(paths: Sequence[Path], discard: float, temperature: float) -> list[ase.Atoms]:
    """The frames of files, without a share at the start of each.

    Warns if their momenta belong to another temperature (K).
    """
    frames: list[ase.Atoms] = []
    for path in paths:
        of_file = ase.io.read(path, ":")
        kept = of_file[int(discard * len(of_file)) :]
        moving = [atoms.get_temperature() for atoms in kept if atoms.has("momenta")]
        if moving:
            mean, error = np.mean(moving), np.std(moving) / np.sqrt(len(moving))
            if abs(mean - temperature) > OFF * temperature + 5 * error:
                warnings.warn(
                    f"the atoms in {path} move as at {mean:.0f} K, but the temperature given is "
                    f"{temperature:g} K",
                    stacklevel=2,
                )
        frames += kept
    return frames
