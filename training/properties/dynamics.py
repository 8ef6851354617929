"""Radial distribution functions, and dynamics that show whether a crystal or a melt holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ase
import numpy as np
from matscipy.neighbours import neighbour_list

from ..simulation.md import run_md
from ..simulation.settings import MDSettings

Array = np.ndarray


@dataclass(frozen=True)
class Dynamics:
    """What a run at a temperature shows.

    Attributes:
        temperature: mean, K; picoseconds: length of the run.
        displacement: root mean square displacement of the atoms at the end, Å.
        nearest: smallest distance of two atoms in any frame, Å.
        distances: r [n], Å, and distribution: g(r) [n] of all atoms, over the second half.
    """

    temperature: float
    picoseconds: float
    displacement: float
    nearest: float
    distances: Array
    distribution: Array


def radial_distribution(
    frames: Sequence[ase.Atoms], largest: float = 8.0, width: float = 0.05
) -> tuple[Array, Array]:
    """Distances r [n] (Å, centres of bins) and g(r) [n], the mean over periodic frames.

    Distances beyond the cell are counted as well, so `largest` may exceed half of it; what is
    correlated by the cell then shows.
    """
    edges = np.arange(0, largest + width / 2, width)
    shells = 4 / 3 * np.pi * np.diff(edges**3)
    counts = np.zeros(len(shells))
    for atoms in frames:
        distances = neighbour_list("d", atoms, edges[-1])
        ideal = len(atoms) ** 2 / atoms.get_volume() * shells
        counts += np.histogram(distances, edges)[0] / ideal / len(frames)
    return (edges[1:] + edges[:-1]) / 2, counts


def run_dynamics(
    crystal: ase.Atoms, temperature: float, picoseconds: float, timestep: float = 2.0
) -> Dynamics:
    """Molecular dynamics (nvt) of a crystal or a liquid, in memory.

    Args:
        crystal: with a calculator; it does not change.
        temperature: K; timestep: fs.

    Raises:
        CalculationFailed: naming the step, if the run cannot go on.
    """
    atoms = crystal.copy()
    atoms.calc = crystal.calc
    steps = max(1, round(1000 * picoseconds / timestep))
    every = max(1, steps // 100)
    settings = MDSettings(
        ensemble="nvt", steps=steps, timestep=timestep, temperature=temperature, every=every
    )
    frames: list[ase.Atoms] = []

    def keep(step: int) -> None:
        if step % every == 0:
            frames.append(atoms.copy())

    with TemporaryDirectory() as folder:
        summary = run_md(atoms, settings, Path(folder) / "md.csv", on_step=keep)
    nearest = min(float(neighbour_list("d", each, 3.0).min(initial=3.0)) for each in frames)
    moved = atoms.positions - crystal.positions
    moved -= moved.mean(axis=0)
    r, g = radial_distribution(frames[len(frames) // 2 :])
    return Dynamics(
        summary["temperature_K"],
        steps * timestep / 1000,
        float(np.sqrt((moved**2).sum(axis=1).mean())),
        nearest,
        r,
        g,
    )
