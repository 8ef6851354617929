"""Training steps in fixed shapes, replayed or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

import torch

from sikff.engines import Auto, Capacity, Evaluator, Static, backend_for
from sikff.forcefield import ForceField
from sikff.forcefield.chunks import fits_in_one_chunk

from ..config import TrainConfig
from ..data.batches import CountedSamples, Counts, Sample
from ..data.dataset import Dataset

FILLED = 0.5  # fraction of a padded batch; where less is used, neither compiling nor replay pays


def uses_cuda(config: TrainConfig) -> bool:
    """Whether a run takes GPUs."""
    return torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"


def static_training(model: ForceField, capacity: Capacity, compile: bool) -> Evaluator:
    """The force field in training mode, evaluated in fixed shapes where operations allow it.

    The first call prepares it; compiling takes minutes. Weights may change after it, in place. Of
    replayed steps each prediction is differentiated once, before the next.

    Args:
        model: the force field.
        capacity: for the largest batch.
        compile: by ``torch.compile``, which needs a compiler, instead of replaying or, on a GPU,
            a CUDA graph.
    """
    backend = "inductor" if compile else backend_for(next(model.parameters()).device)
    return Auto(model, Static(model, capacity, backend, differentiable=True))


def capacity_for(samples: Sequence[Sample], structures: int) -> tuple[Capacity, float]:
    """The capacity for any batch, and which part of it neighbours fill on average.

    Args:
        samples: structures.
        structures: in a batch.
    """
    counts = samples.counts if isinstance(samples, CountedSamples) else Counts.of(samples)
    atoms, neighbours = counts.atoms.tolist(), counts.neighbours.tolist()
    capacity = Capacity.for_batches(atoms, neighbours, structures)
    edges = structures * int(counts.edges.sum()) / len(samples)
    return capacity, edges / (capacity.atoms * capacity.neighbours)


def choose_capacity(
    config: TrainConfig, dataset: Dataset, model: ForceField, report: Callable[[str], None]
) -> Capacity | None:
    """The capacity for any batch of a run with a batch size; None: steps are neither compiled nor
    replayed."""
    if not (config.compile or config.replay):
        return None
    size = cast(int, config.batch_size)
    capacity, filled = capacity_for(dataset.train, -(-size // config.devices))
    how = (
        f"for {capacity.atoms} atoms with {capacity.neighbours} neighbours each, of which batches "
        f"fill {filled:.0%} on average"
    )
    if config.compile:
        report(f"compiled {how}; the first step takes some minutes")
        if filled < FILLED:
            report("sizes differ so much that the run may be faster with compile: false")
        return capacity
    device = torch.device("cuda" if uses_cuda(config) else "cpu")
    slots = capacity.atoms * capacity.neighbours
    small = fits_in_one_chunk(slots, model.sender_bytes, device)
    if not small or filled < FILLED:
        return None
    report(f"steps are replayed {how}")
    return capacity
