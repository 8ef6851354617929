"""Momenta at a temperature, and the degrees of freedom that have them."""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.constraints import FixBondLengths, FixCom

from .surface import environments


def thermal_momenta(atoms: ase.Atoms, temperature: float, rng: np.random.Generator) -> np.ndarray:
    """Momenta [N, 3] in ASE's units, drawn at `temperature` (K) within the constraints.

    Every degree of freedom has k T / 2 on average. Several atoms that neither a constraint nor a
    surface ties to a place do not drift, so that they have three degrees of freedom less. On a
    surface nothing is removed: a lone molecule moves along it, as in the canonical ensemble.
    """
    masses = atoms.get_masses()[:, None]
    momenta = rng.standard_normal((len(atoms), 3)) * np.sqrt(masses * units.kB * temperature)
    drawn = atoms.copy()
    drawn.set_momenta(momenta - drift(atoms, momenta))  # projects on what the constraints allow
    return drawn.get_momenta()


def drift(atoms: ase.Atoms, momenta: np.ndarray) -> np.ndarray:
    """The part [N, 3] of momenta in which atoms move together; 0 if they are tied to a place."""
    masses = atoms.get_masses()[:, None]
    return is_free(atoms) * masses / masses.sum() * momenta.sum(0)


def is_free(atoms: ase.Atoms) -> bool:
    """Whether several atoms may move together, as neither a constraint nor a surface holds them."""
    free = all(isinstance(each, FixBondLengths | FixCom) for each in atoms.constraints)
    return free and len(atoms) > 1 and not environments(atoms)


def degrees_of_freedom(atoms: ase.Atoms) -> int:
    """Those of atoms that do not drift, without those that constraints remove."""
    removed = sum(each.get_removed_dof(atoms) for each in atoms.constraints)
    is_counted = any(isinstance(each, FixCom) for each in atoms.constraints)
    return 3 * len(atoms) - removed - 3 * (is_free(atoms) and not is_counted)
