"""JSON with structures of pymatgen, such as MPtrj: read entry by entry, without pymatgen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import ase
import numpy as np
from ase.data import atomic_numbers
from ase.io.formats import open_with_compression

from .labelled import KBAR, numbers_of, with_results

ENERGIES = ("uncorrected_total_energy", "energy")  # eV, of the structure
FORCES = ("force", "forces")  # eV/Å
STRESS = "stress"  # kbar, positive under compression, as VASP writes it
SEARCHED = 1_000_000  # bytes of a file in which its first structure begins
CHUNK = 1 << 20  # characters read at a time
_SINGLE = {"@module", "@class", "structure", "lattice", "sites", "charge"}  # keys of one entry


def is_pymatgen(path: Path) -> bool:
    """Whether a JSON file has structures of pymatgen; ASE's databases have no sites."""
    with open_with_compression(str(path), "rb") as file:
        head = file.read(SEARCHED)
    return b'"sites"' in head and b'"lattice"' in head


def read_pymatgen(path: Path) -> Iterator[ase.Atoms]:
    """Reads structures with their labels: entries with a `structure`, in lists or under names of
    any depth, as {material: {frame: {structure, uncorrected_total_energy, force, stress}}}.

    Other numbers and words of an entry are in the info, such as corrected_total_energy.

    Raises:
        ValueError: naming the entry, for what is missing or misshapen, or sites that are not
            occupied by one element.
    """
    with open_with_compression(str(path), "rt") as file:
        single: dict[str, Any] = {}
        for name, value in members(file):
            if name in _SINGLE or single:
                single[name] = value
                continue
            for where, entry in _entries(value, name):
                try:
                    yield _structure(entry)
                except ValueError as error:
                    raise ValueError(f"{where}: {error}") from error
        if single:
            entry = single if "structure" in single else {"structure": single}
            yield _structure(entry)


def members(file: IO[str]) -> Iterator[tuple[str, Any]]:
    """The members of the outermost object or list of a file, one after another.

    Raises:
        ValueError: if the text is not JSON, or ends before it is complete.
    """
    decoder, text = json.JSONDecoder(), file.read(CHUNK)
    at, done = _blank(text, 0), 0  # characters before the present text
    opening = text[at : at + 1]
    if opening not in ("{", "["):
        raise ValueError("no JSON object or list; expected structures of pymatgen")
    at, index, step = at + 1, 0, CHUNK
    while True:
        try:
            after, name, value = _member(decoder, text, at, opening == "{")
        except json.JSONDecodeError as error:
            more = file.read(step)
            if not more:
                raise ValueError(
                    f"no JSON at character {done + error.pos}: {error.msg}; is it cut off?"
                ) from error
            text, done, at, step = text[at:] + more, done + at, 0, 2 * step
            continue
        if after is None:
            return
        yield (name or str(index)), value
        at, index, step = after, index + 1, CHUNK


def _member(
    decoder: json.JSONDecoder, text: str, at: int, named: bool
) -> tuple[int | None, str, Any]:
    """(the index after a member, its name, its value); None at the end of all."""
    at = _blank(text, at)
    if text[at : at + 1] == ",":
        at = _blank(text, at + 1)
    if text[at : at + 1] == ("}" if named else "]"):
        return None, "", None
    name = ""
    if named:
        name, at = decoder.raw_decode(text, at)
        at = _blank(text, at)
        if text[at : at + 1] != ":":
            raise json.JSONDecodeError("expected a colon", text, at)
        at = _blank(text, at + 1)
    value, at = decoder.raw_decode(text, at)
    if _blank(text, at) == len(text):  # a number may go on
        raise json.JSONDecodeError("expected a comma or an end", text, at)
    return at, name, value


def _blank(text: str, at: int) -> int:
    """The index of the first character from `at` on that is not blank."""
    while text[at : at + 1] in (" ", "\n", "\r", "\t") and at < len(text):
        at += 1
    return at


def _entries(value: Any, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The entries below a value, with their names."""
    if isinstance(value, dict) and isinstance(value.get("structure"), dict):
        yield name, value
    elif isinstance(value, dict) and "sites" in value:
        yield name, {"structure": value}
    elif isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in pairs:
            yield from _entries(each, f"{name}, {key}")
    else:
        text = repr(value)[:40]
        raise ValueError(f"{name} is {text}; expected an entry with a structure of pymatgen")


def _structure(entry: Mapping[str, Any]) -> ase.Atoms:
    """The structure of an entry, with its labels."""
    atoms = _atoms(entry["structure"])
    energy = next((entry[key] for key in ENERGIES if entry.get(key) is not None), None)
    forces = next((entry[key] for key in FORCES if entry.get(key) is not None), None)
    stress = entry.get(STRESS)
    read = {"structure", *ENERGIES, *FORCES, STRESS}
    others = {k: v for k, v in entry.items() if k not in read and isinstance(v, str | int | float)}
    atoms.info |= others
    if ENERGIES[0] in entry and entry.get(ENERGIES[1]) is not None:
        raise ValueError(f"both {' and '.join(ENERGIES)}; expected one of them")
    return with_results(
        atoms,
        None if energy is None else float(numbers_of(energy, (), "the energy")),
        None if forces is None else numbers_of(forces, (len(atoms), 3), "the forces"),
        None if stress is None else -KBAR * numbers_of(stress, (3, 3), "the stress"),
    )


def _atoms(structure: Mapping[str, Any]) -> ase.Atoms:
    """The atoms of a structure, or of a molecule, which has no lattice."""
    if not structure.get("sites"):
        raise ValueError("a structure without sites; expected those of pymatgen")
    lattice = structure.get("lattice")
    cell = None if lattice is None else numbers_of(lattice.get("matrix"), (3, 3), "the lattice")
    sites = structure["sites"]
    numbers = [_number(site, index) for index, site in enumerate(sites)]
    if all("xyz" in site for site in sites):
        positions = numbers_of([site["xyz"] for site in sites], (len(sites), 3), "xyz")
    elif cell is not None and all("abc" in site for site in sites):
        positions = numbers_of([site["abc"] for site in sites], (len(sites), 3), "abc") @ cell
    else:
        raise ValueError("sites without xyz; expected it in each")
    periodic: Any = False if lattice is None else lattice.get("pbc", True)
    atoms = ase.Atoms(numbers, positions, cell=cell, pbc=np.asarray(periodic, dtype=bool))
    if structure.get("charge"):
        atoms.info["charge"] = structure["charge"]
    return atoms


def _number(site: Mapping[str, Any], index: int) -> int:
    """The atomic number of the element on a site.

    Raises:
        ValueError: unless one whole atom is there.
    """
    species = site.get("species") or []
    if len(species) != 1 or species[0].get("occu", 1) != 1:
        found = " and ".join(f"{s.get('occu', 1):g} {s.get('element')}" for s in species)
        raise ValueError(
            f"site {index} is occupied by {found or 'nothing'}; expected one whole atom on each "
            "site"
        )
    symbol = str(species[0].get("element"))
    if symbol not in atomic_numbers or symbol == "X":
        raise ValueError(f"site {index} has {symbol}; expected the symbol of an element")
    return int(atomic_numbers[symbol])
