"""Archives of NumPy with trajectories of one molecule, such as rMD17 and MD22."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import ase
import numpy as np

from ...config import NpzUnits
from ..check_work import ENERGIES, LENGTHS
from .labelled import with_results

KEYS = {  # those of rMD17, then those of MD17, MD22 and sGDML
    "numbers": ("nuclear_charges", "z"),
    "positions": ("coords", "R"),
    "energy": ("energies", "E"),
    "forces": ("forces", "F"),
}
SPELLINGS = {"ang": "Å", "angstrom": "Å", "a": "Å", "ha": "Hartree", "ry": "Rydberg"}  # lower case
SPELLINGS |= {unit.lower(): unit for unit in (*ENERGIES, *LENGTHS)}
UNITS = {"energy": "e_unit", "length": "r_unit"}  # keys that sGDML writes
LATTICE = "lattice"
# What sGDML and rMD17 write beside that, without a meaning for training.
IGNORED = {"name", "theory", "type", "md5", "code_version", "old_indices", "old_energies"}
IGNORED |= {"old_forces", "perms", *(f"{x}_{y}" for x in "EF" for y in ("min", "max", "mean"))}
IGNORED |= {"E_var", "F_var"}


def read_npz(path: Path, units: NpzUnits | None = None) -> Iterator[ase.Atoms]:
    """Reads the structures of an archive: atomic numbers [N], positions [S, N, 3], energies [S] and
    forces [S, N, 3], under the names in `KEYS`.

    Args:
        units: of the file; None: those that it names (e_unit, r_unit), or else kcal/mol and Å, with
            a warning.

    Raises:
        ValueError: for missing or misshapen arrays, pickled ones, units that contradict each other,
            or a lattice that may be rows or columns.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, ValueError, AttributeError) as error:
        pickled = "Object arrays" in str(error)
        why = "it holds pickled objects, which may run code" if pickled else "no archive of arrays"
        raise ValueError(
            f"{why}; expected arrays of numbers, as numpy.savez writes them"
        ) from error
    found = {name: _array(arrays, name) for name in KEYS}
    numbers, positions = found["numbers"], found["positions"]
    if numbers is None or positions is None:
        wanted = " and ".join(f"{KEYS['numbers'][k]}, {KEYS['positions'][k]}" for k in (0, 1))
        raise ValueError(f"it has {', '.join(sorted(arrays)) or 'no arrays'}; expected {wanted}")
    if found["energy"] is None and found["forces"] is None:
        raise ValueError(
            f"it has {', '.join(sorted(arrays))}; expected energies or E, and forces or F"
        )
    energy_unit, length_unit = _units(arrays, path, units)
    _warn_of_unread(arrays, path)
    count, n_atoms = positions.shape[0] if positions.ndim else 0, numbers.size
    _check_shape(numbers, (n_atoms,), "numbers")
    for name in ("positions", "forces"):
        _check_shape(found[name], (count, n_atoms, 3), name)
    energies = None if found["energy"] is None else found["energy"].reshape(-1)
    _check_shape(energies, (count,), "energy")
    energy, length = ENERGIES[energy_unit], LENGTHS[length_unit]
    cell = _cell(arrays, length)
    for index, each in enumerate(positions):
        atoms = ase.Atoms(numbers.astype(int), each * length, cell=cell, pbc=cell is not None)
        label = None if energies is None else float(energies[index]) * energy
        forces = None if found["forces"] is None else found["forces"][index] * (energy / length)
        yield with_results(atoms, label, forces)


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    """The array that stands for a quantity.

    Raises:
        ValueError: if there are two, or it is not made of numbers.
    """
    keys = [key for key in KEYS[name] if key in arrays]
    if len(keys) > 1:
        raise ValueError(f"it has {' and '.join(keys)}; expected one of them")
    if not keys:
        return None
    array = arrays[keys[0]]
    if array.dtype.kind not in ("iu" if name == "numbers" else "iuf"):
        raise ValueError(f"{keys[0]} has the type {array.dtype}; expected numbers")
    return array if name == "numbers" else array.astype(np.float64)


def _check_shape(array: np.ndarray | None, shape: tuple[int, ...], name: str) -> None:
    if array is not None and array.shape != shape:
        names = " or ".join(KEYS[name])
        raise ValueError(f"{names} has shape {array.shape}; expected {shape}")


def _units(arrays: Mapping[str, np.ndarray], path: Path, given: NpzUnits | None) -> tuple[str, str]:
    """The units of energy and length; those that neither file nor user name are guessed, with a
    warning.

    Raises:
        ValueError: if the file names other units than the user, or units that are not known.
    """
    told = {}
    for name, key in UNITS.items():
        if key in arrays:
            word = str(arrays[key].astype(str))
            told[name] = SPELLINGS.get(word.lower(), "")
            known = ENERGIES if name == "energy" else LENGTHS
            if told[name] not in known:
                raise ValueError(f"{key} is {word!r}; expected one of {', '.join(known)}")
    usual = NpzUnits()
    units = {name: getattr(given or usual, name) for name in UNITS} | told
    if given is not None:
        for name in told:
            if told[name] != getattr(given, name):
                raise ValueError(
                    f"{UNITS[name]} is {told[name]}, data.npz_units.{name} is "
                    f"{getattr(given, name)}; expected one of them, or the same in both"
                )
    elif told.keys() != UNITS.keys():
        warnings.warn(
            f"{path.name} does not name its units; read as {units['energy']} and "
            f"{units['length']}, as rMD17 and MD22 are written (others: data.npz_units, or e_unit "
            "and r_unit in the file)",
            stacklevel=2,
        )
    return units["energy"], units["length"]


def _cell(arrays: Mapping[str, np.ndarray], length: float) -> np.ndarray | None:
    """The cell (Å), if any.

    Raises:
        ValueError: unless it is the same by rows and by columns: versions of sGDML differ in that.
    """
    lattice = arrays.get(LATTICE, np.zeros(()))
    if not lattice.any():
        return None
    if lattice.shape != (3, 3) or not np.array_equal(lattice, lattice.T):
        raise ValueError(
            f"{LATTICE} is {lattice.tolist()}; expected a symmetric matrix, since some programs "
            "write lattice vectors as rows and others as columns: convert the file to extended XYZ"
        )
    return lattice.astype(np.float64) * length


def _warn_of_unread(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    read = {key for keys in KEYS.values() for key in keys} | {*UNITS.values(), LATTICE}
    unread = sorted(arrays.keys() - read - IGNORED)
    if unread:
        warnings.warn(f"{path.name}: {', '.join(unread)} not read", stacklevel=2)
