"""Structures that several processes share: each owns some atoms and reads copies of others."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from sikff.graph import AtomicGraph


class Halo(ABC):
    """Copies of atoms that other processes own (ghosts), beside the atoms of this process.

    The first atoms of a graph are owned, the others are ghosts: senders of edges, never receivers.
    Before each layer ghosts get the features that their owners computed, so that a ghost needs no
    neighbours of its own, and one cutoff around the owned atoms is enough. All methods but `owned`
    are collective: every process calls them in the same order.

    Args:
        n_owned: number M of owned atoms among the N of the graph.
    """

    def __init__(self, n_owned: int) -> None:
        self.n_owned = n_owned

    @abstractmethod
    def spread(self, values: Tensor) -> Tensor:
        """Values of owned atoms [M, d] as those of all atoms [N, d]."""

    @abstractmethod
    def collect(self, values: Tensor) -> Tensor:
        """The adjoint: values of all atoms [N, d], those of ghosts added to their owners', [M, d].

        Gradients, and so forces, come home this way.
        """

    @abstractmethod
    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes, as a constant."""

    def refresh(self, features: Tensor) -> Tensor:
        """As :meth:`spread`, differentiable once."""
        result: Tensor = _Refresh.apply(features, self)
        return result

    def owned(self, graph: AtomicGraph) -> AtomicGraph:
        """The graph without atoms of others; its edges still count them."""
        names = ("positions", "species", "batch")
        return dataclasses.replace(
            graph, **{name: getattr(graph, name)[: self.n_owned] for name in names}
        )


class _Refresh(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, halo: Halo) -> Tensor:
        ctx.halo = halo
        return halo.spread(features)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return ctx.halo.collect(gradient), None
