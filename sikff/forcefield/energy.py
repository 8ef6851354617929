"""The one base of every force field: atomic energies in; energy, forces and stress out."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph import AtomicGraph


class Prediction(NamedTuple):
    """What a model says about B structures of N atoms in all."""

    energy: Tensor  # [B] eV, float64
    energies: Tensor  # [N] eV, float64; they sum to energy
    forces: Tensor | None  # [N, 3] eV/Å
    stress: Tensor | None  # [B, 3, 3] eV/Å^3, dE/dstrain / volume: positive under tension


class EnergyModel(torch.nn.Module):
    """A potential energy surface. A subclass sets `cutoff`, `elements` and `atomic_energies`."""

    cutoff: float
    elements: tuple[str, ...]

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        """Energy [N] of each atom in eV, float64; smooth in positions and cell."""
        raise NotImplementedError

    def check_field(self, field: np.ndarray) -> None:
        """Raise ValueError if the model cannot answer for a uniform field [3] (V/Å)."""

    def forward(self, graph: AtomicGraph, forces: bool = True, stress: bool = False) -> Prediction:
        """Energies and, by one backward pass, their derivatives.

        In training mode the result can be differentiated again (for losses on forces); in
        evaluation mode forces and stress are constants and no autograd graph outlives the call.
        The stress strains positions and cell about the origin of the coordinates.

        Raises:
            ValueError: if the stress is asked for and a structure has no cell of finite volume.
        """
        if not (forces or stress):
            energies = self.atomic_energies(graph).double()
            return Prediction(_total(energies, graph), energies, None, None)
        volume = _volume(graph.cell) if stress else None
        with torch.enable_grad():
            positions = graph.positions
            if not positions.requires_grad:
                positions = positions.detach().requires_grad_()
            strain = positions.new_zeros(graph.n_graphs, 3, 3, requires_grad=stress)
            moved = dataclasses.replace(graph, positions=positions)
            if stress:
                moved = _strained(moved, strain)
            energies = self.atomic_energies(moved).double()
            energy = _total(energies, graph)
            inputs = [tensor for tensor, asked in ((positions, forces), (strain, stress)) if asked]
            slopes = self._slopes(energy, inputs)
        return Prediction(
            energy if self.training else energy.detach(),
            energies if self.training else energies.detach(),
            -slopes[0] if forces else None,
            None if volume is None else slopes[-1] / volume[:, None, None].to(slopes[-1].dtype),
        )

    def _slopes(self, energy: Tensor, inputs: list[Tensor]) -> list[Tensor]:
        if not energy.requires_grad:  # atoms without neighbours: constants
            return [torch.zeros_like(tensor) for tensor in inputs]
        slopes = torch.autograd.grad(
            energy.sum(), inputs, create_graph=self.training, materialize_grads=True
        )
        return list(slopes)


def _total(energies: Tensor, graph: AtomicGraph) -> Tensor:
    return energies.new_zeros(graph.n_graphs).index_add(0, graph.batch, energies)


def _strained(graph: AtomicGraph, strain: Tensor) -> AtomicGraph:
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    moves = torch.einsum("na,nab->nb", graph.positions, symmetric[graph.batch])
    return dataclasses.replace(
        graph, positions=graph.positions + moves, cell=graph.cell + graph.cell @ symmetric
    )


def _volume(cell: Tensor) -> Tensor:
    cell = cell.detach().double()
    volume = torch.linalg.det(cell).abs()
    if bool((volume <= 1e-6 * cell.norm(dim=-1).prod(dim=-1)).any()):
        raise ValueError(
            "stress asked for a structure whose cell has no volume; "
            "expected three independent cell vectors"
        )
    return volume
