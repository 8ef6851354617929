"""QM9 in its original layout: a file dsgdb9nsd_000001.xyz, ... for each molecule, without bonds."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from .molecule import Molecule, read_number

TAR = (".tar", ".tar.bz2", ".tar.gz")
COLUMNS = (
    *("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap"),
    *("r2", "zpve", "u0", "u298", "h298", "g298", "cv"),
)


def read_xyz(path: Path) -> tuple[list[Molecule], dict[str, np.ndarray]]:
    """Molecules, and their properties by the column of gdb9.sdf.csv.

    Args:
        path: a folder of XYZ files, or a tar file of them.

    Raises:
        ValueError: a file is not what it should be.
    """
    by_name = {name: _molecule(path / name, text) for name, text in _texts(path)}
    if not by_name:
        raise ValueError(f"{str(path)!r} holds no .xyz files; expected those of QM9")
    found = [by_name[name] for name in sorted(by_name)]
    columns = np.array([numbers for _, numbers in found]).T
    return [molecule for molecule, _ in found], dict(zip(COLUMNS, columns, strict=True))


def _texts(path: Path) -> Iterator[tuple[str, str]]:
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


def _molecule(path: Path, text: str) -> tuple[Molecule, list[float]]:
    """One file: number of atoms; "gdb", index and 15 properties; atoms; what is not read."""
    lines = text.splitlines() or [""]
    words = lines[1].split() if len(lines) > 1 else []
    if not lines[0].strip().isdigit() or len(words) != 2 + len(COLUMNS):
        raise ValueError(
            f"{str(path)!r} begins with {' '.join(lines[:2])!r}; expected the number of atoms, and "
            f"a name, an index and {len(COLUMNS)} properties"
        )
    atoms = [line.split() for line in lines[2 : 2 + int(lines[0])]]
    if len(atoms) < int(lines[0]) or any(len(w) < 4 or w[0] not in atomic_numbers for w in atoms):
        raise ValueError(
            f"{str(path)!r} does not have {lines[0].strip()} atoms; expected a symbol and x, y, z "
            "for each"
        )
    numbers = np.array([atomic_numbers[words[0]] for words in atoms])
    positions = np.array(
        [[read_number(path, 3 + k, x) for x in w[1:4]] for k, w in enumerate(atoms)]
    )
    properties = [read_number(path, 2, word) for word in words[2:]]
    return Molecule(f"{words[0]}_{words[1]}", numbers, np.array(positions)), properties
