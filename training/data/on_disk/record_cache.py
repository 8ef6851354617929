"""Records of files of structures, written once and read by later runs as long as files stay."""

from __future__ import annotations

import errno
import hashlib
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import sikff
from sikff.atomic_write import check_writable, clear_unfinished
from sikff.lock import lock

from ...config import NpzUnits
from ..reading import files_of, iterate_atoms
from .record_file import FORMAT_VERSION, RecordFile, write_records

ENDS = 1 << 16  # bytes at the beginning and the end of a file that must be the same
WAIT = 1.0  # s between two looks at a lock
FOLDER = "sikff_cache"  # beside the data


def open_records(path: Path, folder: Path, units: NpzUnits | None = None) -> RecordFile:
    """Opens the records of a file of structures, which are written first if there are none.

    Warnings of the reader are given every time.

    Args:
        path: a file, or a folder of DeePMD.
        folder: where the records are.
        units: of a file .npz.

    Raises:
        FileNotFoundError, ValueError: if the file cannot be read (:func:`iterate_atoms`).
        OSError: if the folder cannot be written to.
    """
    identity = identity_of(path)
    given = None if units is None else units.model_dump()
    wanted = {"version": FORMAT_VERSION, "sikff": sikff.__version__, "units": given, **identity}
    digest = hashlib.sha256(f"{path.absolute()} {given}".encode()).hexdigest()[:12]
    target = folder / f"{path.stem}-{digest}.safetensors"
    records = _open_if_same(target, wanted)
    if records is None:
        with locked(target):
            records = _open_if_same(target, wanted) or _write(path, target, units, wanted)
    for message in records.metadata["warnings"]:
        warnings.warn(message, stacklevel=2)
    return records


def identity_of(path: Path) -> dict[str, Any]:
    """What changes if a file changes: its size, its time, and a hash of its ends.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    if not path.exists():
        raise FileNotFoundError(f"no data file {str(path)!r}")
    digest, size, newest = hashlib.sha256(), 0, 0
    for file in files_of(path):
        state = file.stat()
        size, newest = size + state.st_size, max(newest, state.st_mtime_ns)
        digest.update(f"{file.relative_to(path)} {state.st_size} {state.st_mtime_ns}".encode())
        with file.open("rb") as content:
            digest.update(content.read(ENDS))
            content.seek(max(state.st_size - ENDS, 0))
            digest.update(content.read(ENDS))
    return {"size": size, "time": newest, "hash": digest.hexdigest()}


def _open_if_same(target: Path, wanted: dict[str, Any]) -> RecordFile | None:
    """The records, unless they are missing, damaged, or of another state of the file."""
    try:
        records = RecordFile(target)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    same = all(records.metadata.get(name) == value for name, value in wanted.items())
    return records if same else None


def _write(path: Path, target: Path, units: NpzUnits | None, wanted: dict[str, Any]) -> RecordFile:
    clear_unfinished(target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        metadata: dict[str, Any] = {**wanted, "warnings": []}
        write_records(target, _noting(iterate_atoms(path, units=units), caught, metadata), metadata)
    if identity_of(path)["hash"] != wanted["hash"]:
        target.unlink()
        raise ValueError(f"{str(path)!r} changed while it was read; wait until it is complete")
    return RecordFile(target)


def _noting(
    structures: Iterator[Any], caught: list[warnings.WarningMessage], metadata: dict[str, Any]
) -> Iterator[Any]:
    """The structures; at their end the warnings of their reader are in the metadata."""
    yield from structures
    metadata["warnings"] += dict.fromkeys(str(each.message) for each in caught)


@contextmanager
def locked(target: Path) -> Iterator[None]:
    """Holds the lock of a file; waits, with a warning, as long as another process has it.

    Raises:
        OSError: if the file cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        check_writable(target)
    except OSError as error:
        why = f"{error.strerror or error} (data.cache: FOLDER chooses another place)"
        raise OSError(error.errno or errno.EIO, why, str(target)) from error
    with ExitStack() as stack:
        waits = False
        while True:
            try:
                stack.enter_context(lock(target, "it reads the same data"))
                break
            except BlockingIOError as error:
                if not waits:
                    warnings.warn(f"{error}; waiting for it", stacklevel=4)
                waits = True
            time.sleep(WAIT)
        yield
