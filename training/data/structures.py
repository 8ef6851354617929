"""Records of structures: atoms, conditions, labels, config_type and weight, each read once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import blake2b
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols

from sikff.graph import check_finite, has_volume
from sikff.graph.conditions import Conditions

from .label_weights import LeftOut, has_weights_of_atoms, weigh
from .labels import KEYS, NAMES, SHAPES, USUAL_KEYS, Label, LabelKeys, find_label, suggestions

ISOLATED = ("IsolatedAtom", "isolated_atom")
MISSING = dict.fromkeys(KEYS, "; give it to all structures or leave these out")
MISSING["forces"] += ", or go without forces (loss.forces: 0)"
SHOWN = 8  # structure numbers listed in an error


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure, and the values read from its `info`, arrays and calculator.

    Attributes:
        held: the atoms, or what reads them whenever they are asked for.
        numbers: [N] atomic numbers.
        number: counted from 0 within its source.
        conditions: the field and the surface that act on it, its charge and its spin.
        labels: by "energy", "forces" and "stress", as far as there are any that count.
        left_out: what of its labels does not count.
        weight: in the loss, of its config_type.
    """

    held: ase.Atoms | Callable[[], ase.Atoms]
    numbers: np.ndarray
    number: int
    conditions: Conditions
    config_type: str | None
    labels: Mapping[str, Label] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    weight: float = 1.0

    @classmethod
    def of(
        cls, atoms: ase.Atoms, number: int, read: Callable[[], ase.Atoms] | None = None
    ) -> Structure:
        """Reads the conditions and the config_type of a structure.

        Args:
            read: reads the same atoms again, which are then not kept.

        Raises:
            ValueError: if it has no atoms, atoms without an element, positions that are not finite,
                or conditions of another kind, such as a field that is not three numbers.
        """
        if not len(atoms):
            raise ValueError("no atoms")
        if not atoms.numbers.all():
            raise ValueError("atoms without an element (X)")
        check_finite(atoms)
        kind = atoms.info.get("config_type")
        conditions = Conditions.of(atoms.info)
        return cls(
            read or atoms, atoms.numbers, number, conditions, None if kind is None else str(kind)
        )

    @property
    def atoms(self) -> ase.Atoms:
        return self.held() if callable(self.held) else self.held

    def with_labels(
        self, keys: LabelKeys, names: Collection[str] = NAMES, weighted: bool = True
    ) -> Structure:
        """This structure with its labels, see :meth:`Structures.with_labels`."""
        labels: dict[str, Label] = {}
        left_out: list[LeftOut] = []
        atoms = self.atoms
        for name in names:
            label = find_label(atoms, name, getattr(keys, name))
            if label is not None and weighted:
                label, more = weigh(atoms, name, label, keys.forces_weight)
                left_out += more
            if label is not None:
                labels[name] = label
        return replace(self, labels=labels, left_out=tuple(left_out))

    def with_weight(self, weights: Mapping[str, float]) -> Structure:
        """This structure weighted by its config_type, see :meth:`Structures.with_weights`."""
        return replace(self, weight=weights.get(self.config_type or "", 1.0))

    def value(self, name: str) -> np.ndarray:
        """The label `name` in eV, eV/Å or eV/Å^3; NaN where there is none that counts."""
        if name in self.labels:
            return self.labels[name].value
        return np.full(SHAPES[name](len(self.numbers)), np.nan)

    @cached_property
    def system_key(self) -> bytes:
        """Equal for structures of the same atoms in the same cell under the same conditions."""
        atoms, (electric_field, origin, *others) = self.atoms, self.conditions
        cell = np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
        lengths = (np.round(each, 6) + 0.0 for each in (cell, electric_field, origin or ()))
        numbers = (atoms.numbers, atoms.pbc, *lengths)
        return _digest(*(each.tobytes() for each in numbers), str(others).encode())

    @cached_property
    def key(self) -> bytes:
        """Equal for structures of one system with the same positions."""
        return _digest(self.system_key, (np.round(self.atoms.positions, 5) + 0.0).tobytes())


def _digest(*parts: bytes) -> bytes:
    """A short hash of several values, since keys of many structures are in memory."""
    digest = blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.digest()


@dataclass(frozen=True, eq=False)
class Structures:
    """The structures of one source, such as a file.

    Attributes:
        source: its name in errors.
        records: the structures, to which indices refer.
        keys: the keys of their labels.
    """

    source: str
    records: Sequence[Structure]
    keys: LabelKeys = USUAL_KEYS

    @classmethod
    def of(cls, atoms: Structures | Iterable[ase.Atoms], source: str = "structures") -> Structures:
        """Reads structures (:meth:`Structure.of`), numbered in their order.

        Raises:
            ValueError: naming the structure that cannot be used.
        """
        if isinstance(atoms, Structures):
            return atoms
        records = []
        for number, each in enumerate(atoms):
            with named(source, number):
                records.append(Structure.of(each, number))
        return cls(source, records)

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Structure]:
        return iter(self.records)

    def __getitem__(self, index: int) -> Structure:
        return self.records[index]

    @property
    def atoms(self) -> Sequence[ase.Atoms]:
        return [structure.atoms for structure in self.records]

    @property
    def elements(self) -> tuple[str, ...]:
        """The elements that occur, by atomic number."""
        numbers = {number for each in self.records for number in each.numbers.tolist()}
        return tuple(chemical_symbols[number] for number in sorted(numbers))

    def select(self, indices: Iterable[int]) -> Structures:
        """The structures at these indices."""
        return replace(self, records=[self.records[index] for index in indices])

    def groups(self, key: Callable[[Structure], Hashable]) -> list[Structures]:
        """The structures of each value of a key, the largest groups first."""
        groups: dict[Hashable, list[Structure]] = {}
        for structure in self.records:
            groups.setdefault(key(structure), []).append(structure)
        by_size = sorted(groups.values(), key=len, reverse=True)
        return [replace(self, records=records) for records in by_size]

    def having(self, *names: str) -> Structures:
        """The structures that have all these labels ("energy", "forces", "stress")."""
        pairs = enumerate(self.records)
        return self.select(p for p, each in pairs if each.labels.keys() >= {*names})

    def names(self, indices: Sequence[int]) -> str:
        """The numbers of the structures at these indices, in words."""
        shown = ", ".join(str(self.records[index].number) for index in indices[:SHOWN])
        more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
        return f"structure{'s'[: len(indices) > 1]} {shown}{more}"

    def raise_for(self, indices: Sequence[int], problem: str, remedy: str = "") -> None:
        """Raises a ValueError that names the structures at these indices, if there are any."""
        if indices:
            raise ValueError(f"{self.source}: {problem} in {self.names(indices)}{remedy}")

    @contextmanager
    def naming(self, index: int) -> Iterator[None]:
        """Adds the name of the structure at this index to a ValueError raised inside."""
        with named(self.source, self.records[index].number):
            yield

    def with_info(self, values: Mapping[str, Any]) -> Structures:
        """Copies of these structures with values in their info, which are conditions of theirs.

        Raises:
            ValueError: naming a structure that has another value under another name.
        """
        records = []
        for index, structure in enumerate(self.records):
            atoms = structure.atoms.copy()
            atoms.calc = structure.atoms.calc
            atoms.info |= values
            with self.naming(index):
                records.append(replace(structure, held=atoms, conditions=Conditions.of(atoms.info)))
        return replace(self, records=records)

    def with_labels(
        self, keys: LabelKeys, names: Collection[str] = NAMES, weighted: bool = True
    ) -> Structures:
        """These structures with their labels called `names`, as far as they have them.

        Args:
            weighted: read the weights of the labels, and leave out what does not count
                (:func:`~sikff.training.data.label_weights.weigh`).

        Raises:
            ValueError: naming a structure with a label or a weight that is misshapen or not made of
                numbers.
        """
        records = []
        for index, structure in enumerate(self.records):
            with self.naming(index):
                records.append(structure.with_labels(keys, names, weighted))
        return replace(self, records=records, keys=keys)

    def with_weights(self, weights: Mapping[str, float]) -> Structures:
        """These structures weighted by their config_type; 1 if it is not among the weights."""
        return replace(self, records=[each.with_weight(weights) for each in self.records])

    @property
    def label_names(self) -> tuple[str, ...]:
        """Which of "energy", "forces" and "stress" any structure has."""
        return tuple(n for n in NAMES if any(n in structure.labels for structure in self.records))

    def values(self, name: str) -> list[np.ndarray]:
        """The label `name` of each structure (:meth:`Structure.value`)."""
        return [structure.value(name) for structure in self.records]

    def check_labels_complete(self, names: Iterable[str], partial: Collection[str] = ()) -> None:
        """Checks that each structure has these labels, except those in `partial`, all finite.

        Raises:
            ValueError: naming the structures that lack a label, or whose label is not finite.
        """
        for name in names:
            missing = [p for p, each in enumerate(self.records) if name not in each.labels]
            if name not in partial:
                self._raise_missing(name, missing)
            labelled = self.having(name)
            wrong = [p for p, each in enumerate(labelled) if not each.labels[name].is_finite]
            labelled.raise_for(wrong, f"{name} is NaN or infinite")

    def check_labels_given(self, names: Iterable[str]) -> None:
        """Raises ValueError naming structures without these labels; they may have weight 0."""
        for name in names:
            known = [each.labels.keys() | {out.label for out in each.left_out} for each in self]
            self._raise_missing(name, [p for p, each in enumerate(known) if name not in each])

    def check_weight_key(self) -> None:
        """Raises ValueError if weights of atoms have a key that no structure has."""
        key = self.keys.forces_weight
        if key is not None and not any(has_weights_of_atoms(atoms, key) for atoms in self.atoms):
            raise ValueError(f"{self.source}: no structure has {key} (forces_weight_key)")

    def _raise_missing(self, name: str, indices: Sequence[int]) -> None:
        """Raises ValueError naming structures that lack a label, if there are any."""
        if not indices:
            return
        left_out = {each.why for p in indices for each in self[p].left_out if each.label == name}
        why = f"looked for {getattr(self.keys, name) or ' or '.join(KEYS[name])}"
        if left_out:
            why += f"; left out by {', '.join(sorted(left_out))}"
        mend = MISSING[name] if len(indices) < len(self) else self._how_to_label(name)
        mend = "; expected some with a weight above 0" if left_out else mend
        self.raise_for(indices, f"no {name} ({why})", mend)

    def _how_to_label(self, name: str) -> str:
        """Advice if no structure has a label."""
        if name == "stress" and not any(map(has_volume, self.atoms)):
            return "; a stress needs a cell of three independent vectors"
        near = suggestions(self.atoms, name, getattr(self.keys, name))
        if near:
            return f"; {name}_key may be {' or '.join(near)}"
        return f"; or go without (loss.{name}: 0)"


@contextmanager
def named(source: str, number: int) -> Iterator[None]:
    """Adds the name of a structure to a ValueError raised inside."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{source}, structure {number}: {error}") from error


def split_isolated(structures: Structures) -> tuple[Structures, Structures]:
    """(structures to train on, those with config_type=IsolatedAtom).

    Raises:
        ValueError: if the first of the two would be empty.
    """
    isolated = np.array([structure.config_type in ISOLATED for structure in structures], dtype=bool)
    if isolated.all():
        what = "isolated atoms only" if len(isolated) else "no structures"
        raise ValueError(f"{structures.source}: {what}; expected structures")
    return structures.select(np.flatnonzero(~isolated)), structures.select(np.flatnonzero(isolated))


def split_validation(
    structures: Structures, valid: float | int, seed: int
) -> tuple[Structures, Structures]:
    """(training, validation) structures, drawn at random by the seed.

    Raises:
        ValueError: if one of the two would be empty.
    """
    total = len(structures)
    count = valid if isinstance(valid, int) else max(1, round(valid * total))
    if count >= total:
        raise ValueError(
            f"{structures.source}: {count} of {total} structures for validation leaves none"
        )
    order = np.random.default_rng(seed).permutation(total)
    return structures.select(sorted(order[count:])), structures.select(sorted(order[:count]))
