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
    weight: float = 1.0  # in the loss
    config_type: str | None = None


class Batch(NamedTuple):
    """Structures of one training step, or the share of one process.

    `structures` and `atoms` are the sizes of the full batch divided by the number of processes:
    sums over a share divided by these average, over the processes, to means over the batch. They
    are infinite for a process without a share: its dummy graph then contributes zero loss.
    """

    graph: AtomicGraph
    targets: Targets
    names: tuple[str, ...]
    structures: float
    atoms: float
    weights: Tensor | None  # [B], weight of each structure in the loss; None: all 1


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
        self._weighted = any(sample.weight != 1.0 for sample in self.samples)

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
    """Mask [n], bool: True for rows of a target that have a label."""
    return ~target.reshape(len(target), -1).isnan().any(dim=1)
