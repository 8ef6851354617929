"""Pads graphs to a fixed shape: neighbours in slots, and ghost atoms without neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.graph import AtomicGraph
from sikff.nn.neighbour_table import NeighbourTable

OF_ATOMS = ("positions", "species", "batch")
APART = 3  # cutoffs between an atom and the empty slots of its row


class Capacity(NamedTuple):
    """The shape of all inputs of a static evaluator."""

    structures: int
    atoms: int
    neighbours: int  # slots of every atom

    @classmethod
    def for_batches(
        cls, atoms: Sequence[int], neighbours: Sequence[int], structures: int
    ) -> Capacity:
        """That for any batch of so many graphs.

        Args:
            atoms: their number in each graph.
            neighbours: the largest number of an atom, in each graph.
            structures: in a batch.
        """
        largest = sorted(atoms, reverse=True)[:structures]
        return cls(structures, sum(largest), max(*neighbours, 1))


class EdgeRows(NamedTuple):
    """Where the edges of each receiver are in a graph, whose edges are sorted by receiver."""

    first: Tensor  # [N] first edge of each atom
    most: Tensor  # [] the largest number of neighbours
    degree: int | None  # the same number; None: it is not read from the device

    @classmethod
    def of(cls, graph: AtomicGraph, read: bool = True) -> EdgeRows:
        atoms = torch.arange(graph.n_atoms + 1, device=graph.edge_index.device)
        bounds = torch.searchsorted(graph.edge_index[0], atoms)
        most = bounds.diff().amax() if graph.n_atoms else bounds.new_zeros(())
        return cls(bounds[:-1], most, int(most) if read else None)

    def slots(self, receivers: Tensor, k: int) -> Tensor:
        """The slot [E] of each edge in a flattened table of k slots a row."""
        row_starts = k * torch.arange(len(self.first), device=receivers.device)
        shift = (row_starts - self.first).index_select(0, receivers)
        return shift + torch.arange(len(receivers), device=receivers.device)


def neighbour_table(
    graph: AtomicGraph,
    cutoff: float,
    neighbours: int,
    atoms: int | None = None,
    dtype: torch.dtype | None = None,
    rows: EdgeRows | None = None,
) -> NeighbourTable:
    """The edges of a graph in a table of fixed shape.

    Args:
        graph: of one or several structures.
        cutoff: of its edges.
        neighbours: slots of each row.
        atoms: rows, of which those beyond the atoms are empty (default: one for each atom).
        dtype: of ``filled`` (default: that of positions).
        rows: of the edges, if they are known. Where their degree is not read and an atom has more
            neighbours, offsets are NaN, and so is all that is computed of them.

    Raises:
        ValueError: if an atom has more neighbours, or the graph more atoms.
    """
    rows = EdgeRows.of(graph) if rows is None else rows
    n, device = graph.n_atoms if atoms is None else atoms, graph.positions.device
    if (rows.degree or 0) > neighbours or graph.n_atoms > n:
        raise ValueError(
            f"a table of {n} rows with {neighbours} slots is too small for {graph.n_atoms} atoms "
            f"with up to {rows.degree} neighbours"
        )
    receivers, senders = graph.edge_index
    slots = rows.slots(receivers, neighbours)
    if rows.degree is None:
        slots = slots.clamp(max=n * neighbours - 1)
    table = torch.arange(n, device=device).repeat_interleave(neighbours)
    filled = torch.zeros(len(table), dtype=dtype or graph.positions.dtype, device=device)
    offsets = graph.positions.new_zeros(len(table), 3)
    offsets[:, 0] = APART * cutoff
    offsets.index_copy_(0, slots, _offsets(graph))
    if rows.degree is None:
        offsets.masked_fill_(rows.most > neighbours, torch.nan)
    return NeighbourTable(
        table.index_copy_(0, slots, senders).view(n, neighbours),
        filled.index_fill_(0, slots, 1.0).view(n, neighbours),
        offsets.view(n, neighbours, 3),
    )


def without_candidates(graph: AtomicGraph, cutoff: float) -> AtomicGraph:
    """The graph without edges beyond the cutoff, which one on a GPU may have; see
    :class:`~sikff.graph.neighbour_list.NeighbourList`."""
    return graph if graph.positions.device.type == "cpu" else graph.within(cutoff)


def nearer(
    table: NeighbourTable, positions: Tensor, cutoff: float, neighbours: int
) -> tuple[NeighbourTable, Tensor]:
    """The neighbours in a table that are nearer than the cutoff, in fewer slots.

    Nothing is read back from the device: a longer table, of candidates within a cutoff and a skin,
    may stay there while atoms move.

    Args:
        table: of candidates; they keep their order.
        positions: of the atoms [N, 3].
        cutoff: Å.
        neighbours: slots of each row of the result.

    Returns:
        The table, and the largest number of neighbours [] of an atom. If it is more than there are
        slots, some are missing.
    """
    vectors = table.vectors(positions.detach()).view_as(table.offsets)
    inside = (vectors * vectors).sum(-1) < cutoff**2
    order = torch.argsort((~inside).byte(), dim=1, stable=True)[:, :neighbours]
    offsets = table.offsets.gather(1, order.unsqueeze(-1).expand(-1, -1, 3))
    filled = inside.gather(1, order).to(table.filled.dtype)
    return NeighbourTable(table.senders.gather(1, order), filled, offsets), inside.sum(1).amax()


def _offsets(graph: AtomicGraph) -> Tensor:
    """Cartesian offsets [E, 3] of the cells that edges cross."""
    if graph.n_graphs == 1:
        return graph.shifts @ graph.cell[0]
    cells = graph.cell[graph.batch[graph.edge_index[0]]]
    return torch.einsum("ec,ecd->ed", graph.shifts, cells)


def padded(graph: AtomicGraph, capacity: Capacity, names: Sequence[str]) -> dict[str, Tensor]:
    """Tensors of a graph, with ghost atoms and copies of the first structure.

    Ghosts are of the first species, at the origin, in the last structure.

    Args:
        graph: the graph.
        capacity: numbers of atoms and structures.
        names: of tensors of atoms or structures of the graph.
    """
    ghosts, copies = capacity.atoms - graph.n_atoms, capacity.structures - graph.n_graphs
    tensors = {}
    for name in names:
        tensor: Tensor = getattr(graph, name)
        if name in OF_ATOMS and ghosts:
            value = capacity.structures - 1 if name == "batch" else 0
            more = tensor.new_full((ghosts, *tensor.shape[1:]), value)
            tensor = torch.cat([tensor, more])
        elif name not in OF_ATOMS and copies:
            tensor = torch.cat([tensor, tensor[:1].expand(copies, *tensor.shape[1:])])
        tensors[name] = tensor
    return tensors
