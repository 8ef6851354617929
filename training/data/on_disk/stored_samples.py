"""Structures and samples that are read from the disk whenever they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, overload

import ase
import numpy as np
from torch import Tensor

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import Environment

from ..batches import CountedSamples, Counts, Sample, tensors_of, update_digest
from ..labels import LabelKeys
from ..samples import make_graph, make_sample
from ..structures import Structure, Structures, named
from .record_file import RecordFile

OVERHEAD = 700  # bytes that a tensor takes beside its numbers


class Stored:
    """Reads a structure from a file of records when it is called."""

    __slots__ = ("index", "records")

    def __init__(self, records: RecordFile, index: int) -> None:
        self.records, self.index = records, index

    def __call__(self) -> ase.Atoms:
        return self.records[self.index]


class StoredAtoms(Sequence[ase.Atoms]):
    """The atoms of structures, each read when it is asked for."""

    def __init__(self, records: Sequence[Structure]) -> None:
        self._records = records

    def __len__(self) -> int:
        return len(self._records)

    @overload
    def __getitem__(self, index: int) -> ase.Atoms: ...
    @overload
    def __getitem__(self, index: slice) -> StoredAtoms: ...
    def __getitem__(self, index: int | slice) -> ase.Atoms | StoredAtoms:
        if isinstance(index, slice):
            return StoredAtoms(self._records[index])
        return self._records[index].atoms


class StoredStructures(Structures):
    """Structures whose atoms stay on the disk; labels and conditions are in memory."""

    @property
    def atoms(self) -> Sequence[ase.Atoms]:
        return StoredAtoms(self.records)

    @classmethod
    def read(cls, files: Sequence[RecordFile], source: str) -> StoredStructures:
        """Reads all structures of files, see :meth:`Structures.of`."""
        records: list[Structure] = []
        for file in files:
            for index in range(len(file)):
                number = len(records)
                with named(source, number):
                    structure = Structure.of(file[index], number, Stored(file, index))
                numbers = structure.numbers.astype(np.uint8)  # of which there are many
                records.append(replace(structure, numbers=numbers))
        return cls(source, records)


class Recipe(NamedTuple):
    """How structures become samples.

    Attributes:
        source: their name in errors.
        keys, read: of the labels that are read; `targets` are those that the loss needs.
        config_types: weights.
        model: the configuration that graphs are made for.
    """

    source: str
    keys: LabelKeys
    read: tuple[str, ...]
    targets: tuple[str, ...]
    config_types: Mapping[str, float]
    model: ForceFieldConfig


class Budget:
    """Memory that may still be filled, in bytes."""

    def __init__(self, left: float) -> None:
        self.left = left

    def take(self, size: int) -> bool:
        """Takes a part; False if less is left."""
        if size > self.left:
            return False
        self.left -= size
        return True


@dataclass(eq=False)
class StoredSamples(CountedSamples):
    """Samples made of files of records, of which as many stay in memory as a budget allows.

    Each sample is the one that :func:`~sikff.training.data.samples.make_samples` makes.

    Args:
        files: of records.
        places: [S, 3] int64; of each sample its file, its record there, and its number in errors.
        recipe: how they are made.
        budget: for samples that are kept; others are made again every time.
        counts: of the samples; None: :meth:`survey` counts them.
    """

    files: Sequence[RecordFile]
    places: np.ndarray
    recipe: Recipe
    budget: Budget
    counts: Counts | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self._kept: dict[int, Sample] = {}
        self.digest = ""

    @classmethod
    def of(cls, structures: Structures, recipe: Recipe, budget: Budget) -> StoredSamples:
        """Samples of structures that are stored."""
        held: list[Any] = [structure.held for structure in structures]
        files = list({id(each.records): each.records for each in held}.values())
        index = {id(file): number for number, file in enumerate(files)}
        rows = [
            (index[id(each.records)], each.index, structure.number)
            for each, structure in zip(held, structures, strict=True)
        ]
        return cls(files, np.array(rows, np.int64).reshape(len(rows), 3), recipe, budget)

    @cached_property
    def _environment(self) -> Environment:
        return Environment(self.recipe.model)

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        sample = self._kept.get(number)
        if sample is None:
            sample = self._make(number)
            if self.budget.take(memory_of(sample)):
                self._kept[number] = sample
        return sample

    def survey(self) -> Iterator[Sample]:
        """The samples, one after another; counts them, and sets `digest` of all.

        None is kept: meanwhile labels of all structures are in memory.
        """
        rows, digest = [], hashlib.sha256()
        for sample in map(self._make, range(len(self))):
            rows.append(Counts.row(sample))
            update_digest(digest, sample)
            yield sample
        self.counts, self.digest = Counts.joined(rows), digest.hexdigest()

    def _make(self, index: int) -> Sample:
        file, record, number = self.places[index].tolist()
        recipe = self.recipe
        with named(recipe.source, number):
            structure = Structure.of(self.files[file][record], number)
            structure = structure.with_labels(recipe.keys, recipe.read)
            structure = structure.with_weight(recipe.config_types)
            graph = make_graph(structure, recipe.model, self._environment)
        name = f"{recipe.source} structure {number}"
        return make_sample(structure, graph, name, recipe.targets)


def memory_of(sample: Sample) -> int:
    """Bytes that a sample takes, about."""
    tensors: list[Tensor] = tensors_of(sample)
    return sum(tensor.numel() * tensor.element_size() + OVERHEAD for tensor in tensors)
