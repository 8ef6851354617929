"""Molecular dynamics and relaxation of one structure."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import ase
import ase.io
import numpy as np
from ase import units
from ase.filters import FrechetCellFilter
from ase.io.trajectory import Trajectory
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS, FIRE
from pydantic import BaseModel, ConfigDict

from sikff.training.config import Count, NonNegative, Positive
from sikff.training.files import complete

COLUMNS = ("step", "time_fs", "temperature_K", "epot_eV", "ekin_eV", "etot_eV")


class MDSettings(BaseModel):
    """A simulation.

    Attributes:
        ensemble: "nve" (velocity Verlet) or "nvt" (Langevin).
        steps, timestep: number of steps, of so many fs.
        temperature: K. Of the thermostat and, if the structure has no momenta, of the velocities
            drawn at the start.
        friction: of Langevin, 1/fs.
        every: steps between rows of the log and frames of the trajectory.
        seed: of velocities and thermostat.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ensemble: Literal["nve", "nvt"] = "nve"
    steps: Count = 1000
    timestep: Positive = 0.5
    temperature: NonNegative = 300.0
    friction: Positive = 0.01
    every: Count = 10
    seed: int = 0


def run_md(
    atoms: ase.Atoms,
    settings: MDSettings,
    log: str | Path,
    trajectory: str | Path | None = None,
    on_step: Callable[[int], Any] | None = None,
) -> dict[str, float]:
    """Runs molecular dynamics; `atoms` carry the calculator and end as the last frame.

    Args:
        log: CSV file with step, time_fs, temperature_K, epot_eV, ekin_eV, etot_eV.
        trajectory: file of frames: ASE's binary .traj, or .xyz / .extxyz.
        on_step: called with the number of steps done.

    Returns:
        steps, temperature_K (mean) and, of NVE, drift_mev_per_atom_per_ps (the slope of the
        total energy).
    """
    rng = np.random.default_rng(settings.seed)
    if not atoms.get_momenta().any():
        atoms.set_momenta(thermal_momenta(atoms, settings.temperature, rng))
    dynamics = _dynamics(atoms, settings, rng)
    rows: list[tuple[float, ...]] = []
    log = Path(log)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        _frame_writer(atoms, trajectory) as write_frame,
        log.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(COLUMNS)

        def record() -> None:
            rows.append(_row(atoms, dynamics.nsteps, settings.timestep))
            writer.writerow(rows[-1])
            write_frame()

        dynamics.attach(record, interval=settings.every)
        if on_step is not None:
            dynamics.attach(lambda: on_step(dynamics.nsteps), interval=1)
        dynamics.run(settings.steps)
    table = np.array(rows)
    summary = {"steps": float(settings.steps), "temperature_K": float(table[:, 2].mean())}
    if settings.ensemble == "nve" and len(table) > 1:
        slope = np.polyfit(table[:, 1], table[:, 5], 1)[0]  # eV/fs
        summary["drift_mev_per_atom_per_ps"] = float(1e6 * slope / len(atoms))
    return summary


def thermal_momenta(atoms: ase.Atoms, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Momenta [N, 3] in ASE's units, drawn at `temperature` (K); several atoms drift nowhere."""
    masses = atoms.get_masses()[:, None]
    momenta = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    if len(atoms) > 1:
        momenta -= masses / masses.sum() * momenta.sum(0)
    return momenta


def relax(
    atoms: ase.Atoms,
    fmax: float = 0.01,
    steps: int = 500,
    optimiser: Literal["bfgs", "fire"] = "bfgs",
    cell: bool = False,
    report: str | None = None,
) -> bool:
    """Moves `atoms`, which carry the calculator, downhill; with `cell` also the cell.

    Args:
        fmax: largest force (eV/Å) that counts as relaxed.
        steps: most steps to take.
        report: file for ASE's log, "-" for standard output.

    Returns:
        Whether it came below `fmax`.
    """
    method = {"bfgs": BFGS, "fire": FIRE}[optimiser]
    target = FrechetCellFilter(atoms) if cell else atoms
    with method(target, logfile=report) as optimisation:
        return bool(optimisation.run(fmax=fmax, steps=steps))


def read_structure(path: str | Path) -> ase.Atoms:
    """The last structure of a file.

    Raises:
        FileNotFoundError, ValueError: if it is missing or unreadable.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no structure file {str(path)!r}")
    try:
        (atoms,) = ase.io.read(path, index="-1:")
    except Exception as error:  # readers of ASE raise anything
        raise ValueError(f"ASE cannot read {str(path)!r} ({error!r})") from error
    return atoms


def write_structure(path: str | Path, atoms: ase.Atoms) -> None:
    """Writes a structure in the format of the suffix."""
    with complete(path) as temporary:
        ase.io.write(temporary, atoms)


def _dynamics(
    atoms: ase.Atoms, settings: MDSettings, rng: np.random.Generator
) -> MolecularDynamics:
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    friction = settings.friction / units.fs
    return Langevin(
        atoms,
        step,
        temperature_K=settings.temperature,
        friction=friction,
        fixcm=False,  # the canonical ensemble, exactly
        rng=rng,
    )


@contextmanager
def _frame_writer(atoms: ase.Atoms, path: str | Path | None) -> Iterator[Callable[[], None]]:
    if path is None:
        yield lambda: None
        return
    path = Path(path)
    if path.suffix not in (".traj", ".xyz", ".extxyz"):
        raise ValueError(f"trajectory {str(path)!r}: expected a name in .traj, .xyz or .extxyz")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".traj":
        with Trajectory(path, "w", atoms) as trajectory:
            yield trajectory.write
    else:
        with path.open("w", encoding="utf-8") as file:
            yield lambda: ase.io.write(file, atoms, format="extxyz")


def _row(atoms: ase.Atoms, step: int, timestep: float) -> tuple[float, ...]:
    potential, kinetic = atoms.get_potential_energy(), float(atoms.get_kinetic_energy())
    temperature = float(atoms.get_temperature())
    return step, step * timestep, temperature, potential, kinetic, potential + kinetic
