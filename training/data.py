"""From files of labelled structures to samples: graphs with their labels."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import ase
import ase.io
import numpy as np
import torch
from ase.data import atomic_numbers
from ase.stress import voigt_6_to_full_3x3_stress

from sikff.forcefield import ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.training.batches import Sample
from sikff.training.config import DataConfig
from sikff.training.losses import Targets

ISOLATED = "IsolatedAtom"
SHOWN = 8  # frame numbers listed in an error


@dataclass(frozen=True)
class Frames:
    """Structures of one source; frame numbers count from 0 within `source`."""

    source: str
    atoms: list[ase.Atoms]
    numbers: list[int]

    def pick(self, places: Sequence[int]) -> Frames:
        """The frames at these places."""
        return Frames(
            self.source, [self.atoms[p] for p in places], [self.numbers[p] for p in places]
        )

    def refuse(self, places: Sequence[int], what: str) -> None:
        """Raises a ValueError that names the frames at these places, if there are any."""
        if places:
            shown = ", ".join(str(self.numbers[p]) for p in places[:SHOWN])
            more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
            raise ValueError(
                f"{self.source}: {what} in frame{'s'[: len(places) > 1]} {shown}{more}"
            )


def read_frames(paths: Path | Sequence[Path]) -> Frames:
    """All structures of the files, in order.

    Raises:
        FileNotFoundError, ValueError: if a file is missing, unreadable or empty.
    """
    paths = (paths,) if isinstance(paths, str | Path) else tuple(paths)
    found: list[ase.Atoms] = []
    for path in paths:
        if not Path(path).is_file():
            raise FileNotFoundError(f"no data file {str(path)!r}")
        try:
            frames = ase.io.read(path, index=":")
        except Exception as error:  # readers of ASE raise anything
            raise ValueError(f"ASE cannot read {str(path)!r} ({error!r})") from error
        if not frames:
            raise ValueError(f"{str(path)!r} holds no structures")
        found.extend(frames)
    return Frames(" + ".join(map(str, paths)), found, list(range(len(found))))


def split_isolated(frames: Frames) -> tuple[Frames, Frames]:
    """(structures to train on, frames with config_type=IsolatedAtom)."""
    isolated = [a.info.get("config_type") == ISOLATED for a in frames.atoms]
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
    """The label `name` ("energy", "forces" or "stress"), float64, or None if there is none.

    It is looked for under `key`, or else under REF_<name>, then among the frame's own results,
    where ASE puts what a file calls energy, forces or stress, and then under its plain name.
    """
    results = atoms.calc.results if atoms.calc is not None else {}
    places = (atoms.info, atoms.arrays, results)
    for each in (key,) if key else (f"REF_{name}", name):
        for place in reversed(places) if each == name else places:
            if place.get(each) is not None:
                return _shaped(np.asarray(place[each], dtype=np.float64), name, len(atoms))
    return None


def _shaped(value: np.ndarray, name: str, n_atoms: int) -> np.ndarray:
    if name == "stress" and value.shape == (6,):
        return voigt_6_to_full_3x3_stress(value)
    shapes = {"energy": (), "forces": (n_atoms, 3), "stress": (3, 3)}
    if value.size != np.prod(shapes[name]):
        raise ValueError(f"{name} has shape {value.shape}; expected {shapes[name]}")
    return value.reshape(shapes[name])


def make_samples(
    frames: Frames, model: ForceFieldConfig, data: DataConfig, names: Collection[str]
) -> list[Sample]:
    """Graphs, whose neighbours are sought here once, and the labels called `names`.

    Raises:
        ValueError: naming the frames that lack a label, hold NaN or an unknown element, or have
            no electric field although the model reads it.
    """
    if model.frame.field:
        lacking = [p for p, a in enumerate(frames.atoms) if "electric_field" not in a.info]
        frames.refuse(lacking, "model.frame.field is true but there is no electric_field")
    columns = {name: _column(frames, name, getattr(data, f"{name}_key")) for name in names}
    samples = []
    for place, atoms in enumerate(frames.atoms):
        try:
            graph = AtomicGraph.from_atoms(atoms, model.cutoff, model.elements)
        except ValueError as error:
            frames.refuse([place], str(error))
            raise
        labels = {name: column[place] for name, column in columns.items()}
        name = f"{frames.source} frame {frames.numbers[place]}"
        samples.append(Sample(graph, Targets(**labels), name))
    return samples


def _column(frames: Frames, name: str, key: str | None) -> list[torch.Tensor]:
    values, missing, wrong = [], [], []
    for place, atoms in enumerate(frames.atoms):
        try:
            value = label(atoms, name, key)
        except ValueError as error:
            frames.refuse([place], str(error))
            raise
        if value is None:
            missing.append(place)
        elif not np.isfinite(value).all():
            wrong.append(place)
        else:
            values.append(torch.from_numpy(value if name == "forces" else value[None]))
    frames.refuse(missing, f"no {name} (looked for {key or f'REF_{name} or {name}'})")
    frames.refuse(wrong, f"{name} is NaN or infinite")
    return values


def elements_of(frames: Frames) -> tuple[str, ...]:
    """The elements of all frames, by atomic number."""
    found = {symbol for atoms in frames.atoms for symbol in atoms.symbols}
    return tuple(sorted(found, key=atomic_numbers.__getitem__))
