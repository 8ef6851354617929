"""Symmetry and supercells of crystals."""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from typing import Any

import ase
import numpy as np
from ase.build import make_supercell

from ..simulation.relax import relax
from ..simulation.settings import RelaxationSettings

Array = np.ndarray
TOLERANCE = 1e-3  # Å, between an atom and the image of another one
STEPS = 1000  # of a relaxation, at most


def check_crystal(atoms: ase.Atoms) -> None:
    """Raises ValueError for a structure that is not periodic in three directions."""
    if not atoms.pbc.all():
        raise ValueError(
            f"expected a crystal, periodic in three directions; got pbc {atoms.pbc.tolist()}"
        )


def relax_completely(atoms: ase.Atoms, fmax: float, what: str, cell: bool = False) -> None:
    """Relaxes atoms, which carry the calculator, in place, with their cell or without.

    Args:
        fmax: largest force left, eV/Å.
        what: their name in the error.

    Raises:
        ValueError: if forces stay larger.
    """
    if not relax(atoms, RelaxationSettings(fmax=fmax, cell=cell, steps=STEPS)):
        raise ValueError(f"the {what} does not relax below {fmax:g} eV/Å in {STEPS} steps")


def point_group(crystal: ase.Atoms) -> Array | None:
    """Rotations [n, 3, 3] of the crystal's space group in Cartesian axes; None without spglib."""
    symmetry = _ask_spglib("get_symmetry_dataset", crystal)
    if symmetry is None:
        return None
    cell = crystal.cell.array.T  # vectors as columns
    rotations = np.unique(symmetry.rotations, axis=0)
    return np.array([cell @ rotation @ np.linalg.inv(cell) for rotation in rotations])


def inequivalent_atoms(crystal: ase.Atoms) -> list[int]:
    """One atom of every kind that symmetry relates; without spglib one of every element."""
    symmetry = _ask_spglib("get_symmetry_dataset", crystal)
    kinds = crystal.numbers if symmetry is None else symmetry.equivalent_atoms
    return sorted(np.unique(kinds, return_index=True)[1].tolist())


def primitive(crystal: ase.Atoms) -> ase.Atoms:
    """The primitive cell, with the same calculator; without spglib the crystal as it is."""
    cell = _ask_spglib("find_primitive", crystal)
    if cell is None:
        return crystal
    vectors, positions, numbers = cell
    found = ase.Atoms(numbers, cell=vectors, scaled_positions=positions, pbc=True)
    found.calc = crystal.calc
    return found


def supercell(crystal: ase.Atoms, size: float) -> ase.Atoms:
    """A supercell whose opposite faces are at least `size` Å apart, with the same calculator."""
    repeats = repeats_for(crystal, size)
    larger = make_supercell(crystal, np.diag(repeats))
    larger.calc = crystal.calc
    return larger


def repeats_for(crystal: ase.Atoms, size: float) -> list[int]:
    """How often the cell is repeated for such a supercell."""
    heights = 1 / np.linalg.norm(np.linalg.inv(crystal.cell.array), axis=0)
    return [max(1, int(np.ceil(size / height - 1e-9))) for height in heights]


def _ask_spglib(function: str, crystal: ase.Atoms) -> Any:
    """What a function of spglib finds; None without spglib, or where it finds nothing."""
    if find_spec("spglib") is None:
        return None
    import spglib

    cell = (crystal.cell.array, crystal.get_scaled_positions(), crystal.numbers)
    with warnings.catch_warnings():  # that the next version raises where this one returns None
        warnings.simplefilter("ignore", DeprecationWarning)
        return getattr(spglib, function)(cell, symprec=TOLERANCE)
