"""Targets (labels as tensors), samples, and the batches that models read."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.engines.padding import EdgeRows
from sikff.graph import AtomicGraph


class Targets(NamedTuple):
    """Labels of B structures of N atoms in all; None for those not needed.

    Where there is no label, or one that does not count, there is NaN instead.
    """

    energy: Tensor | None = None  # [B] eV, float64
    forces: Tensor | None = None  # [N, 3] eV/Å
    stress: Tensor | None = None  # [B, 3, 3] eV/Å^3


class Weights(NamedTuple):
    """Weights of labels in the loss, float64."""

    energy: Tensor  # [B]
    forces: Tensor  # [N], or [N, 3]
    stress: Tensor  # [B]


class Sizes(NamedTuple):
    """Numbers of components of labels, by which sums of the loss are divided to become means."""

    energy: float
    forces: float
    stress: float


@dataclass(frozen=True)
class Sample:
    """One structure as a graph, with its labels."""

    graph: AtomicGraph
    targets: Targets
    name: str  # its source and number
    weight: float = 1.0  # in the loss, of its config_type
    config_type: str | None = None
    weights: Weights | None = None  # of its labels, in addition; None: all 1


class Counts(NamedTuple):
    """What is known of S samples without making them."""

    atoms: np.ndarray  # [S]
    edges: np.ndarray  # [S]
    neighbours: np.ndarray  # [S] the largest number of an atom
    labels: np.ndarray  # [S, 3] components of energy, forces and stress that have labels
    weighted: np.ndarray  # [S] bool: weights that are not 1

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Counts:
        """Counts samples, one after another."""
        return cls.joined([cls.row(sample) for sample in samples])

    @staticmethod
    def row(sample: Sample) -> tuple[int, ...]:
        """The numbers of one sample, in the order of the fields."""
        graph = sample.graph
        most = int(EdgeRows.of(graph).most)
        weighted = sample.weight != 1.0 or sample.weights is not None
        return graph.n_atoms, graph.n_edges, most, *_labels(sample), int(weighted)

    @classmethod
    def joined(cls, rows: Sequence[tuple[int, ...]]) -> Counts:
        """The counts of rows, those of one sample each."""
        table = np.array(rows, dtype=np.int64).reshape(len(rows), 7)
        atoms, edges, neighbours = table[:, :3].T
        return cls(atoms, edges, neighbours, table[:, 3:6], table[:, 6].astype(bool))


class CountedSamples(Sequence[Sample]):
    """Samples that are made whenever they are asked for, and what they count."""

    counts: Counts


class JoinedSamples(CountedSamples):
    """Samples that are made whenever they are asked for, and some in memory after them."""

    def __init__(self, first: CountedSamples, second: Sequence[Sample]) -> None:
        self._first, self._second = first, second
        pairs = zip(first.counts, Counts.of(second), strict=True)
        self.counts = Counts(*(np.concatenate(pair) for pair in pairs))

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        beyond = number - len(self._first)
        return self._first[number] if beyond < 0 else self._second[beyond]


class Graphs(Sequence[AtomicGraph]):
    """The graphs of samples, each taken when it is asked for."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: Any) -> Any:
        return self._samples[index].graph


class Batch(NamedTuple):
    """Structures of one training step, or the share of one process.

    `sizes` are those of the full batch divided by the number of processes: sums over a share
    divided by these average, over the processes, to means over the batch. They are infinite for a
    process without a share: its dummy graph then contributes zero loss.

    Where labels are missing, `sizes` are expected numbers: all components of the batch, times the
    fraction of them that have labels in the whole set. So a label counts the same in every batch,
    whatever labels the others in it have, and over an epoch a term of the loss is the mean over
    the labels there are.
    """

    graph: AtomicGraph
    targets: Targets
    names: tuple[str, ...]
    sizes: Sizes
    weights: Weights | None  # None: all 1


@dataclass
class Batches:
    """Iterates over batches of samples held in memory; the order depends on the epoch."""

    samples: Sequence[Sample]
    batch_size: int  # structures in a batch, over all processes; the last may be smaller
    seed: int | None = None  # of the orders; None: always as given
    rank: int = 0  # index among the processes that share every batch
    processes: int = 1
    epoch: int = 0

    def __post_init__(self) -> None:
        self._atoms, self._weighted = count_atoms(self.samples), _is_weighted(self.samples)
        counted, total = count_labels(self.samples), _count_components(self._atoms)
        self._labelled = Sizes(*(n / max(m, 1.0) for n, m in zip(counted, total, strict=True)))

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch, which with the seed determines the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        return self.between(self.epoch * len(self), len(self))

    def between(self, first: int, count: int) -> Iterator[Batch]:
        """So many batches from a number on, counted from 0 over all epochs."""
        order = self._order(first // len(self))
        for number in range(first, first + count):
            epoch, index = divmod(number, len(self))
            if not index:
                order = self._order(epoch)
            chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
            yield self._batch(chosen)

    def _order(self, epoch: int) -> np.ndarray:
        order = np.arange(len(self.samples))
        if self.seed is not None:
            np.random.default_rng((self.seed, epoch)).shuffle(order)
        return order

    def _batch(self, chosen: np.ndarray) -> Batch:
        share = [self.samples[k] for k in chosen[self.rank :: self.processes]]
        sizes = Sizes(math.inf, math.inf, math.inf)
        if share:
            components = _count_components(self._atoms[chosen], self.processes)
            pairs = zip(components, self._labelled, strict=True)
            sizes = Sizes(*(size * fraction for size, fraction in pairs))
        names = tuple(sample.name for sample in share)
        share = share or [self.samples[chosen[0]]]  # a dummy
        graph, targets = collate(share)
        weights = _join_weights(share) if self._weighted else None
        return Batch(graph, targets, names, sizes, weights)


def prefetched(batches: Iterable[Batch], prepare: Callable[[Batch], Batch]) -> Iterator[Batch]:
    """The same batches; the next one is made and prepared by a thread while one is used."""
    following = map(prepare, batches)
    with ThreadPoolExecutor(max_workers=1) as pool:
        ahead = pool.submit(next, following, None)
        while (batch := ahead.result()) is not None:
            ahead = pool.submit(next, following, None)
            yield batch


def change_tensors(batch: Batch, change: Callable[[Tensor], Tensor]) -> Batch:
    """The batch with all its tensors changed, such as moved to a device."""
    graph, targets, weights = batch.graph, batch.targets, batch.weights
    names = [entry.name for entry in dataclasses.fields(graph)]
    return batch._replace(
        graph=dataclasses.replace(graph, **{name: change(getattr(graph, name)) for name in names}),
        targets=Targets._make(None if each is None else change(each) for each in targets),
        weights=None if weights is None else Weights._make(map(change, weights)),
    )


def collate(samples: Sequence[Sample]) -> tuple[AtomicGraph, Targets]:
    """Joins samples into one graph and its labels."""
    columns = zip(*(sample.targets for sample in samples), strict=True)
    targets = Targets(*(None if column[0] is None else torch.cat(column) for column in columns))
    return AtomicGraph.batch_of([sample.graph for sample in samples]), targets


def without_edges(graph: AtomicGraph) -> AtomicGraph:
    """The graph without edges, most of its memory."""
    edges = {"edge_index": graph.edge_index[:, :0].clone(), "shifts": graph.shifts[:0].clone()}
    return dataclasses.replace(graph, **edges)


def tensors_of(sample: Sample) -> list[Tensor]:
    """All tensors of a sample: those of its graph, targets and weights."""
    tensors = (*vars(sample.graph).values(), *sample.targets, *(sample.weights or ()))
    return [tensor for tensor in tensors if tensor is not None]


def update_digest(digest: hashlib._Hash, sample: Sample) -> None:
    """Adds a sample to a hash, in which the last digits of float64 do not matter."""
    tensors = vars(sample.graph)
    if not (tensors["charge"].any() or tensors["unpaired"].any()):
        # as before graphs had them, so that runs of older versions go on
        tensors = {k: t for k, t in tensors.items() if k not in ("charge", "unpaired")}
    for tensor in (*tensors.values(), *sample.targets, *(sample.weights or ())):
        if tensor is not None:
            rounded = tensor.float() if tensor.is_floating_point() else tensor
            digest.update(rounded.numpy().tobytes())


def with_energy(samples: Sequence[Sample]) -> list[int]:
    """The indices of samples with an energy."""
    if isinstance(samples, CountedSamples):
        return np.flatnonzero(samples.counts.labels[:, 0]).tolist()
    return [index for index, sample in enumerate(samples) if _labels(sample)[0]]


def labelled(target: Tensor) -> Tensor:
    """Mask [n], bool: True for rows of a target with a label in some component."""
    return ~target.reshape(len(target), -1).isnan().all(dim=1)


def count_atoms(samples: Sequence[Sample]) -> np.ndarray:
    """The numbers of atoms [S]."""
    if isinstance(samples, CountedSamples):
        return samples.counts.atoms
    return np.array([sample.graph.n_atoms for sample in samples], dtype=np.int64)


def count_labels(samples: Sequence[Sample]) -> Sizes:
    """The numbers of components that have labels."""
    if isinstance(samples, CountedSamples):
        return Sizes(*map(float, samples.counts.labels.sum(axis=0)))
    counts = [0, 0, 0]
    for sample in samples:
        counts = [total + n for total, n in zip(counts, _labels(sample), strict=True)]
    return Sizes(*map(float, counts))


def _labels(sample: Sample) -> list[int]:
    """The numbers of components that have labels, of one sample."""
    return [
        0 if target is None else target.numel() - int(np.count_nonzero(np.isnan(target.numpy())))
        for target in sample.targets
    ]


def _is_weighted(samples: Sequence[Sample]) -> bool:
    """Whether any weight is not 1."""
    if isinstance(samples, CountedSamples):
        return bool(samples.counts.weighted.any())
    return any(s.weight != 1.0 or s.weights is not None for s in samples)


def _count_components(atoms: np.ndarray, processes: int = 1) -> Sizes:
    """The numbers of components with and without labels in structures, for each process."""
    structures, total = len(atoms) / processes, int(atoms.sum()) / processes
    return Sizes(structures, 3 * total, 9 * structures)


def _join_weights(samples: Sequence[Sample]) -> Weights:
    """The weights of the labels of samples, times those of their config_type."""
    weights = []
    for sample in samples:
        sizes = (1, sample.graph.n_atoms, 1)
        given = sample.weights or [torch.ones(size, dtype=torch.float64) for size in sizes]
        weights.append([sample.weight * each for each in given])
    energy, forces, stress = zip(*weights, strict=True)
    if any(each.dim() == 2 for each in forces):
        forces = tuple(each.reshape(len(each), -1).expand(-1, 3) for each in forces)
    return Weights(torch.cat(energy), torch.cat(forces), torch.cat(stress))
