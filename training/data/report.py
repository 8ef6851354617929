"""What a set of structures and labels looks like, for the eyes of its owner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..config import DataConfig
from .baselines import atomic_energies, compositions
from .batches import Sample
from .labels import Label
from .structures import Frames, elements_of, find_labels, structure_key
from .targets import Targets

UNITS = {"energy": "eV per atom", "forces": "eV/Å", "stress": "eV/Å^3"}
SAME = {"energy": 1e-3, "forces": 1e-2, "stress": 1e-3}  # how far labels of one structure agree
FAR_OUT = 10.0  # standard deviations, as the median deviation tells them
MOST_OUT = 0.05  # of the frames; more of them are no outliers


@dataclass(frozen=True)
class Found:
    """One kind of label in a set of frames.

    Attributes:
        keys: what the frames call it, and how many do so.
        rms, largest: over its components, in eV/Å or eV/Å^3; for the energy, over what is left per
            atom (eV) after a fit of the compositions.
        where: the frame of the largest.
    """

    keys: dict[str, int]
    rms: float
    largest: float
    where: str


@dataclass(frozen=True)
class Report:
    """What was found in a set of frames.

    Attributes:
        frames: how many there are.
        atoms: least and most atoms of a frame.
        elements: atoms of each element, in all frames.
        periodic: frames that are periodic in 0, 1, 2 or 3 directions.
        labels: by name, as far as there are any.
        shortest: the shortest distance (Å), and where it is; None if it was not looked for.
        notes: what may be wrong: labels overruled, structures repeated, outliers.
    """

    frames: int
    atoms: tuple[int, int]
    elements: dict[str, int]
    periodic: dict[int, int]
    labels: dict[str, Found]
    shortest: tuple[float, str] | None
    notes: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """Some lines for the user."""
        elements = ", ".join(f"{element} {count}" for element, count in self.elements.items())
        kinds = (
            f"{n} {f'periodic in {directions}' if directions else 'without periodic'} directions"
            for directions, n in self.periodic.items()
        )
        sizes = " to ".join(map(str, sorted(set(self.atoms))))
        lines = [f"{sizes} atoms in a structure ({elements}); {', '.join(kinds)}"]
        for name, found in self.labels.items():
            keys = ", ".join(f"{key}, {n} of {self.frames}" for key, n in found.keys.items())
            what = " from a fit of the compositions" if name == "energy" else ""
            lines.append(
                f"{name}: {keys}; rms {found.rms:.3g}, largest {found.largest:.3g} "
                f"{UNITS[name]}{what} ({found.where})"
            )
        if self.shortest is not None:
            lines.append(f"shortest distance {self.shortest[0]:.3g} Å ({self.shortest[1]})")
        return (*lines, *(f"note: {note}" for note in self.notes))


def describe(
    frames: Frames,
    data: DataConfig,
    names: Collection[str] = Targets._fields,
    samples: Sequence[Sample] = (),
    valid: Frames | None = None,
) -> Report:
    """Looks at a set of frames, in a time proportional to its size.

    Args:
        frames: structures, without the isolated atoms.
        data: names of the labels.
        names: which labels to look for.
        samples: the frames with their neighbours, for the shortest distance.
        valid: structures that should not be among `frames`.

    Raises:
        ValueError: naming a frame with a label that is misshapen or not made of numbers.
    """
    labels = {name: find_labels(frames, name, data) for name in names}
    labels = {name: found for name, found in labels.items() if any(found)}
    parts = {name: _components(frames, name, found) for name, found in labels.items()}
    elements, sizes = elements_of(frames), [len(atoms) for atoms in frames.atoms]
    counts = compositions(frames, elements).sum(0)
    periodic = Counter(int(atoms.pbc.sum()) for atoms in frames.atoms)
    return Report(
        frames=len(sizes),
        atoms=(min(sizes), max(sizes)),
        elements={element: int(n) for element, n in zip(elements, counts, strict=True)},
        periodic=dict(sorted(periodic.items())),
        labels={name: _found(frames, found, parts[name]) for name, found in labels.items()},
        shortest=_shortest(frames, samples),
        notes=(
            *_single(frames),
            *_overruled(labels),
            *_repeated(frames, labels, valid),
            *(note for name in parts for note in _outliers(frames, name, parts[name])),
        ),
    )


def _components(frames: Frames, name: str, found: list[Label | None]) -> dict[int, np.ndarray]:
    """Components of a label by the place of its frame."""
    values = {place: each.value for place, each in enumerate(found) if each is not None}
    if name != "energy":
        return {place: value.ravel() for place, value in values.items()}
    labelled = frames.pick(list(values))
    elements = elements_of(labelled)
    counts = compositions(labelled, elements)
    fitted, _ = atomic_energies(counts, list(values.values()), elements, {})
    left = np.array(list(values.values())) - counts @ np.array(list(fitted.values()))
    return dict(zip(values, (left / counts.sum(1))[:, None], strict=True))


def _found(frames: Frames, found: list[Label | None], parts: dict[int, np.ndarray]) -> Found:
    largest = {place: float(abs(part).max()) for place, part in parts.items()}
    where = max(largest, key=largest.__getitem__)
    return Found(
        keys=dict(Counter(each.key for each in found if each is not None)),
        rms=float(np.sqrt(np.mean(np.concatenate(list(parts.values())) ** 2))),
        largest=largest[where],
        where=frames.names([where]),
    )


def _shortest(frames: Frames, samples: Sequence[Sample]) -> tuple[float, str] | None:
    shortest = None
    for place, sample in enumerate(samples):
        lengths = sample.graph.vectors().norm(dim=1)
        if len(lengths) and (shortest is None or lengths.min() < shortest[0]):
            receiver, sender = sample.graph.edge_index[:, lengths.argmin()].tolist()
            symbols = frames.atoms[place].symbols
            pair = f"{symbols[receiver]}-{symbols[sender]}, {frames.names([place])}"
            shortest = lengths.min().item(), pair
    return shortest


def _single(frames: Frames) -> Iterator[str]:
    alone = [p for p, a in enumerate(frames.atoms) if len(a) == 1 and not a.pbc.any()]
    if alone:
        yield (
            f"single atoms, whose energies a network cannot change: {frames.names(alone)}; to take "
            "them as E0s mark them config_type=IsolatedAtom"
        )


def _overruled(labels: Mapping[str, list[Label | None]]) -> Iterator[str]:
    for found in labels.values():
        keys = Counter(each.key for each in found if each is not None and each.overrules)
        for key, count in keys.items():
            yield f"{key} is taken, though the frame's own result differs, in {count} frames"


def _repeated(
    frames: Frames, labels: Mapping[str, list[Label | None]], valid: Frames | None
) -> Iterator[str]:
    first: dict[tuple[bytes, ...], int] = {}
    again, contradicted = [], []
    for place, atoms in enumerate(frames.atoms):
        before = first.setdefault(structure_key(atoms), place)
        if before != place:
            again.append(place)
            pairs = {name: (found[before], found[place]) for name, found in labels.items()}
            if any(_differ(name, pair, len(atoms)) for name, pair in pairs.items()):
                contradicted.append(place)
    if again:
        yield f"{len(again)} structures occur before ({frames.names(again)})"
    if contradicted:
        yield f"{len(contradicted)} of them have other labels there ({frames.names(contradicted)})"
    shared = [p for p, a in enumerate(valid.atoms) if structure_key(a) in first] if valid else []
    if valid and shared:
        yield (
            f"{len(shared)} validation structures are in the training set too "
            f"({valid.names(shared)} of {valid.source}), so validation errors come out too small"
        )


def _differ(name: str, pair: tuple[Label | None, Label | None], n_atoms: int) -> bool:
    one, other = pair
    if one is None or other is None:
        return False
    limit = SAME[name] * (n_atoms if name == "energy" else 1)
    return bool(abs(one.value - other.value).max() > limit)


def _outliers(frames: Frames, name: str, parts: dict[int, np.ndarray]) -> Iterator[str]:
    if name == "stress":
        return
    sizes = np.array(
        [part.item() if name == "energy" else abs(part).max() for part in parts.values()]
    )
    deviations = abs(sizes - np.median(sizes))
    limit = FAR_OUT * 1.4826 * np.median(deviations)  # 1.4826: from the median to the standard one
    out = [place for place, far in zip(parts, deviations > limit, strict=True) if far]
    if limit > 0 and 0 < len(out) <= MOST_OUT * len(sizes):
        what = "energy" if name == "energy" else "largest force"
        yield f"far from all others: {what} in {frames.names(out)}"
