"""A report on structures and their labels, for the user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from .check_electrons import describe_electrons
from .check_labels import doubts
from .data_statistics import atomic_energies, compositions
from .label_weights import FROZEN, LeftOut
from .labels import NAMES, suggestions
from .structures import Structure, Structures
from .survey import Survey
from .unread_keys import unread_keys

UNITS = {"energy": "eV per atom", "forces": "eV/Å", "stress": "eV/Å^3"}
SAME = {"energy": 1e-3, "forces": 1e-2, "stress": 1e-3}  # how far labels of one structure agree
FAR_OUT = 10.0  # standard deviations, estimated from the median deviation
MOST_SEARCHED = 50  # structures without a label, for one of another name
MOST_OUT = 0.05  # of the structures; more of them are no outliers


def describe(
    structures: Structures, survey: Survey | None = None, valid: Structures | None = None
) -> list[str]:
    """Describes structures, in a time proportional to their number.

    Args:
        structures: with labels, without the isolated atoms.
        survey: of their graphs, for the shortest distance.
        valid: structures that should not be among `structures`.

    Returns:
        Lines on sizes, elements and periodicity, on charges and spins, on each label (energies: the
        residuals per atom of a fit of the compositions), on the shortest distance, and notes on
        possible mistakes.
    """
    labels: list[str] = []
    outliers: list[str] = []
    for name in structures.label_names:
        labelled = structures.having(name)
        components = _components(labelled, name)
        largest = [float(abs(each).max()) for each in components]
        labels.append(_label_line(labelled, name, components, largest, len(structures)))
        if name != "stress":
            sizes = np.concatenate(components) if name == "energy" else np.array(largest)
            outliers += _outliers(labelled, name, sizes)
    notes = (*_single(structures), *_overruling(structures), *doubts(structures))
    notes = (*notes, *_repeated(structures, valid), *unread_keys(structures))
    return [
        _contents(structures),
        *describe_electrons(structures),
        *labels,
        *([] if survey is None else _shortest(structures, survey)),
        *(f"note: {note}" for note in (*notes, *outliers)),
    ]


def describe_left_out(structures: Structures) -> list[str]:
    """Describes the labels that do not count, and why, and those that only some structures have."""
    total, lines = len(structures), []
    by_reason: dict[str, list[list[LeftOut]]] = {}  # of each structure
    for structure in structures:
        for why in dict.fromkeys(each.why for each in structure.left_out):
            by_reason.setdefault(why, []).append([o for o in structure.left_out if o.why == why])
    for why, cases in by_reason.items():
        every = [left_out for case in cases for left_out in case]
        components = sum(left_out.components or 0 for left_out in every)
        names = [name for name in NAMES if any(name == left_out.label for left_out in every)]
        what = f"{components} force components" if components else " and ".join(names)
        reason = f"of weight 0 ({why})"
        if why == FROZEN:
            reason = "that are zero on atoms held by constraints"
        lines.append(f"{what} {reason} in {len(cases)} of {total} structures: left out")
    for name in ("energy", "forces"):
        lacking = [
            index
            for index, each in enumerate(structures)
            if name not in each.labels and all(name != out.label for out in each.left_out)
        ]
        if 0 < len(lacking) < total:
            some = structures.select(lacking)
            where = some.names(range(len(some)))
            near = suggestions(some.atoms[:MOST_SEARCHED], name, getattr(structures.keys, name))
            called = f"; it may be called {' or '.join(near)} there" if near else ""
            line = f"no {name} in {len(lacking)} of {total} structures ({where}): left out"
            lines.append(line + called)
    unused = [index for index, structure in enumerate(structures) if not structure.labels]
    if unused:
        lines.append(f"without any label that counts, so not used: {structures.names(unused)}")
    return lines


def _contents(structures: Structures) -> str:
    """Sizes of the structures, atoms of each element and numbers of periodic directions."""
    sizes = [len(structure.numbers) for structure in structures]
    counts = compositions(structures, structures.elements).sum(0)
    pairs = zip(structures.elements, counts, strict=True)
    elements = ", ".join(f"{element} {count:.0f}" for element, count in pairs)
    periodic = Counter(int(atoms.pbc.sum()) for atoms in structures.atoms)
    kinds = (
        f"{n} {f'periodic in {directions}' if directions else 'without periodic'} directions"
        for directions, n in sorted(periodic.items())
    )
    shown = " to ".join(map(str, sorted({min(sizes), max(sizes)})))
    return f"{shown} atoms in a structure ({elements}); {', '.join(kinds)}"


def _components(labelled: Structures, name: str) -> list[np.ndarray]:
    """The components of a label of each structure; of energies, the residual per atom (eV)."""
    values = labelled.values(name)
    if name != "energy":
        return [value[~np.isnan(value)] for value in values]
    elements = labelled.elements
    counts = compositions(labelled, elements)
    weights = np.array([structure.labels[name].weight for structure in labelled])
    fitted, _ = atomic_energies(counts, values, elements, {}, weights)
    residual = np.array(values) - counts @ np.array(list(fitted.values()))
    return list((residual / counts.sum(1))[:, None])


def _label_line(
    labelled: Structures, name: str, components: list[np.ndarray], largest: list[float], total: int
) -> str:
    """The keys of a label, in how many of all structures, and the size of its components."""
    keys = Counter(structure.labels[name].key for structure in labelled)
    found = ", ".join(f"{key}, {n} of {total}" for key, n in keys.items())
    rms = np.sqrt(np.mean(np.concatenate(components) ** 2))
    index = int(np.argmax(largest))
    what = " from a fit of the compositions" if name == "energy" else ""
    weights = np.concatenate([np.ravel(structure.labels[name].weight) for structure in labelled])
    counting = weights[weights > 0]
    least, most, weighted = float(counting.min()), float(counting.max()), ""
    if (least, most) != (1.0, 1.0):
        weighted = f"; weights {least:.3g} to {most:.3g}"
    return (
        f"{name}: {found}; rms {rms:.3g}, largest {largest[index]:.3g} {UNITS[name]}{what} "
        f"({labelled.names([index])}){weighted}"
    )


def _shortest(structures: Structures, survey: Survey) -> Iterator[str]:
    if survey.closest is not None:
        length, index, pair = survey.closest
        symbols = structures[index].atoms.symbols[pair]
        where = f"{'-'.join(symbols)}, {structures.names([index])}"
        yield f"shortest distance {length:.3g} Å ({where})"


def _single(structures: Structures) -> Iterator[str]:
    single = [index for index, each in enumerate(structures) if len(each.numbers) == 1]
    alone = [index for index in single if not structures[index].atoms.pbc.any()]
    if alone:
        yield (
            "single atoms, whose energies a network cannot change: "
            f"{structures.names(alone)}; to take them as E0s mark them config_type=IsolatedAtom"
        )


def _overruling(structures: Structures) -> Iterator[str]:
    labels = (label for structure in structures for label in structure.labels.values())
    for key, count in Counter(
        label.key for label in labels if label.differs_from_calculator
    ).items():
        yield f"{key} is taken, though the structure's own result differs, in {count} structures"


def _repeated(structures: Structures, valid: Structures | None) -> Iterator[str]:
    first: dict[bytes, Structure] = {}
    again, contradicted = [], []
    for index, structure in enumerate(structures):
        before = first.setdefault(structure.key, structure)
        if before is not structure:
            again.append(index)
            if _contradict(before, structure):
                contradicted.append(index)
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
        limit = SAME[name] * (len(one.numbers) if name == "energy" else 1)
        if (abs(one.value(name) - other.value(name)) > limit).any():  # not if one is NaN
            return True
    return False


def _outliers(labelled: Structures, name: str, sizes: np.ndarray) -> Iterator[str]:
    deviations = abs(sizes - np.median(sizes))
    limit = FAR_OUT * 1.4826 * np.median(deviations)  # 1.4826: from median to standard deviation
    out = np.flatnonzero(deviations > limit).tolist()
    if limit > 0 and 0 < len(out) <= MOST_OUT * len(sizes):
        what = "energy" if name == "energy" else "largest force"
        yield f"far from all others: {what} in {labelled.names(out)}"
