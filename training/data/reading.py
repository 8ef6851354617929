"""Reads files of structures."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import ase
import ase.db
import ase.io

from .structures import Structures

DATABASES = (".db", ".json")
PROPERTIES = re.compile(r'Properties\s*=\s*"?([^\s"]*)')  # columns of an extended XYZ file
COLUMNS = re.compile(r":[RISL]:(\d+)")  # their numbers


def read_structures(paths: str | Path | Sequence[Path]) -> Structures:
    """Reads all structures of the files, in order.

    Raises:
        FileNotFoundError, ValueError: if a file is missing, unreadable or empty, or a structure
            cannot be used (:meth:`Structures.of`).
    """
    files = [Path(path) for path in ((paths,) if isinstance(paths, str | Path) else paths)]
    structures: list[ase.Atoms] = []
    for path in files:
        if path.is_dir():
            raise ValueError(f"{str(path)!r} is a folder; expected a file of structures")
        if not path.is_file():
            raise FileNotFoundError(f"no data file {str(path)!r}")
        if not path.stat().st_size:
            raise ValueError(f"{str(path)!r} is empty; expected structures")
        try:
            atoms = _read(path)
        except Exception as error:  # readers of ASE raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise ValueError(
                f"ASE cannot read {str(path)!r} ({reason}); expected a whole file in a format "
                "that ASE knows, such as extxyz"
            ) from error
        if not atoms:
            raise ValueError(f"{str(path)!r} holds no structures")
        structures.extend(atoms)
    return Structures.of(structures, " + ".join(map(str, files)))


def _read(path: Path) -> list[ase.Atoms]:
    if path.suffix in DATABASES:
        return _read_database(path)
    if path.suffix in (".xyz", ".extxyz"):
        _check_counts(path)
    return list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))


def _check_counts(path: Path) -> None:
    """Raises ValueError for more atoms or columns than the file has bytes: ASE would count them.

    Goes from header to header as ASE does; other errors are left to ASE.
    """
    size = path.stat().st_size
    with path.open(errors="replace") as lines:
        header = next(lines, "")
        while header.strip():
            try:
                n_atoms = int(header)
            except ValueError:
                return
            columns = PROPERTIES.search(next(lines, ""))
            counts = map(int, COLUMNS.findall(columns[1]) if columns else ())
            if max(n_atoms, *counts, 0) > size:
                raise ValueError("more atoms or columns are announced than the file can hold")
            header = next(islice(lines, max(n_atoms, 0), None), "")
            while header.lstrip().startswith("VEC"):  # cell vectors after the atoms
                header = next(lines, "")


def _read_database(path: Path) -> list[ase.Atoms]:
    if path.suffix == ".db":  # in any other file ASE would make its tables
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as file:
            if not file.execute("select 1 from sqlite_master where name='systems'").fetchone():
                raise ValueError("not a database of ASE")
    structures = []
    with ase.db.connect(path) as rows:  # ase.io leaves out what users add to a row
        for row in rows.select():
            atoms = row.toatoms()
            atoms.info = {**row.get("data", {}), **row.key_value_pairs}
            structures.append(atoms)
    return structures
