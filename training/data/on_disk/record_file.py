"""Files of structures that are read one at a time, by their number."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.constraints import dict2constraint

from sikff.atomic_write import complete

FORMAT_VERSION = 1
HEADER = 1 << 16  # bytes reserved for the header of the file, which is known last
MOST_METADATA = HEADER - 1024
_LENGTH = struct.Struct("<I")
_TEXT = "U"  # dtype of arrays of words, which are in the header of a record


class StoredResults:
    """Results of a calculation, where labels are looked up."""

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results


class RecordFile:
    """A file that :func:`write_records` has written; may be shared by threads and processes.

    Args:
        path: of the file.

    Attributes:
        metadata: that was given to :func:`write_records`.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it is another one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY)
        try:
            header = json.loads(os.pread(self._descriptor, HEADER, 0)[8:])
            begin, end = (HEADER + offset for offset in header["ends"]["data_offsets"])
            self.metadata: dict[str, Any] = json.loads(header["__metadata__"]["sikff"])
            if os.fstat(self._descriptor).st_size != end:
                raise ValueError(f"it ends before {end} bytes")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} is no file of records; remove it") from error
        self._ends = np.frombuffer(os.pread(self._descriptor, end - begin, begin), np.int64)

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> ase.Atoms:
        begin = int(self._ends[index - 1]) if index else 0
        size = int(self._ends[index]) - begin
        return decode(os.pread(self._descriptor, size, HEADER + begin))


def write_records(path: Path, structures: Iterable[ase.Atoms], metadata: Mapping[str, Any]) -> None:
    """Writes structures to a file in the format of safetensors: their bytes, and where each ends.

    The file appears when it is complete. `metadata` is read after the last structure.

    Raises:
        ValueError: for info, arrays or results that cannot be stored.
    """
    ends: list[int] = []
    with complete(path) as temporary, temporary.open("wb") as file:
        file.write(bytes(HEADER))
        for number, atoms in enumerate(structures):
            try:
                file.write(encode(atoms))
            except ValueError as error:
                raise ValueError(f"structure {number}: {error}") from error
            ends.append(file.tell() - HEADER)
        total = ends[-1] if ends else 0
        padding = -total % 8  # numbers begin at multiples of their size
        file.write(bytes(padding))
        file.write(np.array(ends, np.int64).tobytes())
        size = total + padding
        offsets = {"records": (0, size), "ends": (size, size + 8 * len(ends))}
        header: dict[str, Any] = {
            name: {"dtype": dtype, "shape": [length], "data_offsets": offsets[name]}
            for name, dtype, length in (("records", "U8", size), ("ends", "I64", len(ends)))
        }
        header["__metadata__"] = {"sikff": json.dumps(metadata)}
        text = json.dumps(header).encode()
        if len(text) > HEADER - 8:
            raise ValueError(f"{len(text)} bytes of metadata; expected {MOST_METADATA} at most")
        file.seek(0)
        file.write(struct.pack("<Q", HEADER - 8) + text.ljust(HEADER - 8))


def encode(atoms: ase.Atoms) -> bytes:
    """A structure as bytes: the length of a header in JSON, that header, arrays.

    Raises:
        ValueError: for values that are no words, numbers, arrays of these, or lists or mappings of
            such values.
    """
    held = {"": {"cell": atoms.cell.array, "pbc": atoms.pbc, **atoms.arrays}}
    held["info"] = dict(atoms.info)
    held["results"] = {} if atoms.calc is None else dict(atoms.calc.results)
    arrays, layout = [], []
    plain: dict[str, dict[str, Any]] = {}
    for holder, values in held.items():
        for name, value in values.items():
            array = value if isinstance(value, np.ndarray) else None
            if array is None or array.dtype.kind in "USO":
                words = _TEXT if array is not None else ""
                plain.setdefault(holder + words, {})[str(name)] = value
                continue
            arrays.append(np.ascontiguousarray(array).tobytes())
            layout.append((holder, str(name), array.dtype.str, array.shape))
    header: dict[str, Any] = {"arrays": layout, **plain}
    if atoms.constraints:
        header["constraints"] = [each.todict() for each in atoms.constraints]
    if atoms.calc is None:
        header["unlabelled"] = True
    text = json.dumps(header, default=_plain).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *arrays))


def decode(record: bytes) -> ase.Atoms:
    """The structure that :func:`encode` was given."""
    begin = _LENGTH.size + _LENGTH.unpack_from(record)[0]
    header = json.loads(record[_LENGTH.size : begin])
    held: dict[str, dict[str, Any]] = {"": {}, "info": {}, "results": {}}
    for holder, values in held.items():
        values |= header.get(holder, {})
        values |= {k: np.array(v) for k, v in header.get(holder + _TEXT, {}).items()}
    for holder, name, dtype, shape in header["arrays"]:
        array = np.frombuffer(record, dtype, count=math.prod(shape), offset=begin)
        begin += array.nbytes
        held[holder][name] = array.reshape(shape).copy()  # aligned, and may be changed
    arrays = held[""]
    atoms = ase.Atoms(
        numbers=arrays.pop("numbers"),
        positions=arrays.pop("positions"),
        cell=arrays.pop("cell"),
        pbc=arrays.pop("pbc"),
        info=held["info"],
    )
    atoms.arrays |= arrays
    if "constraints" in header:
        atoms.set_constraint([dict2constraint(each) for each in header["constraints"]])
    if "unlabelled" not in header:
        atoms.calc = StoredResults(held["results"])
    return atoms


def _plain(value: Any) -> Any:
    """A value of NumPy as one that JSON has."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise ValueError(f"{type(value).__name__} {value!r:.40} cannot be stored")
