"""Molecular dynamics of one structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import CalculationFailed, CalculatorError
from ase.md.md import MolecularDynamics

from .continued_files import CSV, keep_frames, keep_rows
from .ensembles import make_dynamics
from .momenta import degrees_of_freedom, drift, thermal_momenta
from .restart import (
    State,
    identity_of,
    read_restart,
    restore_atoms,
    restore_integrator,
    state_of,
    write_restart,
)
from .settings import MDSettings
from .structure_files import frame_writer, locked
from .surface import ThroughSurfaceError, check_above_surface, environments

__all__ = ["MDSettings", "run_md", "thermal_momenta"]


Trajectory = str | Path | list[ase.Atoms]


def run_md(
    atoms: ase.Atoms,
    settings: MDSettings,
    log: str | Path | None = None,
    trajectory: Trajectory | None = None,
    on_step: Callable[[int], Any] | None = None,
    stop_when: Callable[[ase.Atoms], bool] | None = None,
    restart: str | Path | None = None,
    go_on: bool = False,
) -> dict[str, float]:
    """Runs molecular dynamics; `atoms` carry the calculator and end as the last frame.

    Constraints of the atoms stay in force. Rows and frames are written as they come, those of the
    last step in any case: a run that is stopped, by whatever, leaves those it has done.

    Args:
        log: CSV file with step, time_fs, temperature_K, epot_eV, ekin_eV, etot_eV; of npt also
            volume_A3 and pressure_GPa, with the part of the momenta; of a committee
            force_std_eV_per_A, the largest standard deviation of a force component. The
            temperature is ASE's: from the kinetic energy of all degrees of freedom but those that
            constraints remove, and with nose-hoover and bussi without the three of a drift that
            they keep at zero. None: none is written.
        trajectory: file of frames: ASE's binary .traj, or .xyz / .extxyz; or a list, to which
            copies with energy and forces are appended.
        on_step: called with the number of steps done.
        stop_when: called with the atoms after every step; the run ends when it returns true, and
            the last step is recorded. A committee may be asked here every n-th step, while one
            model moves the atoms (`sikff.training.evaluation.predict.deviations`).
        restart: file for the state after every ``settings.restart_every`` steps and at the end,
            however that comes. None: none is written.
        go_on: start from the state in this file, with the same arguments; ``settings.steps``
            counts the steps before, and log and trajectory are appended to. On a CPU the result is
            that of a run that was not stopped, to the last bit, with as many threads of torch.

    Returns:
        steps that were done, means over the rows (temperature_K, of npt volume_A3 and
        pressure_GPa), of nve drift_mev_per_atom_per_ps (of the total energy, from a linear fit).

    Raises:
        ValueError: before any file is opened, for a structure that the calculator does not accept
            or that constraints leave no freedom; of npt for one with constraints or without a 3D
            crystal; for a state of a run with other arguments, or one that has ended.
        FileNotFoundError: if a file of a run that goes on is missing.
        BlockingIOError: if another simulation writes one of the files.
        CalculationFailed: naming the step, if the run cannot go on: atoms that overlap or are below
            the surface, NaN.
    """
    rng = np.random.default_rng(settings.seed)
    if sum(each.get_removed_dof(atoms) for each in atoms.constraints) >= 3 * len(atoms):
        raise ValueError("constraints leave the atoms no degree of freedom; remove some")
    identity, state = _start(atoms, settings, rng, log, trajectory, restart, go_on)
    dynamics = make_dynamics(atoms, settings, rng)
    if state is not None:
        restore_integrator(dynamics, rng, state)
    states = _States(dynamics, rng, restart, settings.restart_every, identity)
    with (
        nullcontext() if log is None else locked(log),
        locked(trajectory) if isinstance(trajectory, str | Path) else nullcontext(),
        _open_files(atoms, settings, log, trajectory, state) as (rows, write),
        states,
    ):

        def record() -> None:
            rows.append(_observables(atoms, dynamics.nsteps, settings))
            write(rows[-1])

        dynamics.attach(record, interval=settings.every)
        if environments(atoms):
            dynamics.attach(lambda: check_above_surface(atoms), interval=1)
        if restart is not None:
            dynamics.attach(states.keep, interval=1)
        if on_step is not None:
            dynamics.attach(lambda: on_step(dynamics.nsteps), interval=1)
        try:
            for _ in dynamics.irun(settings.steps - dynamics.nsteps):
                if stop_when is not None and dynamics.nsteps and stop_when(atoms):
                    break
            if dynamics.nsteps % settings.every:
                record()
        except (CalculatorError, ValueError, RuntimeError) as error:  # FixBondLengths: the last
            raise CalculationFailed(
                f"dynamics stopped in step {dynamics.nsteps + 1} of {settings.steps} "
                f"(frames kept: {len(rows)}); {_cause(atoms, error)}{error}"
            ) from error
    return _summary(rows, settings, len(atoms))


def _start(
    atoms: ase.Atoms,
    settings: MDSettings,
    rng: np.random.Generator,
    log: str | Path | None,
    trajectory: Trajectory | None,
    restart: str | Path | None,
    go_on: bool,
) -> tuple[dict[str, Any], State | None]:
    """Makes atoms ready for the first step: the identity of the run, and the state it goes on from.

    Raises:
        ValueError: if it cannot go on.
    """
    identity: dict[str, Any] = {}
    if restart is not None:
        files = {
            "log": None if log is None else Path(log),
            "trajectory": Path(trajectory) if isinstance(trajectory, str | Path) else None,
        }
        identity = identity_of(atoms, settings, files, Path(restart).parent)
    if go_on:
        if restart is None:
            raise ValueError("no restart file is given; expected one to go on from")
        state = read_restart(Path(restart), identity)
        if state.step >= settings.steps:
            raise ValueError(
                f"the run in {str(restart)!r} has done its {state.step} steps; expected more steps "
                f"than that to continue, got {settings.steps}"
            )
        restore_atoms(atoms, state)
        atoms.get_forces()
        return identity, state
    atoms.get_forces()
    momenta = atoms.get_momenta()
    if not momenta.any():
        momenta = thermal_momenta(atoms, settings.temperature, rng)
    if settings.thermostat != "langevin":  # others conserve a drift but for its size
        momenta = momenta - drift(atoms, momenta)
    atoms.set_momenta(momenta)
    return identity, None


@contextmanager
def _open_files(
    atoms: ase.Atoms,
    settings: MDSettings,
    log: str | Path | None,
    trajectory: Trajectory | None,
    state: State | None,
) -> Iterator[tuple[list[dict[str, float]], Callable[[dict[str, float]], None]]]:
    """Yields the rows so far, and a function that writes a row and the frame of its step.

    Files of a run that goes on are cut after the last row before its state.
    """
    rows: list[dict[str, float]] = []
    done = 0 if state is None or not state.step else state.step // settings.every + 1
    if state is not None:
        if isinstance(trajectory, str | Path):
            keep_frames(Path(trajectory), done, len(atoms))
        if log is not None:
            rows = keep_rows(Path(log), done)
    mode: Literal["w", "a"] = "w" if state is None else "a"
    with (
        frame_writer(atoms, trajectory, mode) as write_frame,
        nullcontext(io.StringIO()) if log is None else Path(log).open(mode, **CSV) as file,
    ):
        writer = csv.DictWriter(file, _observables(atoms, 0, settings).keys())
        if state is None:
            writer.writeheader()

        def write(row: dict[str, float]) -> None:
            writer.writerow(row)
            file.flush()
            write_frame()

        yield rows, write


class _States:
    """The state after the last complete step, which an interrupt in the next one does not spoil.

    As a context manager it writes that state when it is left; without a path it does nothing.
    """

    def __init__(
        self,
        dynamics: MolecularDynamics,
        rng: np.random.Generator,
        path: str | Path | None,
        every: int,
        identity: dict[str, Any],
    ) -> None:
        self._dynamics, self._rng, self._every = dynamics, rng, every
        self._path, self._identity = path, identity
        self._last: State | None = None

    def keep(self) -> None:
        self._last = state_of(self._dynamics, self._rng)
        if self._last.step % self._every == 0 and self._last.step:
            self._write()

    def _write(self) -> None:
        if self._path is not None and self._last is not None:
            write_restart(Path(self._path), self._last, self._identity)

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self._write()


def _cause(atoms: ase.Atoms, error: Exception) -> str:
    """Why dynamics may have stopped, before the error that stopped it."""
    extrapolations = getattr(atoms.calc, "extrapolation_warnings", [])
    if isinstance(error, ThroughSurfaceError):
        return ""
    if extrapolations:
        return f"the run was beyond the training data ({'; '.join(extrapolations)}): "
    return "the time step may be too long, or the start too far from rest: "


def _observables(atoms: ase.Atoms, step: int, settings: MDSettings) -> dict[str, float]:
    """A row of the log: the columns are described at :func:`run_md`."""
    potential, kinetic = atoms.get_potential_energy(), float(atoms.get_kinetic_energy())
    temperature = float(atoms.get_temperature())
    if settings.thermostat != "langevin":
        temperature = 2 * kinetic / (units.kB * degrees_of_freedom(atoms))
    row = {
        "step": step,
        "time_fs": step * settings.timestep,
        "temperature_K": temperature,
        "epot_eV": potential,
        "ekin_eV": kinetic,
        "etot_eV": potential + kinetic,
    }
    if settings.ensemble == "npt":
        stress = atoms.get_stress(include_ideal_gas=True)
        row["volume_A3"] = atoms.get_volume()
        row["pressure_GPa"] = float(-stress[:3].mean() / units.GPa)
    if len(getattr(atoms.calc, "models", ())) > 1:  # a committee
        row["force_std_eV_per_A"] = atoms.calc.get_deviations(atoms)["forces_std"].max()
    return row


def _summary(rows: list[dict[str, float]], settings: MDSettings, n_atoms: int) -> dict[str, float]:
    """Means over the rows of a log, and the drift of the total energy in nve."""
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    summary: dict[str, float] = {"steps": rows[-1]["step"]}
    for name in ("temperature_K", "volume_A3", "pressure_GPa"):
        if name in table:
            summary[name] = float(table[name].mean())
    if settings.ensemble == "nve" and len(rows) > 1:
        drift = np.polyfit(table["time_fs"], table["etot_eV"], 1)[0]  # eV/fs
        summary["drift_mev_per_atom_per_ps"] = float(1e6 * drift / n_atoms)
    return summary
