"""ML_AB and ML_ABN, in which VASP collects the structures of its on-the-fly force fields."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import ase
import numpy as np

from .labelled import KBAR, numbers_of, with_results

VERSION = re.compile(rb"\s*\d+\.\d+\s+Version\s*$")
COUNT = "The number of configurations"
BEGIN = "Configuration num."
ATOMS = "The number of atoms"
TYPES = "Atom types and atom numbers"
CELL = "Primitive lattice vectors (ang.)"
POSITIONS = "Atomic positions (ang.)"
ENERGY = "Total energy (eV)"
FORCES = "Forces (eV ang.^-1)"
STRESS = "Stress (kbar)"
LATEST = "1."  # versions whose sections are these


class Section:
    """A title and the lines below it, without rules."""

    def __init__(self, title: str, line: int) -> None:
        self.title, self.line, self.body = title, line, list[str]()


def is_ml_ab(path: Path) -> bool:
    """Whether a file begins like an ML_AB."""
    with path.open("rb") as file:
        return VERSION.match(file.readline(100)) is not None


def read_ml_ab(path: Path) -> Iterator[ase.Atoms]:
    """Reads the structures, with energy, forces and stress (there in kbar, positive under
    compression as in OUTCAR).

    Raises:
        ValueError: for a version that is not known; naming the line, for what is missing or
            misshapen; if there are fewer structures than announced.
    """
    expected, found = None, 0
    current: dict[str, Section] = {}
    for section in _sections(path):
        if section.title.startswith(BEGIN):
            if found:
                yield _structure(current, found)
            current, found = {}, found + 1
        elif section.title == COUNT:
            expected = _count(section)
        current[section.title.split("  ")[0] if found else section.title] = section
    if expected is None or not found:
        raise ValueError(f"no section {COUNT!r} or {BEGIN!r}; expected an ML_AB of VASP")
    yield _structure(current, found)
    if found != expected:
        raise ValueError(f"it announces {expected} structures and holds {found}; is it cut off?")


def _sections(path: Path) -> Iterator[Section]:
    """The sections of a file: a rule of * or =, a title, a rule of -, and lines."""
    with path.open(encoding="utf-8", errors="replace") as file:
        version = file.readline().split()[0]
        if not version.startswith(LATEST):
            raise ValueError(f"version {version} of the format; expected {LATEST}0")
        section, begins = None, False
        for number, line in enumerate(map(str.strip, file), 2):
            if not line or not line.strip("-"):
                continue
            if not line.strip("*") or not line.strip("="):
                if section is not None:
                    yield section
                section, begins = None, True
            elif begins:
                section, begins = Section(line, number), False
            elif section is not None:
                section.body.append(line)
        if section is not None:
            yield section


def _structure(sections: dict[str, Section], number: int) -> ase.Atoms:
    """One structure of its sections."""
    missing = [t for t in (ATOMS, TYPES, CELL, POSITIONS, ENERGY, FORCES) if t not in sections]
    if missing:
        raise ValueError(f"configuration {number} has no {' or '.join(missing)}; is it cut off?")
    n_atoms = _count(sections[ATOMS])
    symbols = _symbols(sections[TYPES])
    if len(symbols) != n_atoms:
        raise ValueError(
            f"line {sections[TYPES].line}: {len(symbols)} atoms of all types; expected {n_atoms}"
        )
    atoms = ase.Atoms(
        symbols, _rows(sections[POSITIONS], n_atoms), cell=_rows(sections[CELL], 3), pbc=True
    )
    energy = float(_row(sections[ENERGY], sections[ENERGY].body, 1)[0])
    stress = _stress(sections[STRESS]) if STRESS in sections else None
    return with_results(atoms, energy, _rows(sections[FORCES], n_atoms), stress)


def _symbols(section: Section) -> list[str]:
    """The elements of the atoms; names such as Fe_pv or H1.25 are of potentials of VASP."""
    symbols: list[str] = []
    for line in section.body:
        words = line.split()
        element = re.match(r"[A-Z][a-z]?(?![a-z])", words[0])
        if len(words) != 2 or not words[1].isdigit() or element is None:
            raise ValueError(f"line {section.line}: {line!r}; expected an element and a number")
        symbols += [element[0]] * int(words[1])
    return symbols


def _stress(section: Section) -> np.ndarray:
    """The stress [3, 3] in eV/Å^3, with ASE's sign."""
    named = dict(zip(section.body[::2], section.body[1::2], strict=False))
    if named.keys() != {"XX YY ZZ", "XY YZ ZX"}:
        raise ValueError(f"line {section.line}: expected XX YY ZZ and XY YZ ZX, each with numbers")
    xx, yy, zz = _row(section, [named["XX YY ZZ"]], 3)
    xy, yz, zx = _row(section, [named["XY YZ ZX"]], 3)
    return -KBAR * np.array([[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])


def _count(section: Section) -> int:
    return int(_row(section, section.body, 1)[0])


def _rows(section: Section, count: int) -> np.ndarray:
    what = f"line {section.line}: {section.title}"
    return numbers_of([line.split() for line in section.body], (count, 3), what)


def _row(section: Section, body: Sequence[str], count: int) -> np.ndarray:
    what = f"line {section.line}: {section.title}"
    return numbers_of(" ".join(body).split(), (count,), what)
