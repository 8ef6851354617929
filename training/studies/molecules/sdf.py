"""Molecules and their bonds from SDF files (V2000), read without RDKit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from ase.data import atomic_numbers

from .molecule import Molecule, open_text

ORDERS = (1, 2, 3, 4)  # single, double, triple, aromatic


def read_sdf(path: Path) -> list[Molecule]:
    """All molecules of an SDF file, also of a .gz one.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not what it should be; the message names the line.
    """
    with open_text(path) as file:
        molecules = [_molecule(path, first, lines) for first, lines in _blocks(file)]
    if not molecules:
        raise ValueError(f"{str(path)!r} holds no molecules; expected an SDF file")
    return molecules


def _blocks(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The number of the first line, and the lines, of every molecule."""
    first = 1
    lines: list[str] = []
    for number, line in enumerate(file, start=1):
        if line.startswith("$$$$"):
            yield first, lines
            first, lines = number + 1, []
        else:
            lines.append(line.rstrip("\r\n"))
    if any(line.strip() for line in lines):
        yield first, lines


def _molecule(path: Path, first: int, lines: list[str]) -> Molecule:
    """One block: three lines of header, a line of counts, atoms, bonds, and what is not read."""

    def error(index: int, expected: str) -> ValueError:
        got = repr(lines[index]) if index < len(lines) else "the end of the molecule"
        return ValueError(f"{str(path)!r}, line {first + index}: got {got}; expected {expected}")

    try:
        n_atoms, n_bonds = int(lines[3][:3]), int(lines[3][3:6])
    except (IndexError, ValueError):
        raise error(3, "the numbers of atoms and bonds") from None
    if "V2000" not in lines[3]:
        raise error(3, "a molecule in the format V2000")
    numbers, positions = np.zeros(n_atoms, np.int64), np.zeros((n_atoms, 3))
    for atom in range(n_atoms):
        try:
            line = lines[4 + atom]
            numbers[atom] = atomic_numbers[line[31:34].strip()]
            positions[atom] = [float(line[at : at + 10]) for at in (0, 10, 20)]
        except (IndexError, KeyError, ValueError):
            raise error(4 + atom, "an atom: x, y, z and the symbol of an element") from None
    bonds, orders = np.zeros((n_bonds, 2), np.int64), np.zeros(n_bonds, np.int64)
    for bond in range(n_bonds):
        index = 4 + n_atoms + bond
        try:
            i, j, orders[bond] = (int(lines[index][at : at + 3]) for at in (0, 3, 6))
        except (IndexError, ValueError):
            raise error(index, "a bond: two atoms and a type") from None
        if not (1 <= i <= n_atoms and 1 <= j <= n_atoms and i != j and orders[bond] in ORDERS):
            raise error(index, f"two atoms of 1 to {n_atoms} and a bond type of 1 to 4")
        bonds[bond] = i - 1, j - 1
    return Molecule(lines[0].strip(), numbers, positions, bonds, orders)
