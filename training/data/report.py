"""A report on structures and their labels, for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .baselines import atomic_energies, compositions
from .batches import Sample
from .structures import Structure, Structures

UNITS = {"energy": "eV per atom", "forces": "eV/Å", "stress": "eV/Å^3"}
SAME = {"energy": 1e-3, "forces": 1e-2, "stress": 1e-3}  # how far labels of one structure agree
FAR_OUT = 10.0  # standard deviations, estimated from the median deviation
MOST_OUT = 0.05  # of the structures; more of them are no outliers


@dataclass(frozen=True)
class LabelReport:
    """One kind of label in a set of structures.

    Attributes:
        keys: the keys under which it was found, and in how many structures.
        rms, largest: over its components, in eV/Å or eV/Å^3; for the energy, over the residuals
            per atom (eV) of a fit of the compositions.
        where: the structure of the largest.
    """

    keys: dict[str, int]
    rms: float
    largest: float
    where: str


@dataclass(frozen=True)
class Report:
    """What a set of structures holds.

    Attributes:
        structures: how many there are.
        atoms: least and most atoms of a structure.
        elements: atoms of each element, in all structures.
        periodic: number of structures that are periodic in 0, 1, 2 or 3 directions.
        labels: by name, as far as there are any.
        shortest: the shortest distance (Å), and where it is; None without samples.
        notes: possible mistakes: labels overruled, structures repeated, outliers.
    """

    structures: int
    atoms: tuple[int, int]
    elements: dict[str, int]
    periodic: dict[int, int]
    labels: dict[str, LabelReport]
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
        for name, label in self.labels.items():
            keys = ", ".join(f"{key}, {n} of {self.structures}" for key, n in label.keys.items())
            what = " from a fit of the compositions" if name == "energy" else ""
            lines.append(
                f"{name}: {keys}; rms {label.rms:.3g}, largest {label.largest:.3g} "
                f"{UNITS[name]}{what} ({label.where})"
            )
        if self.shortest is not None:
            lines.append(f"shortest distance {self.shortest[0]:.3g} Å ({self.shortest[1]})")
        return (*lines, *(f"note: {note}" for note in self.notes))


def describe(
    structures: Structures, samples: Sequence[Sample] = (), valid: Structures | None = None
) -> Report:
    """Describes structures, in a time proportional to their number.

    Args:
        structures: with labels, without the isolated atoms.
        samples: the structures with their neighbours, for the shortest distance.
        valid: structures that should not be among `structures`.
    """
    sizes = [len(atoms) for atoms in structures.atoms]
    elements = structures.elements
    counts = compositions(structures, elements).sum(0)
    periodic = Counter(int(atoms.pbc.sum()) for atoms in structures.atoms)
    labelled = {name: structures.having(name) for name in structures.label_names}
    components = {name: _components(having, name) for name, having in labelled.items()}
    return Report(
        structures=len(structures),
        atoms=(min(sizes), max(sizes)),
        elements={element: int(n) for element, n in zip(elements, counts, strict=True)},
        periodic=dict(sorted(periodic.items())),
        labels={n: _label_report(having, n, components[n]) for n, having in labelled.items()},
        shortest=_shortest(structures, samples),
        notes=(
            *_single(structures),
            *_overruling(structures),
            *_repeated(structures, valid),
            *(
                note
                for n, having in labelled.items()
                for note in _outliers(having, n, components[n])
            ),
        ),
    )


def _components(labelled: Structures, name: str) -> list[np.ndarray]:
    """The components of a label of each structure; of energies, the residual per atom (eV)."""
    values = labelled.values(name)
    if name != "energy":
        return [value.ravel() for value in values]
    elements = labelled.elements
    counts = compositions(labelled, elements)
    fitted, _ = atomic_energies(counts, values, elements, {})
    residual = np.array(values) - counts @ np.array(list(fitted.values()))
    return list((residual / counts.sum(1))[:, None])


def _label_report(labelled: Structures, name: str, components: list[np.ndarray]) -> LabelReport:
    largest = [float(abs(each).max()) for each in components]
    place = int(np.argmax(largest))
    return LabelReport(
        keys=dict(Counter(structure.labels[name].key for structure in labelled)),
        rms=float(np.sqrt(np.mean(np.concatenate(components) ** 2))),
        largest=largest[place],
        where=labelled.names([place]),
    )


def _shortest(structures: Structures, samples: Sequence[Sample]) -> tuple[float, str] | None:
    shortest = None
    for place, sample in enumerate(samples):
        lengths = sample.graph.vectors().norm(dim=1)
        if len(lengths) and (shortest is None or lengths.min() < shortest[0]):
            receiver, sender = sample.graph.edge_index[:, lengths.argmin()].tolist()
            symbols = structures[place].atoms.symbols
            pair = f"{symbols[receiver]}-{symbols[sender]}, {structures.names([place])}"
            shortest = lengths.min().item(), pair
    return shortest


def _single(structures: Structures) -> Iterator[str]:
    pairs = enumerate(structures.atoms)
    alone = [place for place, atoms in pairs if len(atoms) == 1 and not atoms.pbc.any()]
    if alone:
        yield (
            "single atoms, whose energies a network cannot change: "
            f"{structures.names(alone)}; to take them as E0s mark them config_type=IsolatedAtom"
        )


def _overruling(structures: Structures) -> Iterator[str]:
    labels = (label for structure in structures for label in structure.labels.values())
    for key, count in Counter(label.key for label in labels if label.overrules).items():
        yield (f"{key} is taken, though the structure's own result differs, in {count} structures")


def _repeated(structures: Structures, valid: Structures | None) -> Iterator[str]:
    first: dict[tuple[bytes, ...], Structure] = {}
    again, contradicted = [], []
    for place, structure in enumerate(structures):
        before = first.setdefault(structure.key, structure)
        if before is not structure:
            again.append(place)
            if _contradict(before, structure):
                contradicted.append(place)
    if again:
        yield f"{len(again)} structures occur before ({structures.names(again)})"
    if contradicted:
        where = structures.names(contradicted)
        yield f"{len(contradicted)} of them have other labels there ({where})"
    shared = [p for p, each in enumerate(valid) if each.key in first] if valid else []
    if valid and shared:
        yield (
            f"{len(shared)} validation structures are in the training set too "
            f"({valid.names(shared)} of {valid.source}), so validation errors come out too small"
        )


def _contradict(one: Structure, other: Structure) -> bool:
    """Whether labels that both have differ."""
    for name in one.labels.keys() & other.labels.keys():
        limit = SAME[name] * (len(one.atoms) if name == "energy" else 1)
        if abs(one.value(name) - other.value(name)).max() > limit:
            return True
    return False


def _outliers(labelled: Structures, name: str, components: list[np.ndarray]) -> Iterator[str]:
    if name == "stress":
        return
    sizes = np.array([e.item() if name == "energy" else abs(e).max() for e in components])
    deviations = abs(sizes - np.median(sizes))
    limit = FAR_OUT * 1.4826 * np.median(deviations)  # 1.4826: from median to standard deviation
    out = np.flatnonzero(deviations > limit).tolist()
    if limit > 0 and 0 < len(out) <= MOST_OUT * len(sizes):
        what = "energy" if name == "energy" else "largest force"
        yield f"far from all others: {what} in {labelled.names(out)}"
