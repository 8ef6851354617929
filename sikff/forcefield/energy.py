"""The one base of every force field: atomic energies in; energy, forces and stress out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from sikff.graph import FLAT, AtomicGraph, Structure
from sikff.graph.conditions import Conditions
from sikff.nn.neighbour_table import NeighbourTable
from sikff.nn.weight_cache import freeze, thaw
from sikff.plain_torch import plain_autograd


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
        version: changes whenever all weights are loaded, moved, cast or given gradients again.
    """

    cutoff: float
    elements: tuple[str, ...]
    surfaces: tuple[str, ...] = ()
    version: int = 0

    def freeze(self) -> Self:
        """Turns gradients of weights off and caches weight-only expressions.

        Weights may then change only by loading, moving or casting all of them, or by giving them
        gradients again; after any other change call :meth:`thaw`.
        """
        freeze(self)
        return self

    def thaw(self) -> None:
        """Drops the caches of :meth:`freeze`, as the weights are about to change."""
        thaw(self)
        self.version += 1

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
        """Raises ValueError for a field or surface that the model does not support."""

    def check_cell(self, structure: Structure, conditions: Conditions) -> None:
        """Raises ValueError for a cell that the model's surfaces do not have."""

    def opened(self, structure: Structure, conditions: Conditions) -> Structure:
        """The structure without periodic directions that lead through a surface."""
        return structure

    def defined_stress(self, conditions: Conditions) -> np.ndarray:
        """Which components [3, 3] of the stress do not depend on the origin of the coordinates."""
        return np.ones((3, 3), dtype=bool)

    def extrapolation_warnings(self, graph: AtomicGraph) -> dict[str, str]:
        """Extrapolation warnings: what is outside the range of the training data, by kind."""
        return {}

    def forward(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """Energies and, by one backward pass, their derivatives.

        In training mode the result is differentiable; in evaluation mode derivatives are constants
        and no autograd graph outlives the call. The stress strains positions and cell about the
        origin of the coordinates; it is NaN for a structure without a cell of finite volume. The
        dipole is that in the field, with what the field induces. Inference mode and autocast of
        the caller change nothing.

        Raises:
            ValueError: if the dipole is asked for of a model that reads no electric field.
            RuntimeError: if the energies of atoms with neighbours have no gradient.
        """
        if dipole:
            self._check_reads_field()
        if self.training:  # the sums below save tensors of the graph, too
            graph = without_inference_tensors(graph)
        if not (forces or stress or dipole):
            recording = self.training and torch.is_grad_enabled()
            with plain_autograd(graph.positions.device), torch.set_grad_enabled(recording):
                energies = self.atomic_energies(graph).double()
                return Prediction(total(energies, graph), energies, None, None)
        found = differentiate(self.atomic_energies, graph, forces, stress, dipole, self.training)
        energies = found.energies if self.training else found.energies.detach()
        return Prediction(
            total(energies, graph),
            energies,
            None if found.positions is None else -found.positions,
            None if found.strain is None else stresses(found.strain, graph.cell),
            None if found.field is None else -found.field,
        )

    def polarizability(self, graph: AtomicGraph) -> Tensor:
        """-d^2E/dfield^2, [B, 3, 3] in e Å^2/V, a constant; zero across `field_directions`.

        1 e Å^2/V is a polarizability volume of 14.3996 Å^3.

        Raises:
            ValueError: if the model reads no electric field.
        """
        self._check_reads_field()
        graph = without_inference_tensors(graph)
        with plain_autograd(graph.positions.device):
            field = graph.field.detach().requires_grad_()
            energies = self.atomic_energies(dataclasses.replace(graph, field=field))
            (first,) = gradients(
                energies, [field], create_graph=True, may_be_zero=not graph.n_edges
            )
            rows = [  # zero where the energy is linear in the field
                gradients(component, [field], create_graph=True, may_be_zero=True)[0]
                for component in first.unbind(dim=1)
            ]
        return -torch.stack(rows, dim=1).detach()

    def _check_reads_field(self) -> None:
        if not len(self.field_directions):
            raise ValueError(
                "dipoles and polarizabilities are derivatives of the energy in an electric field, "
                "which the model does not read; train a model with environment.field: true"
            )


class Gradients(NamedTuple):
    """Atomic energies and the gradients of their sum, None where not wanted."""

    energies: Tensor  # [N] eV, float64
    positions: Tensor | None  # [N, 3] eV/Å
    strain: Tensor | None  # [B, 3, 3] eV, symmetric
    field: Tensor | None  # [B, 3] e Å


def differentiate(
    energies_of: Callable[..., Tensor],
    graph: AtomicGraph,
    forces: bool = True,
    stress: bool = False,
    dipole: bool = False,
    create_graph: bool = False,
    table: NeighbourTable | None = None,
) -> Gradients:
    """Atomic energies and the gradients of their sum in positions, strain and electric field.

    Works inside inference mode and autocast too, by leaving them.

    Args:
        energies_of: atomic energies [N] of a graph, or of a graph and a table.
        graph: where they are differentiated.
        forces, stress, dipole: whether gradients in positions, strain, field are wanted.
        create_graph: whether the gradients are differentiable.
        table: neighbours in fixed shapes, instead of the edges of the graph.

    Raises:
        RuntimeError: if the energies of atoms with neighbours have no gradient.
    """
    graph = without_inference_tensors(graph)
    with plain_autograd(graph.positions.device):
        tensors = {"positions": graph.positions, "field": graph.field}
        wanted = {"positions": forces, "field": dipole}
        for name, tensor in tensors.items():
            if wanted[name] and not tensor.requires_grad:
                tensors[name] = tensor.detach().requires_grad_()
        moved = dataclasses.replace(graph, **tensors)
        if stress:
            strain = graph.positions.new_zeros(graph.n_graphs, 3, 3, requires_grad=True)
            tensors["strain"], wanted["strain"] = strain, True
            moved, table = strained(moved, strain, table)
        energies = (energies_of(moved) if table is None else energies_of(moved, table)).double()
        inputs = {name: tensor for name, tensor in tensors.items() if wanted[name]}
        no_edges = table is None and not graph.n_edges
        found = gradients(energies, list(inputs.values()), create_graph, may_be_zero=no_edges)
    of_name: dict[str, Tensor] = dict(zip(inputs, found, strict=True))
    return Gradients(energies, *(of_name.get(name) for name in Gradients._fields[1:]))


def gradients(
    energies: Tensor,
    inputs: Sequence[Tensor],
    create_graph: bool = False,
    may_be_zero: bool = False,
) -> list[Tensor]:
    """Gradients of the sum of energies in inputs.

    Args:
        energies: [N].
        inputs: tensors that require grad.
        create_graph: whether the gradients are differentiable.
        may_be_zero: whether energies may be independent of an input; its gradient is then zero.

    Raises:
        RuntimeError: if they are independent of an input although they may not be.
    """
    found: Sequence[Tensor | None] = [None] * len(inputs)
    if energies.requires_grad:
        found = torch.autograd.grad(
            energies.sum(), inputs, create_graph=create_graph, allow_unused=True
        )
    if not may_be_zero and any(gradient is None for gradient in found):
        raise RuntimeError(
            "the energies of atoms with neighbours have no gradient in positions, strain or field; "
            "expected atomic_energies to be differentiable: does it detach tensors or disable "
            "gradients (torch.no_grad, torch.inference_mode)?"
        )
    pairs = zip(found, inputs, strict=True)
    return [torch.zeros_like(x) if gradient is None else gradient for gradient, x in pairs]


def without_inference_tensors(graph: AtomicGraph) -> AtomicGraph:
    """The graph with clones of tensors made in inference mode, of which autograd saves none."""
    tensors = {entry.name: getattr(graph, entry.name) for entry in dataclasses.fields(graph)}
    made_there = {name: tensor for name, tensor in tensors.items() if tensor.is_inference()}
    if not made_there:
        return graph
    with torch.inference_mode(False):
        clones = {name: tensor.clone() for name, tensor in made_there.items()}
    return dataclasses.replace(graph, **clones)


def total(energies: Tensor, graph: AtomicGraph) -> Tensor:
    return energies.new_zeros(graph.n_graphs).index_add(0, graph.batch, energies)


def strained(
    graph: AtomicGraph, strain: Tensor, table: NeighbourTable | None = None
) -> tuple[AtomicGraph, NeighbourTable | None]:
    """Positions, cells and offsets strained about the origin; strain [B, 3, 3]."""
    symmetric = 0.5 * (strain + strain.transpose(1, 2))
    of_atoms = symmetric[graph.batch]
    positions = graph.positions + torch.einsum("na,nab->nb", graph.positions, of_atoms)
    if table is None:
        cell = graph.cell + graph.cell @ symmetric
        return dataclasses.replace(graph, positions=positions, cell=cell), None
    offsets = table.offsets + table.offsets @ of_atoms
    return dataclasses.replace(graph, positions=positions), table._replace(offsets=offsets)


def stresses(gradient: Tensor, cell: Tensor) -> Tensor:
    """dE/dstrain [B, 3, 3] over the volumes of cells [B, 3, 3]; NaN where a cell has none."""
    cell = cell.detach().double()
    volume = torch.linalg.det(cell).abs()
    solid = volume > FLAT * cell.norm(dim=-1).prod(dim=-1)
    divisor = torch.where(solid, volume, 1.0)[:, None, None].to(gradient.dtype)
    return torch.where(solid[:, None, None], gradient / divisor, torch.nan)
