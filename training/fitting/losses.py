"""The loss that training minimises."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import LossConfig
from ..data.batches import Sizes, Weights
from ..evaluation.metrics import Errors


def loss(
    errors: Errors, config: LossConfig, sizes: Sizes, weights: Weights | None = None
) -> Tensor:
    """Weighted sum of the mean loss of energies per atom, force and stress components.

    Means are sums over the errors divided by `sizes`, numbers of components with labels, so that
    the losses of the parts of a batch on several processes average to that of the batch, and so
    that structures without a label change nothing (:class:`~sikff.training.data.batches.Batch`).
    Predictions without labels have no error. Weights of labels multiply their loss; `sizes` do not
    depend on them. A term whose size is 0, as nothing has its label, is left out.

    Args:
        errors: of a batch, or of a part of it.
        sizes: of the whole, per process.
        weights: of the labels; None: all 1.
    """
    terms = []
    for name in Errors._fields:
        weight, error, size = (getattr(each, name) for each in (config, errors, sizes))
        if weight and size:
            factor = None if weights is None else getattr(weights, name)
            terms.append(weight * _summed_loss(error, config, factor) / size)
    return torch.stack(terms).sum()


def _summed_loss(error: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Sum over errors [n, ...], each row or each component times its weight; None: all 1."""
    if config.kind == "mse":
        each = error.square()
    else:
        zero, delta = torch.zeros_like(error), config.delta
        each = torch.nn.functional.huber_loss(error, zero, delta=delta, reduction="none") / delta
    if weights is None:
        return each.sum()
    weights = weights.to(each.dtype)
    if weights.shape == each.shape and each.dim() > 1:
        return (weights * each).sum()
    return weights @ each.reshape(len(each), -1).sum(dim=1)
