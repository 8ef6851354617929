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
    """

    def __init__(self, elements: Sequence[str]) -> None:
        self.elements = elements
        self._sums: dict[str, torch.Tensor] = {}

    def update(self, found: Errors, graph: AtomicGraph) -> None:
        """Adds the errors of one batch."""
        for name, error in zip(Errors._fields, found, strict=True):
            if error is not None:
                self._add(name, error)
        if found.forces is not None:
            for index, element in enumerate(self.elements):
                self._add(element, found.forces[graph.species == index])

    def results(self) -> dict[str, float]:
        """MAE and RMSE: energy in meV/atom, forces in meV/Å, stress in meV/Å^3 (components)."""
        found = {}
        for name, key in _NAMES.items():
            if name in self._sums:
                absolute, square, count = self._sums[name].tolist()
                found[key.format("mae")] = 1000 * absolute / count
                found[key.format("rmse")] = 1000 * (square / count) ** 0.5
        return found

    def force_mae_by_element(self) -> dict[str, float]:
        """Force MAE (meV/Å) of the atoms of each element that occurred."""
        sums = {e: self._sums[e].tolist() for e in self.elements if e in self._sums}
        return {e: 1000 * absolute / count for e, (absolute, _, count) in sums.items() if count}

    def _add(self, name: str, error: torch.Tensor) -> None:
        error = error.detach().double().flatten()
        new = torch.stack([error.abs().sum(), error.square().sum(), error.new_tensor(len(error))])
        self._sums[name] = self._sums[name] + new if name in self._sums else new
