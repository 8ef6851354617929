"""Relaxation of a structure and its cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import ase
from ase import units
from ase.calculators.calculator import CalculationFailed
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer

from .cell import CellFilter, check_cell_may_change, free_strains
from .settings import RelaxationSettings

DENSE = 100  # atoms, at most, for which BFGS takes less time than a force field
MEMORY = 30  # steps that L-BFGS remembers; 48 bytes of an atom for each


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
    method = _method(settings.optimiser, len(atoms))
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


def _method(name: str, n_atoms: int) -> Callable[..., Optimizer]:
    """The optimiser of that name; none of them searches along lines."""
    limited = partial(LBFGS, memory=MEMORY)
    by_size = BFGS if n_atoms <= DENSE else limited
    return {"auto": by_size, "bfgs": BFGS, "lbfgs": limited, "fire": FIRE}[name]
