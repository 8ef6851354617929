"""Samples, and the batches in which models see them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph import AtomicGraph

from .targets import Targets


@dataclass(frozen=True)
class Sample:
    """One structure as a graph, with its labels, where it comes from, and how much it counts."""

    graph: AtomicGraph
    targets: Targets
    name: str
    weight: float = 1.0


class Batch(NamedTuple):
    """Structures of one step of training, or one process's part of them.

    `structures` and `atoms` are the size of the whole batch for each process that shares it: sums
    over the part divided by these average, over the processes, to means over the whole. They are
    infinite if nothing was left for this process and the graph only keeps it busy.
    """

    graph: AtomicGraph
    targets: Targets
    names: tuple[str, ...]
    structures: float
    atoms: float
    weights: Tensor | None  # [B], by how much structures count; None: all alike


class Batches:
    """Iterates over batches of samples held in memory; each epoch has its own order.

    Args:
        samples: what to batch.
        batch_size: structures in a batch, over all processes; the last may be smaller.
        seed: of the orders; None: always as given.
        rank, processes: which of how many processes this is; they share every batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        batch_size: int,
        seed: int | None = None,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        self.samples, self.batch_size, self.seed = samples, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch = 0
        self._weighted = any(sample.weight != 1.0 for sample in samples)

    def __len__(self) -> int:
        return -(-len(self.samples) // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Chooses the order; a resumed run goes on with the order it would have had."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        order = np.arange(len(self.samples))
        if self.seed is not None:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for start in range(0, len(order), self.batch_size):
            yield self._batch([self.samples[k] for k in order[start : start + self.batch_size]])

    def _batch(self, whole: Sequence[Sample]) -> Batch:
        part = whole[self.rank :: self.processes]
        structures, atoms = math.inf, math.inf
        if part:
            structures = len(whole) / self.processes
            atoms = sum(sample.graph.n_atoms for sample in whole) / self.processes
        graph, targets = collate(part or whole[:1])
        names = tuple(sample.name for sample in part)
        weights = None
        if self._weighted:
            counts = [sample.weight for sample in part or whole[:1]]
            weights = torch.tensor(counts, dtype=torch.float64)
        return Batch(graph, targets, names, structures, atoms, weights)


def collate(samples: Sequence[Sample]) -> tuple[AtomicGraph, Targets]:
    """One graph and its labels from several."""
    columns = zip(*(sample.targets for sample in samples), strict=True)
    targets = Targets(*(None if column[0] is None else torch.cat(column) for column in columns))
    return AtomicGraph.batch_of([sample.graph for sample in samples]), targets
