"""Bonds of molecules that a surface has broken."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

from .geometry import BOND, radii_of

BROKEN = 1.3  # times its length in vacuum, a bond that is none any more


def describe_broken(atoms: ase.Atoms, whole: ase.Atoms) -> str:
    """The bonds of a molecule that are broken, in words; "" if none are.

    Args:
        atoms: the molecule as it has become, perhaps several of them.
        whole: the molecule in vacuum.
    """
    if not _consists_of(atoms, whole) or len(whole) < 2:
        return ""
    radii, lengths = radii_of(whole), whole.get_all_distances()
    bonds = np.argwhere(np.triu(lengths < BOND * (radii[:, None] + radii), 1))
    found = []
    for first, second in bonds.tolist():
        for molecule in range(len(atoms) // len(whole)):
            i, j = first + molecule * len(whole), second + molecule * len(whole)
            length = atoms.get_distance(i, j, mic=bool(atoms.pbc.any()))
            if length > BROKEN * lengths[first, second]:
                pair = f"{whole.symbols[first]}-{whole.symbols[second]}"
                found.append(f"{pair} {length:.2f} Å, was {lengths[first, second]:.2f}")
    return f"broken: {', '.join(found)}" if found else ""


def count_broken(
    structures: Sequence[ase.Atoms], molecules: Sequence[ase.Atoms]
) -> tuple[int, int]:
    """How many of the structures have broken bonds, and how many could have.

    Args:
        structures: molecules, on a surface or not.
        molecules: in vacuum; structures are of several of one of these.
    """
    broken = total = 0
    for atoms in structures:
        same = [each for each in molecules if _consists_of(atoms, each)]
        total += bool(same)
        broken += bool(same) and all(describe_broken(atoms, each) for each in same)
    return broken, total


def _consists_of(atoms: ase.Atoms, molecule: ase.Atoms) -> bool:
    several, rest = divmod(len(atoms), len(molecule))
    return not rest and bool((atoms.numbers == np.tile(molecule.numbers, several)).all())
