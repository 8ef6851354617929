"""Folders of DeePMD-kit: a system of type.raw, type_map.raw and set.*/*.npy, or many below one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np
from ase.data import atomic_numbers

from .labelled import with_results

TYPES = "type.raw"
# Arrays of a set, by the number of values for each structure of N atoms.
ARRAYS = {
    "coord": lambda n: 3 * n,
    "box": lambda n: 9,
    "energy": lambda n: 1,
    "force": lambda n: 3 * n,
    "virial": lambda n: 9,
    "real_atom_types": lambda n: n,
}


def is_deepmd(path: Path) -> bool:
    """Whether a folder holds a system of DeePMD, or systems below it."""
    return next(path.rglob(TYPES), None) is not None


def read_deepmd(path: Path) -> Iterator[ase.Atoms]:
    """Reads the structures of all systems in a folder, by their names: Å, eV, eV/Å, and a virial in
    eV that becomes the stress -virial / volume.

    Raises:
        ValueError: naming the file that is missing or misshapen.
    """
    unread: set[str] = set()
    for types in sorted(path.rglob(TYPES)):
        yield from _read_system(types.parent, unread)
    if unread:
        warnings.warn(f"{path}: {', '.join(sorted(unread))} not read", stacklevel=2)


def _read_system(system: Path, unread: set[str]) -> Iterator[ase.Atoms]:
    numbers, types = _type_map(system), _types(system)
    periodic = not (system / "nopbc").exists()
    sets = sorted(system.glob("set.*"))
    if not sets:
        raw = " (coord.raw is of the older form: convert it with raw_to_set.sh of DeePMD-kit)"
        also = raw if (system / "coord.raw").exists() else ""
        raise ValueError(f"{system} has no folder set.000{also}; expected set.*/coord.npy")
    for folder in sets:
        unread |= {p.name for p in folder.glob("*.npy") if p.stem not in ARRAYS}
        arrays = _arrays(folder, len(types))
        if "virial" in arrays and not periodic:
            unread.add("virial.npy without a cell")
        if "coord" not in arrays or ("box" not in arrays and periodic):
            lacking = "coord.npy" if "coord" not in arrays else "box.npy"
            mend = "" if lacking == "coord.npy" else ", or a file nopbc beside type.raw"
            raise ValueError(f"{folder} has no {lacking}; expected it{mend}")
        if "energy" not in arrays and "force" not in arrays:
            raise ValueError(f"{folder} has neither energy.npy nor force.npy; expected labels")
        for index in range(len(arrays["coord"])):
            row = {name: array[index] for name, array in arrays.items()}
            row_types = row.get("real_atom_types", types).astype(int)
            yield _structure(row, row_types, numbers, periodic, folder)


def _structure(
    row: dict[str, np.ndarray], types: np.ndarray, numbers: np.ndarray, periodic: bool, folder: Path
) -> ase.Atoms:
    """One structure of the rows of its arrays; atoms of type -1 are padding."""
    real = types >= 0
    if not (types[real] < len(numbers)).all():
        raise ValueError(
            f"{folder}: type {types.max()}, and type_map.raw has {len(numbers)} elements"
        )
    cell = row["box"].reshape(3, 3) if periodic else None
    atoms = ase.Atoms(
        numbers[types[real]], row["coord"].reshape(-1, 3)[real], cell=cell, pbc=periodic
    )
    energy = float(row["energy"][0]) if "energy" in row else None
    forces = row["force"].reshape(-1, 3)[real] if "force" in row else None
    stress = None
    if periodic and "virial" in row:
        stress = -row["virial"].reshape(3, 3) / atoms.get_volume()
    return with_results(atoms, energy, forces, stress)


def _arrays(folder: Path, n_atoms: int) -> dict[str, np.ndarray]:
    """The arrays of a set, [structures, values], read from the disk as they are used."""
    arrays: dict[str, np.ndarray] = {}
    for name, width in ARRAYS.items():
        path = folder / f"{name}.npy"
        if not path.is_file():
            continue
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is damaged or pickled; expected an array") from error
        wanted = (len(arrays.get("coord", array)), width(n_atoms))
        if array.size != wanted[0] * wanted[1] or array.dtype.kind not in "iuf":
            raise ValueError(
                f"{path} has shape {array.shape} and type {array.dtype}; expected numbers {wanted}"
            )
        arrays[name] = array.reshape(wanted)
        if name != "real_atom_types":
            arrays[name] = arrays[name].astype(np.float64)
    return arrays


def _types(system: Path) -> np.ndarray:
    words = (system / TYPES).read_text(encoding="utf-8").split()
    if not words or not all(word.isdigit() for word in words):
        raise ValueError(f"{system / TYPES} is not a list of types; expected whole numbers from 0")
    return np.array(words, dtype=int)


def _type_map(system: Path) -> np.ndarray:
    """The atomic number of each type.

    Raises:
        ValueError: without names of the types, or for a name of no element.
    """
    path = system / "type_map.raw"
    if not path.is_file():
        raise ValueError(
            f"{system} has no type_map.raw, so its types are of unknown elements; write their "
            "symbols there, in the order of the types"
        )
    names = path.read_text(encoding="utf-8").split()
    wrong = [name for name in names if name not in atomic_numbers or name == "X"]
    if wrong or not names:
        raise ValueError(f"{path}: {', '.join(wrong) or 'empty'}; expected symbols of elements")
    return np.array([atomic_numbers[name] for name in names])
