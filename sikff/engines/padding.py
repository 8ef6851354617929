"""Structures among ghosts, so that all inputs of a force field have one size."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph import AtomicGraph

# Of a padded graph: what stays as it is while atoms move, and what does not.
FIXED = ("species", "batch", "surface", "real")  # real: 1 for atoms, 0 for ghosts, in float64
OF_EDGES = ("senders", "shifts")
MOVING = ("positions", "cell", *OF_EDGES, "field", "origin")


class Room(NamedTuple):
    """The one size of all inputs of a compiled force field."""

    structures: int
    atoms: int  # at least one of them a ghost
    neighbours: int  # of every atom


class Rows(NamedTuple):
    """Edges as a table with a row for every atom.

    It is made anew whenever edges have changed, in numpy, which needs half of the time of torch.
    """

    receivers: np.ndarray  # [E]
    first: np.ndarray  # [N + 1] first edge of every atom, and the number of edges
    longest: int  # neighbours of the atom that has the most

    @classmethod
    def of(cls, graph: AtomicGraph) -> Rows:
        receivers = graph.edge_index[0].cpu().numpy()
        first = receivers.searchsorted(np.arange(graph.n_atoms + 1))
        return cls(receivers, first, max((first[1:] - first[:-1]).tolist(), default=0))

    def places(self, k: int) -> np.ndarray:
        """The place of every edge [E] where each row has k places."""
        starts = k * np.arange(len(self.first)) - self.first
        return np.arange(len(self.receivers)) + starts.take(self.receivers)


def padded(
    graph: AtomicGraph,
    rows: Rows,
    room: Room,
    cutoff: float,
    names: Sequence[str] = (*FIXED, *MOVING),
) -> dict[str, Tensor]:
    """Parts of a graph of the same structures among ghosts, which neither feel nor change anything.

    Every atom has exactly ``room.neighbours``, the first of them its own, the others a ghost. The
    neighbour of ghosts is atom 0. They belong to the last structure; a structure that is missing
    is a copy of the first without atoms.

    Args:
        graph: the structures.
        rows: of their edges.
        room: for them and at least one ghost.
        cutoff: that of the edges; ghosts are further away.
        names: of the parts that are asked for.
    """
    n, k, device = graph.n_atoms, room.neighbours, graph.positions.device
    ghosts, missing = room.atoms - n, room.structures - graph.n_graphs
    if set(OF_EDGES) & set(names):
        places = torch.from_numpy(rows.places(k)).to(device)

    def positions() -> Tensor:
        far = graph.positions.new_empty(room.atoms, 3)
        far[:n] = graph.positions
        far[n:] = graph.positions.max() + 3 * cutoff
        return far

    def senders() -> Tensor:
        table = graph.edge_index.new_full((room.atoms * k,), n)
        table[n * k :] = 0
        return table.index_copy_(0, places, graph.edge_index[1])

    def shifts() -> Tensor:
        return graph.shifts.new_zeros(room.atoms * k, 3).index_copy_(0, places, graph.shifts)

    def batch() -> Tensor:
        last = graph.batch.new_full((ghosts,), room.structures - 1)
        return torch.cat([graph.batch, last])

    of_atoms: dict[str, Callable[[], Tensor]] = {
        "positions": positions,
        "senders": senders,
        "shifts": shifts,
        "species": lambda: _with_copies(graph.species, ghosts),
        "batch": batch,
        "real": lambda: (torch.arange(room.atoms, device=device) < n).double(),
    }
    return {
        name: of_atoms[name]() if name in of_atoms else _with_copies(getattr(graph, name), missing)
        for name in names
    }


def joined(parts: Mapping[str, Tensor], room: Room) -> AtomicGraph:
    """The graph of all parts of a padded one, but ``real``."""
    known = {name: part for name, part in parts.items() if name not in ("senders", "real")}
    atoms = torch.arange(room.atoms, device=parts["senders"].device)
    receivers = atoms.repeat_interleave(room.neighbours)
    return AtomicGraph(**known, edge_index=torch.stack([receivers, parts["senders"]]))


def _with_copies(tensor: Tensor, copies: int) -> Tensor:
    return torch.cat([tensor, tensor[:1].expand(copies, *tensor.shape[1:])]) if copies else tensor
