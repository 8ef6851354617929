"""Integrators of the ensembles."""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.md.langevin import Langevin
from ase.md.langevinbaoab import LangevinBAOAB
from ase.md.md import MolecularDynamics
from ase.md.verlet import VelocityVerlet

from .cell import check_cell_may_change
from .settings import MDSettings
from .surface_friction import LocalLangevin, SurfaceFriction


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
