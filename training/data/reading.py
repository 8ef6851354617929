"""Reads files of structures."""

from __future__ import annotations

import os
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import ase
import ase.db
import ase.io
from ase.data import atomic_numbers, chemical_symbols
from ase.io.formats import filetype, get_compression

from sikff.graph.occupancy import check_occupancy

from ..config import NpzUnits
from .extended_xyz import iterate_extended_xyz, name_problem
from .file_checks import check_complete, read_cif
from .formats.deepmd import is_deepmd, read_deepmd
from .formats.ml_ab import is_ml_ab, read_ml_ab
from .formats.npz import read_npz
from .formats.pymatgen_json import is_pymatgen, read_pymatgen
from .structures import Structures

LMDB = ".aselmdb"
DATABASES = (".db", ".json", LMDB)
XYZ = (".xyz", ".extxyz")
SEEKABLE = ("traj", "bundletrajectory", "netcdftrajectory")  # the last structure alone is read
PATIENCE = 2.0  # s, for a database that another process is writing to


def read_structures(
    paths: str | Path | Sequence[Path], units: NpzUnits | None = None
) -> Structures:
    """Reads all structures of the files, in order.

    Args:
        paths: files, or folders of DeePMD.
        units: of files .npz; None: those that a file names, or else kcal/mol and Å.

    Raises:
        FileNotFoundError, ValueError: if a file cannot be read as a whole (:func:`iterate_atoms`),
            or a structure cannot be used (:meth:`Structures.of`).
    """
    files = [Path(path) for path in ((paths,) if isinstance(paths, str | Path) else paths)]
    structures = [atoms for path in files for atoms in iterate_atoms(path, units=units)]
    return Structures.of(structures, " + ".join(map(str, files)))


def read_atoms(path: Path, last: bool = False) -> list[ase.Atoms]:
    """Reads all structures of a file, or the last one only; see :func:`iterate_atoms`."""
    return list(iterate_atoms(path, last))


def iterate_atoms(
    path: Path, last: bool = False, units: NpzUnits | None = None
) -> Iterator[ase.Atoms]:
    """Reads the structures of a file or a folder of DeePMD one by one, or the last one only.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is empty, damaged, cut off, or changes meanwhile; for what is no element;
            for sites that are occupied in part.
    """
    if not path.exists():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    if path.is_dir() and not is_deepmd(path):
        raise ValueError(
            f"{str(path)!r} is a folder; expected a file of structures, or a folder of DeePMD with "
            "type.raw"
        )
    before = [(file, file.stat()) for file in files_of(path)]
    if not any(state.st_size for _, state in before):
        raise ValueError(f"{str(path)!r} is empty; expected structures")
    number = -1
    try:
        # a name such as postgres.traj is no address
        for number, atoms in enumerate(_last_or_all(_read(path.absolute(), last, units), last)):
            try:
                check_occupancy(atoms)
                _check_numbers(atoms)
            except ValueError as error:
                which = "the last structure" if last else f"structure {number}"
                raise ValueError(f"{which}: {error}") from error
            yield atoms
    except Exception as error:  # readers of ASE raise anything
        _check_unchanged(before)
        short = " ".join(_explain(error, path).split())[:400]
        raise ValueError(f"cannot read {str(path)!r}: {short}") from error
    _check_unchanged(before)
    if number < 0:
        raise ValueError(f"{str(path)!r} holds no structures")


def _check_unchanged(before: Sequence[tuple[Path, os.stat_result]]) -> None:
    """Raises ValueError if one of the files has another size or time than before."""
    for file, state in before:
        after = file.stat()
        if (state.st_size, state.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise ValueError(f"{str(file)!r} changed while it was read; wait until it is complete")


def files_of(path: Path) -> list[Path]:
    """The file itself, or those in a folder, by name."""
    return sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]


def _last_or_all(structures: Iterable[ase.Atoms], last: bool) -> Iterable[ase.Atoms]:
    return deque(structures, maxlen=1) if last else structures


def _read(path: Path, last: bool, units: NpzUnits | None) -> Iterable[ase.Atoms]:
    if path.is_dir():
        return read_deepmd(path)
    suffix = Path(get_compression(str(path))[0]).suffix.lower()
    if suffix in XYZ:  # ASE would look for words of other formats in comments first
        return iterate_extended_xyz(path, last)
    if suffix == ".npz":
        return read_npz(path, units)
    if suffix == ".json" and is_pymatgen(path):
        return read_pymatgen(path)
    if path.suffix in DATABASES:
        return _read_database(path)
    if is_ml_ab(path):
        return read_ml_ab(path)
    file_format = filetype(str(path))
    if file_format == "extxyz":
        return iterate_extended_xyz(path, last)
    if file_format == "cif":
        return read_cif(path)
    index = "-1:" if last and file_format in SEEKABLE else ":"
    structures = ase.io.iread(path, index=index, format=file_format, do_not_split_by_at_sign=True)
    if file_format in SEEKABLE:
        return structures
    if file_format == "proteindatabank":  # ASE makes a structure of every END
        structures = (atoms for atoms in structures if len(atoms))
    found = list(structures)
    check_complete(path, file_format, found)
    return found


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


def _read_database(path: Path) -> Iterator[ase.Atoms]:
    expected = None
    if path.suffix == ".db":  # in any other file ASE would make its tables
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=PATIENCE)) as file:
            if not file.execute("select 1 from sqlite_master where name='systems'").fetchone():
                raise ValueError("not a database of ASE")
            (expected,) = file.execute("select count(*) from systems").fetchone()
    options = {}
    if path.suffix == LMDB:
        if find_spec("ase_db_backends") is None:
            raise ValueError("it needs ase-db-backends; install it: pip install 'sikff[lmdb]'")
        options = {"readonly": True}
    read = 0
    with ase.db.connect(path, **options) as rows:  # ase.io leaves out what users add to a row
        for row in rows.select():
            atoms = row.toatoms()
            atoms.info = {**row.get("data", {}), **row.key_value_pairs}
            read += 1
            yield atoms
    if expected not in (None, read):
        raise ValueError(f"{read} of {expected} rows can be read")
