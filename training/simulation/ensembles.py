"""Integrators of the ensembles."""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from .barostats import FlexibleCell
from .cell import check_cell_may_change
from .momenta import degrees_of_freedom
from .settings import MDSettings
from .surface_friction import LocalLangevin, SurfaceFriction
from .thermostats import NoseHooverChain, bussi


def make_dynamics(
    atoms: ase.Atoms, settings: MDSettings, rng: np.random.Generator
) -> MolecularDynamics:
    """The integrator of an ensemble; the forces are computed.

    Raises:
        ValueError: for atoms that cannot be in the ensemble.
    """
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
        pressure = settings.pressure * units.GPa
        if settings.shape:
            return FlexibleCell(atoms, step, settings.temperature, pressure, friction, period, rng)
        return LangevinBAOAB(
            atoms,
            step,
            temperature_K=settings.temperature,
            externalstress=-pressure,
            hydrostatic=True,
            T_tau=1 / friction,
            P_tau=period,
            P_mass=3 * len(atoms) * units.kB * settings.temperature * period**2,
            rng=rng,
        )
    if settings.thermostat != "langevin":
        dof, time = degrees_of_freedom(atoms), 1 / friction
        if settings.thermostat == "bussi":
            return bussi(atoms, step, settings.temperature, time, dof, rng)
        return NoseHooverChain(atoms, step, settings.temperature, time, dof)
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
