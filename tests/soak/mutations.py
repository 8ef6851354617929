"""Reads mutated files of structures in all formats: read, or refused in one sentence.

    python tests/soak/mutations.py [--files 5000] [--seed 0] [--keep FOLDER]

A fault is anything else: an exception that is no ValueError or OSError, a message of several lines,
a traceback or output of `sikff data`, more than 5 s, a file that is changed or left behind, or a
file read with fewer structures than its headers announce. Prints the number of files read, refused
and at fault by format; ends with 1 if there are faults. The files at fault are kept.
"""

from __future__ import annotations

import argparse
import io
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.training.cli import main
from sikff.training.data.reading import read_structures
from sikff.training.simulation.structure_files import read_structure

LIMIT = 5.0  # s
WEIRD = ["nan", "inf", "-inf", "-1", "0", "1e999", "1e308", "1e-308", "9" * 12, "-" + "9" * 30, ""]
WEIRD += [
    "é",
    "\0",
    "水",
    "T",
    "F",
    "D",
    "Xx",
    "X",
    "29",
    "Cu1",
    "R:3",
    "S:1:",
    "pos:R:-3",
    "=",
    "'",
]
WEIRD += [
    '"',
    "{",
    "[1,2",
    "_JSON [1",
    "pbc",
    "Lattice=",
    "None",
    "0x10",
    "1D0",
    "?",
    ".",
    "#",
    "\t",
]
WEIRD += [
    "ITEM: TIMESTEP",
    "END",
    "data_",
    "loop_",
    "VEC1",
    "\ufeff",
    "1_0",
    "٣",
    "1,5",
    "1e",
    "--",
]


def labelled(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """A rattled copy with made energy, forces and, of a crystal, stress."""
    atoms = atoms.copy()
    atoms.positions += 0.05 * rng.standard_normal(atoms.positions.shape)
    forces = rng.standard_normal(atoms.positions.shape)
    results = {"energy": float(rng.standard_normal()), "forces": forces}
    if atoms.pbc.all():
        results["stress"] = 0.01 * rng.standard_normal(6)
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def write_originals(folder: Path) -> list[Path]:
    """A small file in each format."""
    rng = np.random.default_rng(0)
    crystal = [labelled(bulk("NaCl", "rocksalt", a=5.6), rng) for _ in range(3)]
    molecules = [labelled(molecule("CH3OH"), rng) for _ in range(3)]
    plain = [atoms.copy() for atoms in molecules]
    for index, name in enumerate(["a.extxyz", "a.xyz", "a.traj"]):
        ase.io.write(folder / name, [*crystal, *molecules][index:])
    for name in ("a.cif", "a.pdb", "a.xsf", "XDATCAR", "a.xyz.gz"):
        ase.io.write(folder / name, [atoms.copy() for atoms in crystal])
    for name in (
        "POSCAR",
        "a.gen",
        "a.gro",
        "a.res",
        "a.cube",
        "a.cell",
        "a.in",
        "a.json",
        "a.cfg",
    ):
        ase.io.write(folder / name, crystal[0].copy())
    ase.io.write(folder / "plain.xyz", plain, format="xyz")
    ase.io.write(folder / "a.lammps-data", crystal[0], format="lammps-data", masses=True)
    dump = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
    )
    dump += "ITEM: ATOMS id element x y z fx fy fz\n1 Cu 0 0 0 1 0 0\n2 O 0 0 2 -1 0 0\n"
    (folder / "a.lammpstrj").write_text("".join(map(dump.format, range(3))))
    for name in ("b.db", "b.json"):
        with ase.db.connect(folder / name) as rows:
            for atoms in (*crystal, *molecules):
                rows.write(atoms, kind="made", data={"REF_energy": 1.0})
    return sorted(folder.iterdir())


def mutated(data: bytes, rng: random.Random) -> bytes:
    """The data with one to three changes of words, lines, bytes, encodings or the end."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        change = rng.choice(CHANGES)
        data = change(data, rng)
    return data


def change_word(data: bytes, rng: random.Random) -> bytes:
    words = list(re.finditer(rb'[^\s:=",\[\]{}]+', data))
    if not words:
        return data
    word = rng.choice(words)
    new = rng.choice(WEIRD).encode("utf-8")
    return data[: word.start()] + new + data[word.end() :]


def change_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    match rng.randrange(5):
        case 0:
            del lines[i]
        case 1:
            lines.insert(j, lines[i])
        case 2:
            lines[i], lines[j] = lines[j], lines[i]
        case 3:
            lines.insert(i, rng.choice([b"\n", b" \t\n", b"\r\n", b"garbage\n"]))
        case _:
            lines = lines[j:] + lines[:j]
    return b"".join(lines)


def flip_bytes(data: bytes, rng: random.Random) -> bytes:
    new = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        if new:
            new[rng.randrange(len(new))] = rng.randrange(256)
    return bytes(new)


def cut(data: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def double(data: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data + data[start:]


def change_encoding(data: bytes, rng: random.Random) -> bytes:
    text = data.decode("latin-1")
    match rng.randrange(5):
        case 0:
            return data.replace(b"\n", b"\r\n")
        case 1:
            return b"\xef\xbb\xbf" + data
        case 2:
            return text.encode("utf-16")
        case 3:
            return data.replace(b"\n", b"\r")
        case _:
            return data.swapcase()


CHANGES = [change_word] * 5 + [change_lines] * 3 + [flip_bytes] * 2 + [cut] * 2
CHANGES += [double, change_encoding]


class SoakError(Exception):
    """Neither read nor refused in a sentence."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises SoakError after so many seconds."""

    def stop(*_: object) -> None:
        raise TooLong(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class TooLong(BaseException):
    """Not caught by readers that catch all exceptions."""


def check_sentence(text: str) -> None:
    if not text or "\n" in text.strip() or len(text) > 2000:
        raise SoakError(f"no sentence: {text[:300]!r}")


def check_count(path: Path, n_read: int) -> None:
    """Raises SoakError if fewer structures were read than lines hold nothing but a number."""
    if path.suffix in (".xyz", ".extxyz"):
        data = path.read_bytes()
        expected = len(re.findall(rb"^[ \t]*\d+[ \t]*\r?$", data.replace(b"\0", b""), re.M))
        if n_read < expected:
            raise SoakError(f"{n_read} structures read, {expected} announced")


def try_file(path: Path) -> str:
    """Reads a file in the ways of all commands; "read" or "refused".

    Raises:
        SoakError: for anything else.
    """
    before, listing = path.read_bytes(), sorted(path.parent.iterdir())
    output, complaint = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(complaint), warnings.catch_warnings():
        warnings.simplefilter("always")
        try:
            check_count(path, len(read_structures(path)))
            outcome = "read"
        except (ValueError, OSError) as error:
            check_sentence(str(error))
            outcome = "refused"
        try:
            read_structure(path)
        except (ValueError, OSError) as error:
            check_sentence(str(error))
    if output.getvalue():
        raise SoakError(f"printed {output.getvalue()[:300]!r}")
    output, complaint = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(complaint):
        code = main(["data", str(path)])
    said = complaint.getvalue()
    errors = [line for line in said.splitlines() if not line.startswith("sikff: warning: ")]
    if code == 2:
        check_sentence("\n".join(errors))
    if code not in (0, 2) or (code == 0 and (errors or outcome != "read")):
        raise SoakError(f"sikff data ended with {code} after {outcome}: {said[:300]!r}")
    if path.read_bytes() != before or sorted(path.parent.iterdir()) != listing:
        raise SoakError("files were changed or left behind")
    return outcome


def soak(files: int, seed: int, keep: Path) -> int:
    """Tries so many files; returns the number of faults."""
    counts: Counter[tuple[str, str]] = Counter()
    slowest, faults = (0.0, ""), 0
    with tempfile.TemporaryDirectory() as place:
        originals = write_originals(Path(place))
        work = Path(place, "work")
        work.mkdir()
        for original in originals:
            if try_file(original) != "read":
                raise SystemExit(f"{original.name} is not read before it is changed")
        for number in range(files):
            rng = random.Random(f"{seed} {number}")
            original = rng.choice(originals)
            path = work / original.name
            path.write_bytes(mutated(original.read_bytes(), rng))
            start = time.perf_counter()
            try:
                with time_limit(LIMIT):
                    outcome = try_file(path)
            except (Exception, TooLong) as error:  # a fault is what this looks for
                outcome, faults = "fault", faults + 1
                keep.mkdir(parents=True, exist_ok=True)
                kept = keep / f"{number}_{path.name}"
                shutil.copy(path, kept)
                print(f"{kept}: {type(error).__name__}: {str(error)[:400]}", flush=True)
            slowest = max(slowest, (time.perf_counter() - start, f"{number} {path.name}"))
            counts[original.name, outcome] += 1
            shutil.rmtree(work)
            work.mkdir()
    for original in originals:
        of_format = {o: n for (name, o), n in sorted(counts.items()) if name == original.name}
        print(f"{original.name:12s} {of_format}")
    total = Counter(outcome for (_, outcome), n in counts.items() for _ in range(n))
    print(f"{files} files: {dict(total)}; slowest {slowest[0]:.2g} s ({slowest[1]})")
    return faults


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "sikff-mutations"))
    options = parser.parse_args()
    sys.exit(soak(options.files, options.seed, options.keep) > 0)
