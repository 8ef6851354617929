"""Errors of a model in the units people quote."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sikff.graph import AtomicGraph
from sikff.training.losses import Errors

_NAMES = {
    "energy": "energy_{}_mev_per_atom",
    "forces": "force_{}_mev_per_a",
    "stress": "stress_{}_mev_per_a3",
}


class Metrics:
    """Collects errors batch by batch.

    Args:
        elements: of the model, for the force errors by element.

    Attributes:
        sums: [3 + elements, 3] sums of |error| and of error squared, and the number of errors, for
            energy, forces, stress and the forces on each element. Those of several processes add.
    """

    def __init__(self, elements: Sequence[str]) -> None:
        self.elements = tuple(elements)
        self.sums = torch.zeros(len(_NAMES) + len(self.elements), 3, dtype=torch.float64)

    def update(self, found: Errors, graph: AtomicGraph) -> None:
        """Adds the errors of one batch."""
        rows = [_sums(found.energy), _sums(found.forces), _sums(found.stress)]
        for index in range(len(self.elements)):
            here = None if found.forces is None else found.forces[graph.species == index]
            rows.append(_sums(here))
        self.sums = self.sums.to(graph.positions.device)
        self.sums += torch.stack([row.to(self.sums.device) for row in rows])

    def results(self) -> dict[str, float]:
        """MAE and RMSE: energy in meV/atom, forces in meV/Å, stress in meV/Å^3 (components)."""
        found = {}
        for key, row in zip(_NAMES.values(), self.sums.tolist(), strict=False):
            absolute, square, count = row
            if count:
                found[key.format("mae")] = 1000 * absolute / count
                found[key.format("rmse")] = 1000 * (square / count) ** 0.5
        return found

    def force_mae_by_element(self) -> dict[str, float]:
        """Force MAE (meV/Å) of the atoms of each element that occurred."""
        rows = self.sums[len(_NAMES) :].tolist()
        return {
            element: 1000 * absolute / count
            for element, (absolute, _, count) in zip(self.elements, rows, strict=True)
            if count
        }


def _sums(error: torch.Tensor | None) -> torch.Tensor:
    if error is None:
        return torch.zeros(3, dtype=torch.float64)
    error = error.detach().double().flatten()
    return torch.stack([error.abs().sum(), error.square().sum(), error.new_tensor(len(error))])
