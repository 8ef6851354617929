"""Relaxation of a structure and its cell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.util import find_spec
from typing import Any

import ase
import numpy as np
import torch
from ase import units
from ase.calculators.calculator import CalculationFailed
from ase.constraints import FixSymmetry
from ase.optimize import BFGS, FIRE, LBFGS
from ase.optimize.optimize import Optimizer

from sikff.calculators import SIKFFCalculator

from .cell import CellFilter, check_cell_may_change, free_strains
from .settings import RelaxationSettings

DENSE = 100  # atoms, at most, for which BFGS takes less time than a force field
TOLERANCE = 0.01  # Å, within which the start is symmetric
MEMORY = 30  # steps that L-BFGS remembers; 48 bytes of an atom for each


def relax(atoms: ase.Atoms, settings: RelaxationSettings, log: str | None = None) -> bool:
    """Minimises the energy of `atoms`, which carry the calculator, in place.

    Args:
        log: file for ASE's log, "-" for standard output.

    Returns:
        Whether all forces are below ``settings.fmax``.

    Raises:
        ValueError: for atoms that the calculator does not accept, if the cell is to relax and its
            periodic vectors do not lie along x, y or z or in a plane of two, for a pressure on
            anything but the cell of a 3D crystal, or for symmetry of anything but a crystal without
            constraints, or without spglib.
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
    with _symmetric(atoms) if settings.symmetry else nullcontext():
        target: Any = atoms
        if settings.cell:
            check_cell_may_change(atoms)
            free = free_strains(atoms)
            target = CellFilter(atoms, free, scalar_pressure=settings.pressure * units.GPa)
        with method(target, logfile=log) as optimisation:
            try:
                return bool(optimisation.run(fmax=settings.fmax, steps=settings.steps))
            except (CalculationFailed, ValueError, RuntimeError) as error:  # FixSymmetry: the last
                raise CalculationFailed(
                    f"relaxation stopped in step {optimisation.nsteps + 1}: {error}"
                ) from error


def forces_round_by(atoms: ase.Atoms) -> float:
    """Largest error (eV/Å) of the forces on atoms for the dtype of their models, against float64.

    0 for models in float64, and for other calculators.
    """
    calculator = atoms.calc
    if not isinstance(calculator, SIKFFCalculator):
        return 0.0
    if all(each.dtype == torch.float64 for m in calculator.models for each in m.parameters()):
        return 0.0
    exact = SIKFFCalculator(list(calculator.models), calculator.device, dtype="float64")
    exact.set(**calculator.parameters)
    return float(np.abs(exact.get_forces(atoms) - calculator.get_forces(atoms)).max())


@contextmanager
def _symmetric(atoms: ase.Atoms) -> Iterator[None]:
    """Inside, a crystal keeps its space group, and from the start on has it exactly."""
    if find_spec("spglib") is None:
        raise ValueError("symmetry needs spglib; install it with pip install 'sikff[crystals]'")
    if not atoms.pbc.all() or atoms.constraints:
        kinds = sorted({type(each).__name__ for each in atoms.constraints})
        raise ValueError(
            f"symmetry is kept of a crystal without constraints; got pbc {atoms.pbc.tolist()} and "
            f"{', '.join(kinds) or 'no'} constraints"
        )
    atoms.set_constraint(FixSymmetry(atoms, TOLERANCE))
    try:
        yield
    finally:
        atoms.set_constraint()


def _method(name: str, n_atoms: int) -> Callable[..., Optimizer]:
    """The optimiser of that name; none of them searches along lines."""
    limited = partial(LBFGS, memory=MEMORY)
    by_size = BFGS if n_atoms <= DENSE else limited
    return {"auto": by_size, "bfgs": BFGS, "lbfgs": limited, "fire": FIRE}[name]
