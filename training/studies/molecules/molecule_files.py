"""Molecules from the two file layouts of QM9: SDF, which has bonds, and XYZ, which has none.

ASE reads neither: of an SDF file it reads the first molecule only, without bonds, and it does not
read numbers written as 1.2*^-6, which the XYZ files of QM9 contain.
"""

from __future__ import annotations

import gzip
import math
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TextIO, cast

import numpy as np
from ase.data import atomic_numbers

TAR = (".tar", ".tar.bz2", ".tar.gz")
ORDERS = (1, 2, 3, 4)  # single, double, triple, aromatic
XYZ_COLUMNS = (
    *("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap"),
    *("r2", "zpve", "u0", "u298", "h298", "g298", "cv"),
)


class Molecule(NamedTuple):
    """A molecule of a file.

    Attributes:
        name: such as "gdb_1".
        numbers: atomic numbers [n].
        positions: [n, 3] Å.
        bonds: pairs of atoms, counted from 0, each pair once [m, 2]; None: unknown.
        orders: 1 single, 2 double, 3 triple, 4 aromatic [m]; None: unknown.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray | None = None
    orders: np.ndarray | None = None


def open_text(path: Path) -> TextIO:
    """Opens a text file, compressed or not."""
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def read_number(path: Path, line: int, word: str) -> float:
    """A finite number, also one written as 1.2*^-6."""
    try:
        value = float(word.replace("*^", "e"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{str(path)!r}, line {line}: got {word!r}, expected a finite number")
    return value


def read_sdf(path: Path) -> list[Molecule]:
    """All molecules of an SDF file (V2000), compressed or not.

    Raises:
        ValueError: it is malformed; names the line.
    """
    molecules, first, block = [], 1, list[str]()
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if line.startswith("$$$$"):
                molecules.append(_sdf_molecule(path, first, block))
                first, block = number + 1, []
            else:
                block.append(line.rstrip("\r\n"))
    if any(line.strip() for line in block):
        molecules.append(_sdf_molecule(path, first, block))
    if not molecules:
        raise ValueError(f"{str(path)!r} holds no molecules; expected an SDF file")
    return molecules


def _sdf_molecule(path: Path, first: int, lines: list[str]) -> Molecule:
    """One block: three lines of header, a line of counts, atoms, bonds, and lines to skip."""

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


def read_xyz(path: Path) -> tuple[list[Molecule], dict[str, np.ndarray]]:
    """Molecules, and their properties by the column of gdb9.sdf.csv, in the order of file names.

    Args:
        path: a folder of files dsgdb9nsd_000001.xyz, ..., or a tar file of them.

    Raises:
        ValueError: a file is malformed.
    """
    by_name = {name: _xyz_molecule(path / name, text) for name, text in _xyz_texts(path)}
    if not by_name:
        raise ValueError(f"{str(path)!r} holds no .xyz files; expected those of QM9")
    molecules, properties = zip(*(by_name[name] for name in sorted(by_name)), strict=True)
    columns = zip(XYZ_COLUMNS, np.array(properties).T, strict=True)
    return list(molecules), dict(columns)


def _xyz_texts(path: Path) -> Iterator[tuple[str, str]]:
    """(name, content) of every XYZ file."""
    if path.is_dir():
        for file in path.glob("*.xyz"):
            yield file.name, file.read_text(encoding="utf-8")
        return
    with tarfile.open(path) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".xyz") else None
            if content is not None:
                yield Path(member.name).name, content.read().decode("utf-8")


def _xyz_molecule(path: Path, text: str) -> tuple[Molecule, list[float]]:
    """One file: number of atoms; "gdb", index and 15 properties; atoms; lines to skip."""
    lines = text.splitlines() or [""]
    words = lines[1].split() if len(lines) > 1 else []
    if not lines[0].strip().isdigit() or len(words) != 2 + len(XYZ_COLUMNS):
        raise ValueError(
            f"{str(path)!r} begins with {' '.join(lines[:2])!r}; expected the number of atoms, and "
            f"a name, an index and {len(XYZ_COLUMNS)} properties"
        )
    atoms = [line.split() for line in lines[2 : 2 + int(lines[0])]]
    if len(atoms) < int(lines[0]) or any(len(w) < 4 or w[0] not in atomic_numbers for w in atoms):
        raise ValueError(
            f"{str(path)!r} does not have {lines[0].strip()} atoms; expected a symbol and x, y, z "
            "for each"
        )
    numbers = np.array([atomic_numbers[symbol] for symbol, *_ in atoms])
    positions = np.array(
        [[read_number(path, 3 + k, x) for x in w[1:4]] for k, w in enumerate(atoms)]
    )
    properties = [read_number(path, 2, word) for word in words[2:]]
    return Molecule(f"{words[0]}_{words[1]}", numbers, positions), properties
