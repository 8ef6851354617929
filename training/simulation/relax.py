"""Relaxation of a structure and its cell."""

from __future__ import annotations

from typing import Any

import ase
from ase import units
from ase.calculators.calculator import CalculationFailed
from ase.optimize import BFGS, FIRE

from .cell import CellFilter, check_cell_may_change, free_strains
from .settings import RelaxationSettings


def relax(atoms: ase.Atoms, settings: RelaxationSettings, log: str | None = None) -> bool:
    """Minimises the energy of `atoms`, which carry the calculator, in place.

    Args:
        log: file for ASE's log, "-" for standard output.

    Returns:
        Whether all forces are below ``settings.fmax``.

    Raises:
        ValueError: for atoms that the calculator does not accept, if the cell is to relax and its
            periodic vectors do not lie along x, y or z or in a plane of two, or for a pressure on
            anything but the cell of a 3D crystal.
        PropertyNotImplementedError: if the cell is to relax and has no volume.
        CalculationFailed: naming the step, if the calculator fails on the way.
    """
    if settings.pressure and not (settings.cell and atoms.pbc.all()):
        raise ValueError(
            f"pressure is {settings.pressure:g} GPa; expected none, or a structure that is "
            "periodic in three directions and whose cell may relax"
        )
    atoms.get_forces()
    method = {"bfgs": BFGS, "fire": FIRE}[settings.optimiser]
    target: Any = atoms
    if settings.cell:
        check_cell_may_change(atoms)
        free = free_strains(atoms)
        target = CellFilter(atoms, free, scalar_pressure=settings.pressure * units.GPa)
    with method(target, logfile=log) as optimisation:
        try:
            return bool(optimisation.run(fmax=settings.fmax, steps=settings.steps))
        except (CalculationFailed, ValueError) as error:
            raise CalculationFailed(
                f"relaxation stopped in step {optimisation.nsteps + 1}: {error}"
            ) from error
