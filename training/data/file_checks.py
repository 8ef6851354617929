"""Checks that a file was read as a whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import ase
import numpy as np
from ase.io.cif import parse_cif
from ase.io.formats import open_with_compression

from sikff.graph.occupancy import ORDERED

# Lines with which structures begin, in formats whose readers may skip some or stop early.
STARTS = {
    "lammps-dump-text": re.compile(rb"ITEM: TIMESTEP"),
    "vasp-xdatcar": re.compile(rb"\s*Direct configuration="),
    "vasp-out": re.compile(rb"\s*POSITION\s+TOTAL-FORCE"),
    "vasp-xml": re.compile(rb"\s*<calculation>"),
    "sdf": re.compile(rb"\$\$\$\$"),
}
PDB_ATOM = re.compile(rb"ATOM  |HETATM")


def read_cif(path: Path) -> list[ase.Atoms]:
    """Reads all structures of a CIF file.

    Raises:
        ValueError: for a block whose sites cannot be read, or with several elements on one site.
    """
    structures = []
    with open_with_compression(str(path), "rb") as file:
        blocks = list(parse_cif(file))
    for block in blocks:
        if not block.has_structure():
            if any(tag.startswith("_atom_site_") for tag in block):
                raise ValueError(f"block {block.name!r} has sites without positions or elements")
            continue
        cell = block.get_cell()
        if cell.rank < 3 and (cell.array.any() or "_atom_site_fract_x" in block):
            raise ValueError(
                f"block {block.name!r} has no whole cell; expected _cell_length_a, ..."
            )
        atoms, sites = block.get_atoms(), block.get_unsymmetrized_structure()
        if len(atoms) and "spacegroup_kinds" in atoms.arrays:
            _check_kinds(atoms, sites)
        structures.append(atoms)
    return structures


def _check_kinds(atoms: ase.Atoms, sites: ase.Atoms) -> None:
    """Raises ValueError if sites of different elements coincide: ASE keeps one of them."""
    lost = set(range(len(sites))) - set(atoms.arrays["spacegroup_kinds"].tolist())
    for index in lost:
        offsets = atoms.get_scaled_positions() - sites.get_scaled_positions()[index]
        same = np.flatnonzero(abs(offsets - offsets.round()).max(axis=1) < 0.01)
        symbols = {sites.symbols[index], *atoms.symbols[same]}
        if len(symbols) > 1:
            raise ValueError(f"one site holds {' and '.join(sorted(symbols))}; {ORDERED}")


def check_complete(path: Path, file_format: str, structures: Sequence[ase.Atoms]) -> None:
    """Checks that structures are all that a file holds, counted by lines with which they begin.

    Raises:
        ValueError: if a reader left out structures or atoms, or the cell of some.
    """
    if file_format in STARTS:
        expected = _count_lines(path, STARTS[file_format])
        if len(structures) < expected:
            raise ValueError(
                f"it holds {expected} structures, of which ASE reads {len(structures)}; is it cut "
                "off?"
            )
    if file_format == "proteindatabank":
        total, periodic = sum(map(len, structures)), {bool(each.pbc.any()) for each in structures}
        expected = _count_lines(path, PDB_ATOM)
        if total != expected or len(periodic) > 1:
            what = "the cell" if total == expected else f"all of the {expected} atoms"
            raise ValueError(
                f"ASE does not read {what}; expected CRYST1 before and END after each structure"
            )
    if file_format == "vasp":
        _check_poscar(path, len(structures[-1]))


def _count_lines(path: Path, start: re.Pattern[bytes]) -> int:
    with open_with_compression(str(path), "rb") as file:
        return sum(1 for line in file if start.match(line))


def _check_poscar(path: Path, n_atoms: int) -> None:
    """Raises ValueError if more lines of coordinates follow than there are atoms."""
    with open_with_compression(str(path), "rt") as file:
        lines = file.read().splitlines()
    starts = (i for i, line in enumerate(lines) if i > 5 and line.strip()[:1] in tuple("cCkKdD"))
    body = lines[next(starts, 0) + 1 :]
    if len(body) > n_atoms and re.match(r"\s*[-+.\d]", body[n_atoms]):
        raise ValueError(
            f"more than {n_atoms} lines of coordinates, the sum of the numbers of atoms"
        )
