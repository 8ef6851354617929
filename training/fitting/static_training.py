"""Training steps in fixed shapes, replayed or compiled."""

from __future__ import annotations

from collections.abc import Sequence

from sikff.engines import Auto, Capacity, Evaluator, Static
from sikff.forcefield import ForceField

from ..data.batches import Sample


def static_training(model: ForceField, capacity: Capacity, compile: bool) -> Evaluator:
    """The force field in training mode, evaluated in fixed shapes where operations allow it.

    The first call prepares it; compiling takes minutes. Weights may change after it, in place. Of
    replayed steps each prediction is differentiated once, before the next.

    Args:
        model: the force field.
        capacity: for the largest batch.
        compile: by ``torch.compile``, which needs a compiler, instead of replaying.
    """
    backend = "inductor" if compile else "replay"
    return Auto(model, Static(model, capacity, backend, differentiable=True))


def capacity_for(samples: Sequence[Sample], structures: int) -> tuple[Capacity, float]:
    """The capacity for any batch, and which part of it neighbours fill on average.

    Args:
        samples: structures.
        structures: in a batch.
    """
    graphs = [sample.graph for sample in samples]
    capacity = Capacity.for_batches(graphs, structures)
    edges = structures * sum(graph.n_edges for graph in graphs) / len(graphs)
    return capacity, edges / (capacity.atoms * capacity.neighbours)
