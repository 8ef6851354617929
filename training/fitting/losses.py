"""What training minimises."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph

from ..config import LossConfig


class Targets(NamedTuple):
    """Labels of B structures of N atoms in all; None where they are not needed.

    A structure that lacks a label has NaN in its place.
    """

    energy: Tensor | None = None  # [B] eV, float64
    forces: Tensor | None = None  # [N, 3] eV/Å
    stress: Tensor | None = None  # [B, 3, 3] eV/Å^3


class Errors(NamedTuple):
    """Prediction - label; zero where there is no label."""

    energy: Tensor | None  # [B] eV per atom
    forces: Tensor | None  # [N, 3] eV/Å
    stress: Tensor | None  # [B, 3, 3] eV/Å^3


def labelled(target: Tensor) -> Tensor:
    """Which of n rows have a label, bool [n]."""
    return ~target.reshape(len(target), -1).isnan().any(dim=1)


def errors(prediction: Prediction, targets: Targets, graph: AtomicGraph) -> Errors:
    """Errors of everything that is predicted and has a label."""
    atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
    energy = _difference(prediction.energy, targets.energy)
    return Errors(
        None if energy is None else energy / atoms,
        _difference(prediction.forces, targets.forces),
        _difference(prediction.stress, targets.stress),
    )


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


def _difference(said: Tensor | None, true: Tensor | None) -> Tensor | None:
    if said is None or true is None:
        return None
    return torch.where(true.isnan(), 0.0, said - true)


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
