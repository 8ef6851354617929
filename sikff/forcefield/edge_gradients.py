"""Energies of a structure with the forces and the virial of each atom, perhaps shared by processes.

All come from one backward pass to the edge vectors, so that nothing depends on the positions of
periodic images or on the cell.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.forcefield.energy import without_inference_tensors
from sikff.forcefield.force_field import ForceField
from sikff.forcefield.halo import Halo
from sikff.graph import AtomicGraph
from sikff.plain_torch import plain_autograd


class EdgeGradients(NamedTuple):
    """What a force field says about the M atoms of one structure that this process owns."""

    energies: Tensor  # [M] eV, float64
    forces: Tensor  # [M, 3] eV/Å
    virials: Tensor  # [M, 6] eV; xx, yy, zz, yz, xz, xy; they sum to dE/dstrain of the network


def edge_gradients(
    model: ForceField, graph: AtomicGraph, halo: Halo | None = None
) -> EdgeGradients:
    """Energies, forces and virials of the owned atoms, constants.

    The virial of an atom is half the sum over the edges from it and to it of the symmetric part of
    r (x) dE/dr, with r the vector of the edge and E the energy of all atoms. An environment acts on
    atoms one by one: it has no edges, and the virial leaves it out.

    Args:
        model: in evaluation mode.
        graph: of one structure.
        halo: of the atoms of other processes in the graph; None: there are none.
    """
    graph = without_inference_tensors(graph)
    with plain_autograd(graph.positions.device):
        positions = graph.positions.detach().requires_grad_()
        # shifts in Å, and a cell of ones: the same vectors, and their gradient is that of shifts
        shifts = (graph.shifts @ graph.cell[0]).requires_grad_()
        cell = torch.eye(3, dtype=shifts.dtype, device=shifts.device).unsqueeze(0)
        moved = dataclasses.replace(graph, positions=positions, shifts=shifts, cell=cell)
        energies = model.atomic_energies(moved, halo=halo)
        gradient, of_edges = torch.autograd.grad(
            energies.sum(), (positions, shifts), allow_unused=True, materialize_grads=True
        )
    values = torch.cat([-gradient, _virials(graph, of_edges)], dim=1)
    values = values if halo is None else halo.collect(values)
    return EdgeGradients(energies.detach(), *values.split((3, 6), dim=1))


def _virials(graph: AtomicGraph, gradient: Tensor) -> Tensor:
    """Components xx, yy, zz, yz, xz, xy [N, 6] of the virials of atoms.

    ``gradient``: dE/dr [E, 3] of the edge vectors.
    """
    vectors = graph.vectors()
    first, second = [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]
    of_edges = 0.25 * (
        vectors[:, first] * gradient[:, second] + vectors[:, second] * gradient[:, first]
    )
    virials = of_edges.new_zeros(graph.n_atoms, 6)
    for atoms in graph.edge_index:
        virials.index_add_(0, atoms, of_edges)
    return virials
