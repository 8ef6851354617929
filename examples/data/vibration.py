"""The stretch of one bond: its harmonic frequency, by differences of forces."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.optimize import BFGS
from ase.vibrations.data import VibrationsData

STEP = 5e-3  # Å


def relaxed_stretch(atoms: Atoms, bond: tuple[int, int]) -> float:
    """Relax ``atoms`` with their calculator; the frequency (1/cm) of the mode most along a bond.

    Raises:
        RuntimeError: if forces are not below 1e-3 eV/Å after 1000 steps.
    """
    if not BFGS(atoms, logfile=None).run(fmax=1e-3, steps=1000):
        raise RuntimeError("the structure did not relax in 1000 steps")
    vibrations = VibrationsData(atoms, hessian(atoms))
    direction = np.zeros((len(atoms), 3))
    difference = atoms.positions[bond[1]] - atoms.positions[bond[0]]
    direction[bond[1]], direction[bond[0]] = difference, -difference
    overlaps = np.abs(np.einsum("kni,ni->k", vibrations.get_modes(all_atoms=True), direction))
    return float(np.real(vibrations.get_frequencies()[overlaps.argmax()]))


def hessian(atoms: Atoms) -> np.ndarray:
    """Second derivatives of the energy, [N, 3, N, 3] in eV/Å^2, by central differences."""
    n = len(atoms)
    found = np.zeros((n, 3, n, 3))
    moved = atoms.copy()
    moved.calc = atoms.calc
    for index in np.ndindex(n, 3):
        forces = []
        for step in (STEP, -STEP):
            moved.positions[index] += step
            forces.append(moved.get_forces())
            moved.positions[index] -= step
        found[index] = (forces[1] - forces[0]) / (2 * STEP)
    return (found + found.transpose(2, 3, 0, 1)) / 2
