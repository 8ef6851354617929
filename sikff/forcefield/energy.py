"""The one base of every force field: atomic energies in; energy, forces and stress out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from sikff.graph import FLAT, AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.nn.weight_cache import freeze, thaw


class Prediction(NamedTuple):
    """What a model says about B structures of N atoms in all."""

    energy: Tensor  # [B] eV, float64
    energies: Tensor  # [N] eV, float64; they sum to energy
    forces: Tensor | None  # [N, 3] eV/Å
    stress: Tensor | None  # [B, 3, 3] eV/Å^3, dE/dstrain / volume: positive under tension
    dipole: Tensor | None = None  # [B, 3] e Å, -dE/dfield; zero across the model's field_directions


class EnergyModel(torch.nn.Module):
    """A potential energy surface. A subclass sets `cutoff`, `elements` and `atomic_energies`.

    Attributes:
        surfaces: names of the surfaces that it knows.
    """

    cutoff: float
    elements: tuple[str, ...]
    surfaces: tuple[str, ...] = ()

    def freeze(self) -> Self:
        """For use without training: what depends on weights alone is computed once.

        Weights may then change only as all weights of this model (not of a part of it) are loaded,
        moved, cast or given gradients again.
        """
        freeze(self)
        return self

    def thaw(self) -> None:
        """Forgets what :meth:`freeze` computed, as the weights are about to change."""
        thaw(self)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        self.thaw()
        return super().requires_grad_(requires_grad)

    def load_state_dict(self, *args: Any, **options: Any) -> Any:
        self.thaw()
        return super().load_state_dict(*args, **options)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        self.thaw()
        return super()._apply(fn, recurse)

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        """Energy [N] of each atom in eV, float64; smooth in positions and cell."""
        raise NotImplementedError

    @property
    def field_directions(self) -> np.ndarray:
        """Orthonormal directions [k, 3] along which it reads the electric field; k = 0: none."""
        return np.zeros((0, 3))

    def check_conditions(self, conditions: Conditions) -> None:
        """Raise ValueError if the model cannot answer for what acts from outside."""

    def beyond_training(self, graph: AtomicGraph) -> dict[str, str]:
        """What lies outside the range of the training data, in words, by kind."""
        return {}

    def forward(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """Energies and, by one backward pass, their derivatives.

        In training mode the result can be differentiated again (for losses on forces); in
        evaluation mode derivatives are constants and no autograd graph outlives the call. The
        stress strains positions and cell about the origin of the coordinates; it is NaN for a
        structure without a cell of finite volume. The dipole is that in the field, with what the
        field induces.

        Raises:
            ValueError: if the dipole is asked for of a model that reads no electric field.
        """
        if dipole:
            self._check_reads_field()
        if not (forces or stress or dipole):
            with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
                energies = self.atomic_energies(graph).double()
                return Prediction(total(energies, graph), energies, None, None)
        with torch.enable_grad():
            positions, field = graph.positions, graph.field
            if forces and not positions.requires_grad:
                positions = positions.detach().requires_grad_()
            if dipole and not field.requires_grad:
                field = field.detach().requires_grad_()
            strain = positions.new_zeros(graph.n_graphs, 3, 3, requires_grad=bool(stress))
            moved = dataclasses.replace(graph, positions=positions, field=field)
            if stress:
                moved = strained(moved, strain)
            energies = self.atomic_energies(moved).double()
            energy = total(energies, graph)
            asked = {"forces": (positions, forces), "strain": (strain, stress)}
            asked |= {"dipole": (field, dipole)}
            inputs = {name: tensor for name, (tensor, wanted) in asked.items() if wanted}
            slopes = dict(zip(inputs, self._slopes(energy, [*inputs.values()]), strict=True))
        return Prediction(
            energy if self.training else energy.detach(),
            energies if self.training else energies.detach(),
            -slopes["forces"] if forces else None,
            stresses(slopes["strain"], graph.cell) if stress else None,
            -slopes["dipole"] if dipole else None,
        )

    def polarizability(self, graph: AtomicGraph) -> Tensor:
        """-d^2E/dfield^2, [B, 3, 3] in e Å^2/V, a constant; zero across `field_directions`.

        1 e Å^2/V is a polarizability volume of 14.3996 Å^3.

        Raises:
            ValueError: if the model reads no electric field.
        """
        self._check_reads_field()
        with torch.enable_grad():
            field = graph.field.detach().requires_grad_()
            energies = self.atomic_energies(dataclasses.replace(graph, field=field))
            slope = self._slopes(energies, [field], again=True)[0]
            parts = [self._slopes(part, [field], again=True)[0] for part in slope.unbind(dim=1)]
        return -torch.stack(parts, dim=1).detach()

    def _check_reads_field(self) -> None:
        if not len(self.field_directions):
            raise ValueError(
                "dipoles and polarizabilities are slopes of the energy in an electric field, which "
                "the model does not read; train a model with environment.field: true"
            )

    def _slopes(self, energy: Tensor, inputs: list[Tensor], again: bool = False) -> list[Tensor]:
        if not energy.requires_grad:  # atoms without neighbours: constants
            return [torch.zeros_like(tensor) for tensor in inputs]
        slopes = torch.autograd.grad(
            energy.sum(),
            inputs,
            create_graph=self.training or again,
            materialize_grads=True,
        )
        return list(slopes)


def total(energies: Tensor, graph: AtomicGraph) -> Tensor:
    return energies.new_zeros(graph.n_graphs).index_add(0, graph.batch, energies)


def strained(graph: AtomicGraph, strain: Tensor) -> AtomicGraph:
    """The graph with positions and cells strained about the origin; strain [B, 3, 3]."""
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    moves = torch.einsum("na,nab->nb", graph.positions, symmetric[graph.batch])
    return dataclasses.replace(
        graph, positions=graph.positions + moves, cell=graph.cell + graph.cell @ symmetric
    )


def stresses(slopes: Tensor, cell: Tensor) -> Tensor:
    """dE/dstrain [B, 3, 3] over the volumes of cells [B, 3, 3]; NaN where a cell has none."""
    cell = cell.detach().double()
    volume = torch.linalg.det(cell).abs()
    solid = volume > FLAT * cell.norm(dim=-1).prod(dim=-1)
    divisor = torch.where(solid, volume, 1.0)[:, None, None].to(slopes.dtype)
    return torch.where(solid[:, None, None], slopes / divisor, torch.nan)
