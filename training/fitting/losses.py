"""The loss that training minimises, and which of its terms dominates before training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sikff.engines import Evaluator
from sikff.forcefield import ForceField

from ..config import LossConfig
from ..data.batches import Batch, Batches, Sample, Sizes, Weights
from ..evaluation.metrics import Errors, errors

SAMPLED = 32  # structures whose loss is described, at most
ATOMS = 1000  # in them, about


def loss(
    errors: Errors,
    config: LossConfig,
    sizes: Sizes,
    weights: Weights | None = None,
    rate: float = 0.0,
) -> Tensor:
    """Weighted sum of the mean loss of energies per atom, force and stress components.

    It is the sum of its terms (:func:`terms`).
    """
    return torch.stack([*terms(errors, config, sizes, weights, rate).values()]).sum()


def terms(
    errors: Errors,
    config: LossConfig,
    sizes: Sizes,
    weights: Weights | None = None,
    rate: float = 0.0,
) -> dict[str, Tensor]:
    """The terms of the loss, by the names of their labels.

    Means are sums over the errors divided by `sizes`, numbers of components with labels, so that
    the losses of the parts of a batch on several processes average to that of the batch, and so
    that structures without a label change nothing (:class:`~sikff.training.data.batches.Batch`).
    Predictions without labels have no error. Weights of labels multiply their loss; `sizes` do not
    depend on them. A term whose size is 0, as nothing has its label, is left out.

    Args:
        errors: of a batch, or of a part of it.
        sizes: of the whole, per process.
        weights: of the labels; None: all 1.
        rate: learning rate as a fraction of its largest, on which weights may depend; 0: those at
            the end of a run, by which models of all its epochs compare.
    """
    found = {}
    for name in Errors._fields:
        term = config.term(name, rate)
        error, size = (getattr(each, name) for each in (errors, sizes))
        if term.weight and size and error is not None:
            factor = None if weights is None else getattr(weights, name)
            total = _summed_loss(error, config.kind, term.delta, factor)
            found[name] = term.weight * total / size
    return found


def _summed_loss(error: Tensor, kind: str, delta: float, weights: Tensor | None) -> Tensor:
    """Sum over errors [n, ...], each row or each component times its weight; None: all 1."""
    if kind == "mse":
        each = error.square()
    else:
        zero = torch.zeros_like(error)
        each = torch.nn.functional.huber_loss(error, zero, delta=delta, reduction="none") / delta
    if weights is None:
        return each.sum()
    weights = weights.to(each.dtype)
    if weights.shape == each.shape and each.dim() > 1:
        return (weights * each).sum()
    return weights @ each.reshape(len(each), -1).sum(dim=1)


def errors_of(model: Evaluator, batch: Batch) -> Errors:
    """Errors of the predictions that have labels."""
    graph, targets = batch.graph, batch.targets
    prediction = model(graph, forces=targets.forces is not None, stress=targets.stress is not None)
    return errors(prediction, targets, graph)


@torch.no_grad()
def describe_loss(model: ForceField, samples: Sequence[Sample], config: LossConfig) -> str:
    """Describes which terms dominate the loss of a model, with the first and the last weights.

    Args:
        samples: training structures, some of which are evaluated.
    """
    chosen: list[Sample] = []
    for sample in samples[:: -(-len(samples) // SAMPLED)]:
        if sum(each.graph.n_atoms for each in chosen) < ATOMS:
            chosen.append(sample)
    training = model.training
    model.eval()
    (batch,) = Batches(chosen, len(chosen))
    found = errors_of(model, batch)
    model.train(training)
    first, last = (
        _shares(terms(found, config, batch.sizes, batch.weights, rate), config, rate)
        for rate in (1.0, 0.0)
    )
    same = all(config.term(name, 1.0) == config.term(name) for name in Errors._fields)
    return f"loss at the start: {first}" + ("" if same else f"; with its last weights: {last}")


def _shares(found: dict[str, Tensor], config: LossConfig, rate: float) -> str:
    """The shares of terms in the loss, the largest first."""
    values = sorted(((float(value), name) for name, value in found.items()), reverse=True)
    total = sum(value for value, _ in values) or 1.0
    return ", ".join(
        f"{name} {value / total:.0%} (weight {config.term(name, rate).weight:g})"
        for value, name in values
    )
