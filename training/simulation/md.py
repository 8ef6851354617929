"""Molecular dynamics of one structure."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import CalculationFailed, CalculatorError
from ase.constraints import FixBondLengths, FixCom
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from .cell import check_cell_may_change
from .settings import MDSettings
from .structure_files import frame_writer, locked
from .surface import ThroughSurfaceError, check_above_surface, environments
from .surface_friction import LocalLangevin, SurfaceFriction

CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8"}


def run_md(
    atoms: ase.Atoms,
    settings: MDSettings,
    log: str | Path | None = None,
    trajectory: str | Path | list[ase.Atoms] | None = None,
    on_step: Callable[[int], Any] | None = None,
    stop_when: Callable[[ase.Atoms], bool] | None = None,
) -> dict[str, float]:
    """Runs molecular dynamics; `atoms` carry the calculator and end as the last frame.

    Constraints of the atoms stay in force. Rows and frames are written as they come, those of the
    last step in any case: a run that is stopped, by whatever, leaves those it has done.

    Args:
        log: CSV file with step, time_fs, temperature_K, epot_eV, ekin_eV, etot_eV; of npt also
            volume_A3 and pressure_GPa, with the part of the momenta; of a committee
            force_std_eV_per_A, the largest standard deviation of a force component. The
            temperature is ASE's: from the kinetic energy of all degrees of freedom but those that
            constraints remove. None: none is written.
        trajectory: file of frames: ASE's binary .traj, or .xyz / .extxyz; or a list, to which
            copies with energy and forces are appended.
        on_step: called with the number of steps done.
        stop_when: called with the atoms after every step; the run ends when it returns true, and
            the last step is recorded. A committee may be asked here every n-th step, while one
            model moves the atoms (`sikff.training.evaluation.predict.deviations`).

    Returns:
        steps that were done, means over the rows (temperature_K, of npt volume_A3 and
        pressure_GPa), of nve drift_mev_per_atom_per_ps (of the total energy, from a linear fit).

    Raises:
        ValueError: before any file is opened, for a structure that the calculator does not accept
            or that constraints leave no freedom; of npt for one with constraints or without a 3D
            crystal.
        BlockingIOError: if another simulation writes one of the files.
        CalculationFailed: naming the step, if the run cannot go on: atoms that overlap or are below
            the surface, NaN.
    """
    rng = np.random.default_rng(settings.seed)
    if sum(each.get_removed_dof(atoms) for each in atoms.constraints) >= 3 * len(atoms):
        raise ValueError("constraints leave the atoms no degree of freedom; remove some")
    atoms.get_forces()
    momenta = atoms.get_momenta()
    if not momenta.any():
        momenta = thermal_momenta(atoms, settings.temperature, rng)
    atoms.set_momenta(momenta)
    dynamics = _dynamics(atoms, settings, rng)
    columns = _observables(atoms, 0, settings).keys()
    rows: list[dict[str, float]] = []
    with (
        nullcontext() if log is None else locked(log),
        locked(trajectory) if isinstance(trajectory, str | Path) else nullcontext(),
        frame_writer(atoms, trajectory) as write_frame,
        nullcontext(io.StringIO()) if log is None else Path(log).open("w", **CSV) as file,
    ):
        writer = csv.DictWriter(file, columns)
        writer.writeheader()

        def record() -> None:
            rows.append(_observables(atoms, dynamics.nsteps, settings))
            writer.writerow(rows[-1])
            file.flush()
            write_frame()

        dynamics.attach(record, interval=settings.every)
        if environments(atoms):
            dynamics.attach(lambda: check_above_surface(atoms), interval=1)
        if on_step is not None:
            dynamics.attach(lambda: on_step(dynamics.nsteps), interval=1)
        try:
            for _ in dynamics.irun(settings.steps):
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
    row = {
        "step": step,
        "time_fs": step * settings.timestep,
        "temperature_K": float(atoms.get_temperature()),
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


def thermal_momenta(atoms: ase.Atoms, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Momenta [N, 3] in ASE's units, drawn at `temperature` (K) within the constraints.

    Every degree of freedom has k T / 2 on average. Several atoms that neither a constraint nor a
    surface ties to a place do not drift, so that they have three degrees of freedom less. On a
    surface nothing is removed: a lone molecule moves along it, as in the canonical ensemble.
    """
    masses = atoms.get_masses()[:, None]
    momenta = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    free = all(isinstance(each, FixBondLengths | FixCom) for each in atoms.constraints)
    if free and len(atoms) > 1 and not environments(atoms):
        momenta -= masses / masses.sum() * momenta.sum(0)
    drawn = atoms.copy()
    drawn.set_momenta(momenta)  # projects on what the constraints allow
    return drawn.get_momenta()


def _dynamics(
    atoms: ase.Atoms, settings: MDSettings, rng: np.random.Generator
) -> MolecularDynamics:
    step = settings.timestep * units.fs
    if settings.ensemble == "nve":
        return VelocityVerlet(atoms, step)
    if settings.surface_friction is not None:
        bath = SurfaceFriction.of(atoms, settings)
        return LocalLangevin(atoms, step, settings.temperature, bath, rng)
    friction = settings.friction / units.fs
    if settings.ensemble == "npt":
        _check_barostat(atoms)
        period = 10 / friction
        return LangevinBAOAB(
            atoms,
            step,
            temperature_K=settings.temperature,
            externalstress=-settings.pressure * units.GPa,
            hydrostatic=True,
            T_tau=1 / friction,
            P_tau=period,
            P_mass=3 * len(atoms) * units.kB * settings.temperature * period**2,
            rng=rng,
        )
    return Langevin(
        atoms,
        step,
        temperature_K=settings.temperature,
        friction=friction,
        fixcm=False,  # the canonical ensemble, exactly
        rng=rng,
    )


def _check_barostat(atoms: ase.Atoms) -> None:
    check_cell_may_change(atoms)
    if not atoms.pbc.all():
        raise ValueError(
            f"npt needs a structure that is periodic in three directions; got pbc "
            f"{atoms.pbc.tolist()}"
        )
    if atoms.constraints:
        kinds = sorted({type(each).__name__ for each in atoms.constraints})
        raise ValueError(f"npt moves all atoms with the cell; remove {', '.join(kinds)}")
