"""Harmonic vibrations of atoms about a stationary point of their energy."""

from __future__ import annotations

from typing import NamedTuple

import ase
import numpy as np
from ase import units
from ase.constraints import FixAtoms

from sikff.calculators import SIKFFCalculator

Array = np.ndarray

TO_WAVENUMBER = (
    units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
)  # of sqrt(eV/Å²/u)
ZERO = 20.0  # cm^-1; modes below are taken for zero: residual forces turn molecules so fast
KINDS = ("translation", "rotation", "internal")


class Vibrations(NamedTuple):
    """Normal modes of the atoms that may move, by rising wavenumber.

    Attributes:
        wavenumbers: [3n] in cm^-1; those of imaginary frequencies are negative.
        modes: displacements [3n, n, 3] of these atoms, times the root of their mass, normalised.
        masses: [n] in u.
        positions: [n, 3] in Å, of the stationary point.
    """

    wavenumbers: Array
    modes: Array
    masses: Array
    positions: Array

    @property
    def n_imaginary(self) -> int:
        """Number of imaginary frequencies: 0 at a minimum, 1 at a saddle point."""
        return int((self.wavenumbers < -ZERO).sum())

    @property
    def zero_point_energy(self) -> float:
        """Half a quantum (eV) of each real frequency."""
        return float(self.wavenumbers.clip(min=0).sum() * units.invcm / 2)

    @property
    def kinds(self) -> list[str]:
        """What each mode mostly is: a translation or a rotation of all atoms as a rigid body
        (frustrated ones, above a surface), or internal."""
        shares = np.array([self._rigid_shares(mode) for mode in self.modes])
        return [KINDS[i] for i in shares.argmax(axis=1)]

    def _rigid_shares(self, mode: Array) -> tuple[float, float, float]:
        roots = np.sqrt(self.masses)[:, None]
        r = self.positions - self.masses @ self.positions / self.masses.sum()
        translations = (roots[None] * np.eye(3)[:, None]).reshape(3, -1)
        rotations = np.cross(np.eye(3)[:, None], r[None]) * roots
        shares = []
        for motions in (translations, rotations.reshape(3, -1)):
            _, sizes, directions = np.linalg.svd(motions, full_matrices=False)
            chosen = directions[sizes > 1e-3 * max(sizes.max(), 1.0)]
            shares.append(float(((chosen @ mode.ravel()) ** 2).sum()))
        return shares[0], shares[1], 1 - sum(shares)


def harmonic_frequencies(atoms: ase.Atoms, step: float = 0.01) -> Vibrations:
    """Normal modes from the Hessian: of a force field by differentiation, of other calculators from
    central differences of forces, 6 calls for each atom.

    Args:
        atoms: at a stationary point, with a calculator; they stay as they are. Those held by
            FixAtoms do not move; other constraints do not count.
        step: displacement in the differences, Å.

    Raises:
        ValueError: no calculator, no atom that may move, or a step that is not positive.
    """
    if atoms.calc is None:
        raise ValueError("the atoms have no calculator; expected one that computes forces")
    if not step > 0:
        raise ValueError(f"step is {step} Å; expected a positive displacement")
    held = [c.get_indices() for c in atoms.constraints if isinstance(c, FixAtoms)]
    free = np.setdiff1d(np.arange(len(atoms)), np.concatenate([[], *held]))
    if not len(free):
        raise ValueError("no atom may move; expected some that FixAtoms does not hold")
    masses = atoms.get_masses()[free]
    scale = np.repeat(masses, 3) ** -0.5
    if isinstance(atoms.calc, SIKFFCalculator):
        hessian = atoms.calc.get_hessian(atoms, free)
    else:
        hessian = _differences(atoms, free, step)
    hessian = scale[:, None] * hessian * scale
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    wavenumbers = TO_WAVENUMBER * np.sign(values) * np.sqrt(abs(values))
    modes = vectors.T.reshape(-1, len(free), 3)
    return Vibrations(wavenumbers, modes, masses, atoms.positions[free].copy())


def _differences(atoms: ase.Atoms, free: Array, step: float) -> Array:
    moved = atoms.copy()
    moved.set_constraint()
    moved.calc = atoms.calc
    gradients = []
    for atom in free:
        for direction in range(3):
            forces = []
            for sign in (1, -1):
                moved.positions = atoms.positions
                moved.positions[atom, direction] += sign * step
                forces.append(moved.get_forces()[free])
            gradients.append((forces[1] - forces[0]).ravel() / (2 * step))
    return np.array(gradients)
