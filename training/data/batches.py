"""Targets (labels as tensors), samples, and the batches that models read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph import AtomicGraph


class Targets(NamedTuple):
    """Labels of B structures of N atoms in all; None for those not needed.

    A structure that lacks a label has NaN instead.
    """

    energy: Tensor | None = None  # [B] eV, float64
    forces: Tensor | None = None  # [N, 3] eV/Å
    stress: Tensor | None = None  # [B, 3, 3] eV/Å^3


@dataclass(frozen=True)
class Sample:
    """One structure as a graph, with its labels."""

    graph: AtomicGraph
    targets: Targets
    name: str  # its source and number
    weight: float = 1.0  # how much it counts in the loss
    config_type: str | None = None


class Batch(NamedTuple):
    """Structures of one step of training, or the share of one process.

    `structures` and `atoms` are the sizes of the whole batch divided by the number of processes:
    sums over a share divided by these average, over the processes, to means over the batch. They
    are infinite for a process without a share: its dummy graph then contributes zero loss.
    """

    graph: AtomicGraph
    targets: Targets
    names: tuple[str, ...]
    structures: float
    atoms: float
    weights: Tensor | None  # [B], how much each structure counts; None: all alike


class Batches:
    """Iterates over batches of samples held in memory; each epoch has its own order.

    Args:
        samples: the samples.
        batch_size: structures in a batch, over all processes; the last may be smaller.
        seed: of the orders; None: always as given.
        rank, processes: index and number of the processes that share every batch.
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
        """Sets the epoch, which with the seed determines the order."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[Batch]:
        order = np.arange(len(self.samples))
        if self.seed is not None:
            np.random.default_rng((self.seed, self.epoch)).shuffle(order)
        for start in range(0, len(order), self.batch_size):
            yield self._batch([self.samples[k] for k in order[start : start + self.batch_size]])

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        share = samples[self.rank :: self.processes]
        structures, atoms = math.inf, math.inf
        if share:
            structures = len(samples) / self.processes
            atoms = sum(sample.graph.n_atoms for sample in samples) / self.processes
        names = tuple(sample.name for sample in share)
        share = share or samples[:1]  # a dummy
        graph, targets = collate(share)
        weights = None
        if self._weighted:
            weights = torch.tensor([sample.weight for sample in share], dtype=torch.float64)
        return Batch(graph, targets, names, structures, atoms, weights)


def collate(samples: Sequence[Sample]) -> tuple[AtomicGraph, Targets]:
    """Joins samples into one graph and its labels."""
    columns = zip(*(sample.targets for sample in samples), strict=True)
    targets = Targets(*(None if column[0] is None else torch.cat(column) for column in columns))
    return AtomicGraph.batch_of([sample.graph for sample in samples]), targets


def labelled(target: Tensor) -> Tensor:
    """Which of n rows have a label, bool [n]."""
    return ~target.reshape(len(target), -1).isnan().any(dim=1)
