"""Bonds of molecules that a surface breaks."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np

from .geometry import BOND, FURTHEST, atoms_beyond, radii_of

BROKEN = 1.3  # times its length in vacuum, a bond that is none any more


def stretched(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """A copy of a molecule, one of whose bonds has a random length up to that at which the atoms
    have left each other; a copy alone if all bonds are in rings."""
    result = atoms.copy()
    radii, lengths = radii_of(atoms), atoms.get_all_distances()
    sums = radii[:, None] + radii
    bonded = (lengths < BOND * sums) & ~np.eye(len(atoms), dtype=bool)
    for a, b in rng.permutation(np.argwhere(bonded)).tolist():
        side = atoms_beyond(bonded, a, b)
        if side is not None:
            axis = (atoms.positions[b] - atoms.positions[a]) / lengths[a, b]
            longest = max(FURTHEST * sums[a, b], lengths[a, b])
            result.positions[side] += rng.uniform(0, longest - lengths[a, b]) * axis
            break
    return result


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
