"""Training steps that are compiled or replayed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sikff.engines import (
    Backend,
    NotReplayableError,
    Replay,
    compiled_by_torch,
    flattened,
)
from sikff.engines.padding import Room, Rows, padded
from sikff.engines.static import Slopes, energies_and_slopes, not_replayed
from sikff.forcefield import ForceField, Prediction
from sikff.forcefield.energy import stresses, total
from sikff.graph import AtomicGraph

from ..data.batches import Sample


class CompiledTraining:
    """A force field compiled for batches, whose predictions can be differentiated by the weights.

    The first call compiles, for minutes with the default backend; weights may change after it, in
    place. Of replayed steps each prediction is differentiated once, before the next.
    Every batch is padded to the same size, so this pays for structures of similar size.

    Args:
        model: the force field.
        room: for the largest batch.
        backend: of ``torch.compile``; None: steps are replayed, see
            :class:`~sikff.engines.replay.Replay`, which needs no compiler.
    """

    def __init__(self, model: ForceField, room: Room, backend: Backend | None = "inductor") -> None:
        self.model, self.room, self.backend = model, room, backend
        self._functions: dict[bool, Callable[..., Slopes]] = {}  # without and with stress
        self._can = True

    def __call__(self, graph: AtomicGraph, forces: bool = True, stress: bool = False) -> Prediction:
        """As the force field in training mode, and by itself where steps cannot be replayed.

        Raises:
            RuntimeError: if torch cannot compile on this machine.
        """
        if not self._can:
            return self.model(graph, forces, stress)
        parts = padded(graph, Rows.of(graph), self.room, self.model.cutoff)
        if stress not in self._functions:
            try:
                self._functions[stress] = self._prepared(parts, stress)
            except NotReplayableError as error:
                warnings.warn(not_replayed(error), stacklevel=2)
                self._can = False
                return self.model(graph, forces, stress)
        energies, slopes, *strain_slopes = self._functions[stress](*parts.values())
        energies = energies[: graph.n_atoms]
        return Prediction(
            total(energies, graph),
            energies,
            -slopes[: graph.n_atoms] if forces else None,
            stresses(strain_slopes[0][: graph.n_graphs], graph.cell) if stress else None,
        )

    def _prepared(self, parts: Mapping[str, Tensor], stress: bool) -> Callable[..., Slopes]:
        names, tensors = [*parts], [*parts.values()]
        function = energies_and_slopes(self.model, parts, names, self.room, stress, again=True)
        if self.backend is not None:
            flat = flattened(function, tensors, again=True)
            return compiled_by_torch(flat, tensors, self.backend)
        weights = [weight for weight in self.model.parameters() if weight.requires_grad]
        return Replay(function, tensors, weights)


def room_for(samples: Sequence[Sample], structures: int) -> tuple[Room, float]:
    """Room for any batch of so many of the samples, and how much of it neighbours fill on average.

    Args:
        samples: structures.
        structures: in a batch.
    """
    sizes = torch.tensor([sample.graph.n_atoms for sample in samples])
    neighbours = torch.tensor([sample.graph.n_edges for sample in samples]).double().mean().item()
    degree = max(Rows.of(sample.graph).longest for sample in samples)
    largest = int(sizes.sort(descending=True).values[:structures].sum())
    room = Room(structures, largest + 1, max(degree, 1))
    return room, structures * neighbours / (room.atoms * room.neighbours)
