"""Reads files of structures."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import ase
import ase.db
import ase.io
from ase.data import atomic_numbers, chemical_symbols
from ase.io.formats import filetype, get_compression

from sikff.graph.occupancy import check_occupancy

from .extended_xyz import name_problem, read_extended_xyz
from .file_checks import check_complete, read_cif
from .structures import Structures

DATABASES = (".db", ".json")
XYZ = (".xyz", ".extxyz")
SEEKABLE = ("traj", "bundletrajectory", "netcdftrajectory")  # the last structure alone is read
PATIENCE = 2.0  # s, for a database that another process is writing to


def read_structures(paths: str | Path | Sequence[Path]) -> Structures:
    """Reads all structures of the files, in order.

    Raises:
        FileNotFoundError, ValueError: if a file cannot be read as a whole (:func:`read_atoms`), or
            a structure cannot be used (:meth:`Structures.of`).
    """
    files = [Path(path) for path in ((paths,) if isinstance(paths, str | Path) else paths)]
    structures = [atoms for path in files for atoms in read_atoms(path)]
    return Structures.of(structures, " + ".join(map(str, files)))


def read_atoms(path: Path, last: bool = False) -> list[ase.Atoms]:
    """Reads all structures of a file, or the last one only.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, damaged, cut off, or changes meanwhile; for what is no element;
            for sites that are occupied in part.
    """
    if path.is_dir():
        raise ValueError(f"{str(path)!r} is a folder; expected a file of structures")
    if not path.is_file():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    before = path.stat()
    if not before.st_size:
        raise ValueError(f"{str(path)!r} is empty; expected structures")
    try:
        structures = _read(path.absolute(), last)  # a name such as postgres.traj is no address
        structures = structures[-1:] if last else structures
        for number, atoms in enumerate(structures):
            try:
                check_occupancy(atoms)
                _check_numbers(atoms)
            except ValueError as error:
                which = "the last structure" if last else f"structure {number}"
                raise ValueError(f"{which}: {error}") from error
    except Exception as error:  # readers of ASE raise anything
        short = " ".join(_explain(error, path).split())[:400]
        raise ValueError(f"cannot read {str(path)!r}: {short}") from error
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ValueError(f"{str(path)!r} changed while it was read; wait until it is complete")
    if not structures:
        raise ValueError(f"{str(path)!r} holds no structures")
    return structures


def _read(path: Path, last: bool) -> list[ase.Atoms]:
    suffix = Path(get_compression(str(path))[0]).suffix.lower()
    if suffix in XYZ:  # ASE would look for words of other formats in comments first
        return read_extended_xyz(path, last)
    if path.suffix in DATABASES:
        return _read_database(path)
    file_format = filetype(str(path))
    if file_format == "extxyz":
        return read_extended_xyz(path, last)
    if file_format == "cif":
        return read_cif(path)
    index = "-1:" if last and file_format in SEEKABLE else ":"
    structures = list(
        ase.io.iread(path, index=index, format=file_format, do_not_split_by_at_sign=True)
    )
    if file_format == "proteindatabank":  # ASE makes a structure of every END
        structures = [atoms for atoms in structures if len(atoms)]
    check_complete(path, file_format, structures)
    return structures


def _check_numbers(atoms: ase.Atoms) -> None:
    """Raises ValueError for atomic numbers of no element; 0 is ASE's X, which others refuse."""
    wrong = atoms.numbers[(atoms.numbers < 0) | (atoms.numbers >= len(chemical_symbols))]
    if wrong.size:
        raise ValueError(f"{wrong[0]} is no atomic number of an element")


def _explain(error: Exception, path: Path) -> str:
    """What is wrong with a file, in words."""
    if isinstance(error, KeyError) and path.suffix not in DATABASES:  # perhaps a symbol
        word = str(error.args[0])
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = next((n for n, line in enumerate(lines, 1) if word in line.split()), None)
        if found is not None and word not in atomic_numbers:
            return f"line {found}: {name_problem(word)}"
    if type(error) is ValueError:
        return str(error)
    reason = f"{type(error).__name__}: {error}".rstrip(": ")
    return f"{reason}; expected a whole file in a format that ASE knows"


def _read_database(path: Path) -> list[ase.Atoms]:
    expected = None
    if path.suffix == ".db":  # in any other file ASE would make its tables
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as file:
            if not file.execute("select 1 from sqlite_master where name='systems'").fetchone():
                raise ValueError("not a database of ASE")
            (expected,) = file.execute("select count(*) from systems").fetchone()
    structures = []
    with ase.db.connect(path) as rows:  # ase.io leaves out what users add to a row
        for row in rows.select():
            atoms = row.toatoms()
            atoms.info = {**row.get("data", {}), **row.key_value_pairs}
            structures.append(atoms)
    if expected not in (None, len(structures)):
        raise ValueError(f"{len(structures)} of {expected} rows can be read")
    return structures
