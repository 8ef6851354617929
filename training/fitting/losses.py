"""The loss that training minimises."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import LossConfig
from ..evaluation.metrics import Errors


def loss(
    errors: Errors,
    config: LossConfig,
    structures: float,
    atoms: float,
    weights: Tensor | None = None,
    batch: Tensor | None = None,
) -> Tensor:
    """Weighted sum of the mean loss of energies per atom, force and stress components.

    Means are sums over the errors divided by the numbers of `structures` and `atoms`, so that the
    losses of the parts of a batch on several processes average to that of the batch. Predictions
    without labels have no error.

    Args:
        errors: of a batch, or of a part of it.
        structures, atoms: sizes of the whole, per process.
        weights: [B], factor of each structure; None: all 1.
        batch: [N], the structure of each atom.
    """
    atom_weights = None if weights is None else weights[batch]
    factors = Errors(weights, atom_weights, weights)
    sizes = {"energy": structures, "forces": 3 * atoms, "stress": 9 * structures}
    terms = []
    for name in Errors._fields:
        weight, error = getattr(config, name), getattr(errors, name)
        if weight:
            summed = _summed_loss(error, config, getattr(factors, name))
            terms.append(weight * summed / sizes[name])
    return torch.stack(terms).sum()


def _summed_loss(error: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Sum over rows [n, ...] of errors, each times its weight [n]; None: all 1."""
    if config.kind == "mse":
        each = error.square()
    else:
        zero, delta = torch.zeros_like(error), config.delta
        each = torch.nn.functional.huber_loss(error, zero, delta=delta, reduction="none") / delta
    if weights is None:
        return each.sum()
    return weights.to(each.dtype) @ each.reshape(len(each), -1).sum(dim=1)
