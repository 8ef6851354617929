"""Constraints from text: fix=0-3,7 and fix=Pt, bonds=4-5,6-7, com."""

from __future__ import annotations

import re
from collections.abc import Iterable

import ase
from ase.constraints import FixAtoms, FixBondLengths, FixCom


def add_constraints(atoms: ase.Atoms, specs: Iterable[str]) -> None:
    """Adds constraints, given as text, to those that the atoms have. Atoms are counted from 0.

    Args:
        specs: ``fix=0-3,7`` or ``fix=Pt`` (these atoms do not move), ``bonds=4-5,6-7`` (these
            pairs keep their distance), ``com`` (the centre of mass does not move).

    Raises:
        ValueError: for anything else, for atoms that are not there, and for constraints that
            ASE cannot keep at once.
    """
    fixed: set[int] = set()
    bonds: set[tuple[int, int]] = set()
    com, constraints = False, []
    # constraints of one kind are merged, so that no degree of freedom is counted twice
    for each in atoms.constraints:
        if isinstance(each, FixAtoms):
            fixed.update(each.index.tolist())
        elif isinstance(each, FixBondLengths):
            bonds.update((min(pair), max(pair)) for pair in each.pairs.tolist())
        elif type(each) is FixCom:
            com = True
        else:
            constraints.append(each)
    for spec in specs:
        kind, _, selection = spec.partition("=")
        try:
            if kind == "fix":
                fixed.update(
                    n for part in selection.split(",") for n in _selected_atoms(part, atoms)
                )
            elif kind == "bonds":
                bonds.update(_bond(part, atoms) for part in selection.split(","))
            elif spec == "com":
                com = True
            else:
                raise ValueError("expected fix=0-3,7 or fix=Pt, bonds=4-5,6-7, or com")
        except ValueError as error:
            raise ValueError(f"constraint {spec!r}: {error}") from error
    if fixed and com:
        raise ValueError("fixed atoms and com exclude each other; remove one of the two")
    for a, b in bonds:
        if fixed & {a, b}:
            raise ValueError(
                f"the bond {a}-{b} holds a fixed atom, and ASE cannot keep both; fix both atoms "
                "and leave out the bond"
            )
    if fixed:
        constraints.append(FixAtoms(sorted(fixed)))
    if bonds:
        constraints.append(FixBondLengths(sorted(bonds)))
    if com:
        constraints.append(FixCom())
    atoms.set_constraint(constraints)


def _selected_atoms(part: str, atoms: ase.Atoms) -> list[int]:
    """Indices of the atoms that an element, a number or a range of numbers selects."""
    if part.isalpha():
        found = [n for n, symbol in enumerate(atoms.symbols) if symbol == part]
        if not found:
            raise ValueError(f"no atom is {part}; the structure is {atoms.symbols}")
        return found
    first, last = _index_pair(part, atoms)
    return list(range(min(first, last), max(first, last) + 1))


def _bond(part: str, atoms: ase.Atoms) -> tuple[int, int]:
    """Indices of the two atoms of a bond such as "4-5", the lower one first."""
    a, b = _index_pair(part, atoms)
    if a == b:
        raise ValueError(f"{part!r} names one atom; expected two, such as 4-5")
    return min(a, b), max(a, b)


def _index_pair(part: str, atoms: ase.Atoms) -> tuple[int, int]:
    """The two indices of "4-5"; of "4" the same one twice."""
    match = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
    if match is None:
        raise ValueError(f"{part!r} is not understood; expected numbers of atoms, such as 7 or 0-3")
    first, last = int(match[1]), int(match[2] or match[1])
    if max(first, last) >= len(atoms):
        raise ValueError(
            f"there is no atom {max(first, last)}; the {len(atoms)} atoms are numbered from 0"
        )
    return first, last
