"""From files of labelled structures to samples: graphs with their labels."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.db
import ase.io
import numpy as np
import torch
from ase.data import atomic_numbers

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import Environment
from sikff.graph import AtomicGraph, check_finite, has_volume
from sikff.graph.conditions import KEYS as CONDITIONS
from sikff.graph.conditions import VACUUM, Conditions

from ..config import DataConfig
from .batches import Sample
from .labels import KEYS, SHAPES, Label, find_label, suggestions
from .targets import Targets

ISOLATED = ("IsolatedAtom", "isolated_atom")
DATABASES = (".db", ".json")
PROPERTIES = re.compile(rb'Properties\s*=\s*"?([^\s"]*)')  # columns of an extended XYZ file
MISSING = dict.fromkeys(KEYS, "; give it to all frames or leave these out")
MISSING["forces"] += ", or go without forces (loss.forces: 0)"
SHOWN = 8  # frame numbers listed in an error

Labels = Mapping[str, list[np.ndarray]]  # by "energy", "forces" and "stress", for each frame


@dataclass(frozen=True)
class Frames:
    """Structures of one source; frame numbers count from 0 within `source`."""

    source: str
    atoms: list[ase.Atoms]
    numbers: list[int]

    @classmethod
    def of(cls, atoms: Iterable[ase.Atoms], source: str = "structures") -> Frames:
        """All of these structures, numbered as they come."""
        atoms = list(atoms)
        return cls(source, atoms, list(range(len(atoms))))

    def pick(self, places: Sequence[int]) -> Frames:
        """The frames at these places."""
        return Frames(
            self.source, [self.atoms[p] for p in places], [self.numbers[p] for p in places]
        )

    def names(self, places: Sequence[int]) -> str:
        """What to call the frames at these places."""
        shown = ", ".join(str(self.numbers[p]) for p in places[:SHOWN])
        more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
        return f"frame{'s'[: len(places) > 1]} {shown}{more}"

    def refuse(self, places: Sequence[int], what: str, mend: str = "") -> None:
        """Raises a ValueError that names the frames at these places, if there are any."""
        if places:
            raise ValueError(f"{self.source}: {what} in {self.names(places)}{mend}")

    @contextmanager
    def naming(self, place: int) -> Iterator[None]:
        """Adds the name of the frame at this place to a ValueError raised meanwhile."""
        try:
            yield
        except ValueError as error:
            raise ValueError(f"{self.source}: {error} in {self.names([place])}") from error


def read_frames(paths: Path | Sequence[Path]) -> Frames:
    """All structures of the files, in order.

    Raises:
        FileNotFoundError, ValueError: if a file is missing, unreadable or empty, or a structure
            has no atoms, positions that are not finite, or an electric field or origin of the
            surface that is not three numbers.
    """
    paths = (paths,) if isinstance(paths, str | Path) else tuple(paths)
    found: list[ase.Atoms] = []
    for path in map(Path, paths):
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
        found.extend(atoms)
    frames = Frames.of(found, " + ".join(map(str, paths)))
    frames.refuse([p for p, a in enumerate(found) if not len(a)], "no atoms")
    unnamed = [p for p, a in enumerate(found) if not a.numbers.all()]
    frames.refuse(unnamed, "atoms without an element (X)")
    for place, structure in enumerate(found):
        with frames.naming(place):
            check_finite(structure)
            Conditions.of(structure.info)
    return frames


def _read(path: Path) -> list[ase.Atoms]:
    if path.suffix in DATABASES:
        return _read_database(path)
    if path.suffix in (".xyz", ".extxyz"):
        _check_numbers(path)
    return list(ase.io.iread(path, index=":", do_not_split_by_at_sign=True))


def _check_numbers(path: Path) -> None:
    """Refuses numbers of atoms or columns that ASE would count up to for ever."""
    size = path.stat().st_size
    with path.open("rb") as lines:
        for line in lines:
            words, columns = line.split(), PROPERTIES.search(line)
            numbers = (
                words if len(words) == 1 else re.findall(rb"\d+", columns[1] if columns else b"")
            )
            if any(number.isdigit() and int(number) > size for number in numbers):
                raise ValueError("more atoms or columns are announced than the file can hold")


def _read_database(path: Path) -> list[ase.Atoms]:
    if path.suffix == ".db":  # in any other file ASE would make its tables
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True)) as file:
            if not file.execute("select 1 from sqlite_master where name='systems'").fetchone():
                raise ValueError("not a database of ASE")
    frames = []
    with ase.db.connect(path) as rows:  # ase.io leaves out what users add to a row
        for row in rows.select():
            frames.append(row.toatoms())
            frames[-1].info = {**row.get("data", {}), **row.key_value_pairs}
    return frames


def split_isolated(frames: Frames) -> tuple[Frames, Frames]:
    """(structures to train on, frames with config_type=IsolatedAtom)."""
    isolated = [str(a.info.get("config_type")) in ISOLATED for a in frames.atoms]
    places = range(len(isolated))
    return (
        frames.pick([p for p in places if not isolated[p]]),
        frames.pick([p for p in places if isolated[p]]),
    )


def split_validation(frames: Frames, valid: float | int, seed: int) -> tuple[Frames, Frames]:
    """(training, validation) frames, drawn at random by the seed.

    Raises:
        ValueError: if one of the two would be empty.
    """
    total = len(frames.atoms)
    count = valid if isinstance(valid, int) else max(1, round(valid * total))
    if count >= total:
        raise ValueError(f"{frames.source}: {count} of {total} frames for validation leaves none")
    order = np.random.default_rng(seed).permutation(total)
    return frames.pick(sorted(order[count:])), frames.pick(sorted(order[:count]))


def label(atoms: ase.Atoms, name: str, key: str | None) -> np.ndarray | None:
    """The value of :func:`find_label`, or None."""
    found = find_label(atoms, name, key)
    return None if found is None else found.value


def find_labels(frames: Frames, name: str, data: DataConfig) -> list[Label | None]:
    """The label `name` of each frame, where there is one.

    Raises:
        ValueError: naming a frame with a label that is misshapen or not made of numbers.
    """
    found = []
    for place, atoms in enumerate(frames.atoms):
        with frames.naming(place):
            found.append(find_label(atoms, name, getattr(data, f"{name}_key")))
    return found


def read_labels(
    frames: Frames, data: DataConfig, names: Collection[str], partial: Collection[str] = ()
) -> Labels:
    """The labels called `names` of each frame; NaN where one of those in `partial` is missing.

    Raises:
        ValueError: naming the frames that lack a label that is not in `partial`, or hold NaN.
    """
    return {name: _values(frames, name, data, name in partial) for name in names}


def _values(frames: Frames, name: str, data: DataConfig, partial: bool) -> list[np.ndarray]:
    found = find_labels(frames, name, data)
    missing = [p for p, each in enumerate(found) if each is None]
    if missing and not partial:
        key = getattr(data, f"{name}_key")
        mend = MISSING[name] if any(found) else _mend(frames, name, key)
        frames.refuse(missing, f"no {name} (looked for {key or ' or '.join(KEYS[name])})", mend)
    values = [
        np.full(SHAPES[name](len(atoms)), np.nan) if each is None else each.value
        for each, atoms in zip(found, frames.atoms, strict=True)
    ]
    wrong = [p for p, e in enumerate(found) if e is not None and not np.isfinite(e.value).all()]
    frames.refuse(wrong, f"{name} is NaN or infinite")
    return values


def _mend(frames: Frames, name: str, key: str | None) -> str:
    """What to do where no frame has a label."""
    if name == "stress" and not any(map(has_volume, frames.atoms)):
        return "; a stress needs a cell of three independent vectors"
    near = suggestions(frames.atoms, name, key)
    if near:
        return f"; {name}_key may be {' or '.join(near)}"
    return "" if name == "energy" else f"; or go without (loss.{name}: 0)"


def make_samples(frames: Frames, model: ForceFieldConfig, labels: Labels) -> list[Sample]:
    """Graphs, whose neighbours are sought here once, and labels.

    What acts on the structures from outside is read as far as the model reads it.

    Raises:
        ValueError: naming a frame that holds an unknown element or is under conditions that the
            model cannot answer for.
    """
    frame = Environment(model)
    samples = []
    for place, atoms in enumerate(frames.atoms):
        with frames.naming(place):
            graph = seen_graph(atoms, model, frame)
        targets = {name: _target(name, values[place]) for name, values in labels.items()}
        name = f"{frames.source} {frames.names([place])}"
        samples.append(Sample(graph, Targets(**targets), name))
    return samples


def seen_graph(atoms: ase.Atoms, model: ForceFieldConfig, frame: Environment) -> AtomicGraph:
    """The graph of a structure under the conditions in its `info` that the model reads.

    Args:
        frame: that of the model.

    Raises:
        ValueError: for an unknown element, or conditions that the model cannot answer for.
    """
    conditions = model.environment.seen(Conditions.of(atoms.info))
    frame.check(conditions)
    return AtomicGraph.from_atoms(
        atoms,
        model.cutoff,
        model.elements,
        conditions=conditions,
        surfaces=model.environment.surfaces,
    )


def unread_conditions(frames: Frames, model: ForceFieldConfig) -> list[str]:
    """Keys of conditions that some frames name and the model does not read."""
    plane = model.environment.plane_origin is not None
    read = dict(zip(CONDITIONS, (model.environment.field, plane, plane), strict=True))
    named = {
        key
        for atoms in frames.atoms
        for key, value, absent in zip(
            CONDITIONS, Conditions.of(atoms.info), Conditions(), strict=True
        )
        if value not in (absent, VACUUM)
    }
    return [key for key in CONDITIONS if key in named and not read[key]]


def _target(name: str, value: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(value if name == "forces" else value[None])


def system_key(atoms: ase.Atoms) -> tuple[bytes, ...]:
    """Equal for frames of the same atoms in the same cell and under the same conditions."""
    cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
    field, origin, surface = Conditions.of(atoms.info)
    lengths = (np.round(each, 6) + 0.0 for each in (cell, field, origin or ()))
    numbers = (atoms.numbers, atoms.pbc, *lengths)
    return (*(each.tobytes() for each in numbers), str(surface).encode())


def structure_key(atoms: ase.Atoms) -> tuple[bytes, ...]:
    """Equal for frames of one system with the same positions."""
    return (*system_key(atoms), (np.round(atoms.positions, 5) + 0.0).tobytes())


def systems(frames: Frames) -> list[list[int]]:
    """Places of the frames of each system (:func:`system_key`), the largest systems first."""
    found: dict[tuple[bytes, ...], list[int]] = {}
    for place, atoms in enumerate(frames.atoms):
        found.setdefault(system_key(atoms), []).append(place)
    return sorted(found.values(), key=len, reverse=True)


def config_types(frames: Frames) -> list[str]:
    """The config_type of each frame, "none" where it has none; empty if no frame has one."""
    kinds = [atoms.info.get("config_type") for atoms in frames.atoms]
    return ["none" if kind is None else str(kind) for kind in kinds] if any(kinds) else []


def elements_of(frames: Frames) -> tuple[str, ...]:
    """The elements of all frames, by atomic number."""
    found = {symbol for atoms in frames.atoms for symbol in atoms.symbols}
    return tuple(sorted(found, key=atomic_numbers.__getitem__))
