"""What training minimises."""

from __future__ import annotations

import torch
from torch import Tensor

from ..config import LossConfig
from ..evaluation.metrics import Errors


def loss(
    found: Errors,
    config: LossConfig,
    structures: float,
    atoms: float,
    weights: Tensor | None = None,
    batch: Tensor | None = None,
) -> Tensor:
    """Weighted sum of the mean loss of energies per atom, force and stress components.

    Means are sums over what was found, divided by the numbers of `structures` and `atoms`, so that
    the parts of a batch on several processes have the mean of the whole as their mean. What has no
    label counts as right.

    Args:
        weights: [B], by how much each structure counts; None: all alike.
        batch: [N], the structure of each atom.
    """
    of_atoms = None if weights is None else weights[batch]
    counted = Errors(weights, of_atoms, weights)
    sizes = {"energy": structures, "forces": 3 * atoms, "stress": 9 * structures}
    terms = []
    for name in Errors._fields:
        weight, error = getattr(config, name), getattr(found, name)
        if weight:
            summed = _summed_loss(error, config, getattr(counted, name))
            terms.append(weight * summed / sizes[name])
    return torch.stack(terms).sum()


def _summed_loss(error: Tensor, config: LossConfig, weights: Tensor | None) -> Tensor:
    """Sum over rows [n, ...] of errors, each counted by its weight [n]; None: all once."""
    if config.kind == "mse":
        each = error.square()
    else:
        zero, delta = torch.zeros_like(error), config.delta
        each = torch.nn.functional.huber_loss(error, zero, delta=delta, reduction="none") / delta
    if weights is None:
        return each.sum()
    return weights.to(each.dtype) @ each.reshape(len(each), -1).sum(dim=1)
