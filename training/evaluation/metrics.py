"""Errors of a model, in the usual units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph

from ..data.batches import Targets

_NAMES = {
    "energy": "energy_{}_mev_per_atom",
    "forces": "force_{}_mev_per_a",
    "stress": "stress_{}_mev_per_a3",
}


class Errors(NamedTuple):
    """Prediction - label; zero where there is no label."""

    energy: Tensor | None  # [B] eV per atom
    forces: Tensor | None  # [N, 3] eV/Å
    stress: Tensor | None  # [B, 3, 3] eV/Å^3


def errors(prediction: Prediction, targets: Targets, graph: AtomicGraph) -> Errors:
    """Errors of all predictions that have labels."""
    ones = torch.ones_like(graph.batch)  # not bincount, of which a GPU has to be waited for
    atoms = graph.batch.new_zeros(graph.n_graphs).index_add(0, graph.batch, ones)
    energy = _difference(prediction.energy, targets.energy)
    return Errors(
        None if energy is None else energy / atoms,
        _difference(prediction.forces, targets.forces),
        _difference(prediction.stress, targets.stress),
    )


class Metrics:
    """Collects errors batch by batch.

    Args:
        elements: of the model, for the force errors by element.

    Attributes:
        sums: [3 + elements, 3] float64, the state: (sum of absolute values, sum of squares, number)
            of the components of energy, forces, stress and the forces on each element. Those of
            several processes add up.
    """

    def __init__(self, elements: Sequence[str]) -> None:
        self.elements = elements
        self.sums = torch.zeros(len(_NAMES) + len(elements), 3, dtype=torch.float64)

    def update(
        self,
        batch_errors: Errors,
        targets: Targets,
        graph: AtomicGraph,
        structures: Tensor | None = None,
    ) -> None:
        """Adds the errors of one batch, or of some of its structures (bool [B])."""
        self.sums = self.sums.to(graph.species.device)
        atoms = None if structures is None else structures[graph.batch]
        masks = Errors(structures, atoms, structures)
        for row, (error, target, mask) in enumerate(zip(batch_errors, targets, masks, strict=True)):
            if error is None or target is None:
                continue
            counted = ~target.isnan().reshape(len(target), -1)
            sums = _sums(error, counted if mask is None else counted & mask[:, None])
            self.sums[row] += sums.sum(0)
            if Errors._fields[row] == "forces":
                self.sums[len(_NAMES) :].index_add_(0, graph.species, sums)

    def results(self) -> dict[str, float]:
        """MAE and RMSE: energy in meV/atom, components of forces in meV/Å and of stress in
        meV/Å^3."""
        results = {}
        for key, (size, square, number) in zip(_NAMES.values(), self.sums.tolist(), strict=False):
            if number:
                results[key.format("mae")] = 1000 * size / number
                results[key.format("rmse")] = 1000 * (square / number) ** 0.5
        return results

    def force_mae_by_element(self) -> dict[str, float]:
        """Force MAE (meV/Å) of the atoms of each element that occurred."""
        rows = zip(self.elements, self.sums[len(_NAMES) :].tolist(), strict=True)
        return {e: 1000 * size / number for e, (size, _, number) in rows if number}


def _sums(error: Tensor, counted: Tensor) -> Tensor:
    """(size, square, number) [n, 3], float64, of the components of each of n errors that count."""
    flat = error.detach().double().reshape(len(error), -1) * counted
    return torch.stack([flat.abs().sum(1), flat.square().sum(1), counted.double().sum(1)], dim=1)


def _difference(prediction: Tensor | None, label: Tensor | None) -> Tensor | None:
    if prediction is None or label is None:
        return None
    return torch.where(label.isnan(), 0.0, prediction - label)
