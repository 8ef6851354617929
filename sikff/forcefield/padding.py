"""Structures among ghosts, so that all inputs of a force field have one size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.graph import AtomicGraph


class Room(NamedTuple):
    """The one size of all inputs of a compiled force field."""

    structures: int
    atoms: int  # at least one of them a ghost
    neighbours: int  # of every atom


def most_neighbours(graph: AtomicGraph) -> int:
    """Neighbours of the atom that has the most."""
    return int(torch.bincount(graph.edge_index[0], minlength=1).max())


def padded(graph: AtomicGraph, room: Room, cutoff: float) -> AtomicGraph:
    """The same structures among ghosts, so far away that they feel and change nothing.

    Every atom has exactly ``room.neighbours``, the first of them its own, the others a ghost. The
    neighbour of ghosts is atom 0. They belong to the last structure; a structure that is missing
    is a copy of the first without atoms.
    """
    n, k, device = graph.n_atoms, room.neighbours, graph.positions.device
    receivers, senders = graph.edge_index
    degree = torch.bincount(receivers, minlength=room.atoms)
    filled = torch.arange(k, device=device) < degree.unsqueeze(1)
    table = torch.full((room.atoms, k), n, device=device).masked_scatter_(filled, senders)
    table[n:] = 0
    shifts = graph.shifts.new_zeros(room.atoms, k, 3)
    shifts.masked_scatter_(filled.unsqueeze(2), graph.shifts)
    ghost = graph.positions.amax(0, keepdim=True) + 3 * cutoff
    ghosts, missing = room.atoms - n, room.structures - graph.n_graphs
    return AtomicGraph(
        positions=torch.cat([graph.positions, ghost.expand(ghosts, 3)]),
        species=_with_copies(graph.species, ghosts),
        cell=_with_copies(graph.cell, missing),
        edge_index=torch.stack(
            [torch.arange(room.atoms, device=device).repeat_interleave(k), table.flatten()]
        ),
        shifts=shifts.flatten(0, 1),
        batch=torch.cat([graph.batch, graph.batch.new_full((ghosts,), room.structures - 1)]),
        field=_with_copies(graph.field, missing),
        origin=_with_copies(graph.origin, missing),
        surface=_with_copies(graph.surface, missing),
    )


def inputs(graph: AtomicGraph, n_atoms: int, names: Sequence[str]) -> list[Tensor]:
    """What a flattened force field takes: 1 for atoms and 0 for ghosts, and parts of the graph."""
    real = torch.arange(graph.n_atoms, device=graph.positions.device) < n_atoms
    return [real.double(), *(getattr(graph, name) for name in names)]


def _with_copies(tensor: Tensor, copies: int) -> Tensor:
    return torch.cat([tensor, tensor[:1].expand(copies, *tensor.shape[1:])]) if copies else tensor
