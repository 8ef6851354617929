"""Force fields as graphs of operations of torch, for any numbers of atoms and neighbours."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

import torch
from ase.data import atomic_numbers
from torch import Tensor
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from sikff.engines import differentiate
from sikff.engines.inductor import with_constants_folded
from sikff.engines.padding import APART
from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph
from sikff.nn.neighbour_table import NeighbourTable
from sikff.plain_torch import plain_torch

EXAMPLE = {"N": 97, "K": 61}  # sizes while it is traced: primes, which no layer has
N_NUMBERS = 120  # atomic numbers from 0 on


class Input(NamedTuple):
    """An argument of the function; N atoms have K slots for neighbours each."""

    name: str
    size: tuple[int | str, ...]
    dtype: torch.dtype
    meaning: str

    def example(self) -> Tensor:
        """A structure of one element without neighbours: of the example's sizes."""
        size = [EXAMPLE[n] if isinstance(n, str) else n for n in self.size]
        return torch.full(size, -1 if self.name == "senders" else 0, dtype=self.dtype)


def inputs_of(model: ForceField) -> tuple[Input, ...]:
    """The arguments for a model: atoms, their neighbours, and the conditions that it reads."""
    real, whole, environment = torch.float64, torch.int64, model.config.environment
    found = [
        Input("positions", ("N", 3), real, "Å"),
        Input("numbers", ("N",), whole, "atomic numbers"),
        Input("cell", (3, 3), real, "Å, rows are vectors; zeros where there are none"),
        Input("senders", ("N", "K"), whole, "neighbours of each atom; -1: empty slot"),
        Input("shifts", ("N", "K", 3), real, "cells crossed: r_j - r_i + shift @ cell"),
    ]
    if environment.field:
        found.append(Input("field", (3,), real, "V/Å, uniform electric field"))
    if environment.plane_origin is not None:
        origin, index = "Å, a point of the plane; infinite: the model's", "index; -1: no surface"
        found.append(Input("origin", (3,), real, origin))
        found.append(Input("surface", (1,), whole, index))
    if environment.charge:
        found.append(Input("charge", (1,), real, "e, total charge"))
    if environment.spin:
        found.append(Input("unpaired", (1,), real, "unpaired electrons, 2S"))
    return tuple(found)


@plain_torch()
def trace_energies(model: ForceField) -> GraphModule:
    """The function from inputs to atomic energies [N] (eV, float64), differentiable in them.

    They are NaN if there is an atom of another element, or an index of an atom that is not there.
    """
    model = copy.deepcopy(model).eval().requires_grad_(False)

    def energies(*tensors: Tensor) -> tuple[Tensor, ...]:
        graph, table, valid = _in_table_form(model, tensors)
        return (valid * model.atomic_energies(graph, table, continued=True),)

    return _traced(energies, model)


@plain_torch()
def trace_derivatives(model: ForceField) -> GraphModule:
    """The function from inputs to energy, atomic energies, forces and dE/dstrain.

    In eV and Å, float64; NaN as those of :func:`trace_energies`.
    """
    model = copy.deepcopy(model).eval().freeze()

    def derivatives(*tensors: Tensor) -> tuple[Tensor, ...]:
        graph, table, valid = _in_table_form(model, tensors)

        def energies_of(graph: AtomicGraph, table: NeighbourTable) -> Tensor:
            return valid * model.atomic_energies(graph, table, continued=True)

        found = differentiate(energies_of, graph, stress=True, table=table)
        energies, strain = found.energies.detach(), cast(Tensor, found.strain)
        return energies.sum(), energies, -cast(Tensor, found.positions), strain[0]

    return _traced(derivatives, model)


def _traced(function: Callable[..., tuple[Tensor, ...]], model: ForceField) -> GraphModule:
    device = model.free_atoms.energies.device
    example = [each.example().to(device) for each in inputs_of(model)]
    example[1] += atomic_numbers[model.elements[0]]
    function(*example)  # fills caches of weight-only expressions, which tracing would fill in vain
    graph = make_fx(function, tracing_mode="symbolic", _allow_non_fake_inputs=True)(*example)
    return with_constants_folded(graph)


def _in_table_form(
    model: ForceField, tensors: tuple[Tensor, ...]
) -> tuple[AtomicGraph, NeighbourTable, Tensor]:
    """Graph and table for the inputs, and the factor 1, or NaN for inputs that are impossible."""
    names = (each.name for each in inputs_of(model))
    inputs: Mapping[str, Tensor] = dict(zip(names, tensors, strict=True))
    positions, numbers, senders = (inputs[k] for k in ("positions", "numbers", "senders"))
    n, real = positions.shape[0], positions.new_zeros
    species_of = torch.full((N_NUMBERS,), -1, device=positions.device)
    for index, element in enumerate(model.elements):
        species_of[atomic_numbers[element]] = index
    species = species_of.index_select(0, numbers.clamp(0, N_NUMBERS - 1))
    possible = (species >= 0).all() & (senders >= -1).all() & (senders < n).all()
    filled = (senders >= 0) & (senders < n)
    atoms = torch.arange(n, device=positions.device).unsqueeze(1)
    beyond = positions.new_full((3,), APART * model.cutoff)
    table = NeighbourTable(
        torch.where(filled, senders, atoms),
        filled.to(model.dtype),
        torch.where(filled.unsqueeze(-1), inputs["shifts"] @ inputs["cell"], beyond),
    )
    graph = AtomicGraph(
        positions=positions,
        species=species.clamp(min=0),
        cell=real(1, 3, 3),  # in the offsets of the table
        edge_index=torch.zeros_like(senders[:0].T),
        shifts=real(0, 3),
        batch=torch.zeros_like(species),
        field=inputs["field"].unsqueeze(0) if "field" in inputs else real(1, 3),
        origin=inputs["origin"].unsqueeze(0) if "origin" in inputs else real(1, 3) + torch.inf,
        surface=inputs["surface"] if "surface" in inputs else torch.zeros_like(species[:1]),
        charge=inputs["charge"] if "charge" in inputs else real(1),
        unpaired=inputs["unpaired"] if "unpaired" in inputs else real(1),
    )
    return graph, table, torch.where(possible, 1.0, torch.nan)
