"""The one sum over neighbours: A_i = sum_j h_ij (x) f_j, as products of thin matrices per node."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

WIDTH_MULTIPLE = 4  # products of matrices are up to twice as fast with a multiple of four columns


class NeighbourLayout(NamedTuple):
    """Edges arranged by receiver in padded tables, built once per neighbour list.

    Every table [n, K] holds nodes of similar degree; the tables are stored one after the other as
    P = sum of n K slots.
    """

    edges: Tensor | None  # [P] edge in each slot, any if it is empty; None: slot p has edge p
    filled: Tensor  # [P] 1 where a slot holds an edge, 0 where it is empty
    senders: Tensor  # [P] sender of the edge
    shapes: tuple[tuple[int, int], ...]  # (n, K) of the tables
    order: Tensor | None  # row of each node in the stacked tables (None: one table, in order)

    @property
    def n_slots(self) -> int:
        return self.senders.shape[0]

    def in_slots(self, values: Tensor) -> Tensor:
        """Values of edges [E, ...] in their slots, [P, ...]."""
        return values if self.edges is None else values.index_select(0, self.edges)

    def split(self, slots: int) -> list["NeighbourLayout"]:
        """Cut the stacked tables, row by row, into layouts of at most so many slots or one row."""
        shapes = []
        for n, k in self.shapes:
            rows = max(1, slots // max(k, 1))
            shapes += [(min(rows, n - start), k) for start in range(0, n, rows)]
        sizes = [n * k for n, k in shapes]
        edges = self.edges
        if edges is None:
            edges = torch.arange(self.n_slots, device=self.senders.device)
        tables = (table.split(sizes) for table in (edges, self.filled, self.senders))
        return [
            NeighbourLayout(edges, filled, senders, (shape,), None)
            for edges, filled, senders, shape in zip(*tables, shapes, strict=True)
        ]


class NeighbourTable(NamedTuple):
    """Neighbours of N atoms in K slots each: all shapes are known before the values are.

    An empty slot holds the atom itself, at an offset beyond the cutoff.
    """

    senders: Tensor  # [N, K] int64
    filled: Tensor  # [N, K] 1 where a slot holds a neighbour, 0 where it is empty
    offsets: Tensor  # [N, K, 3] Å, of the cells that an edge crosses

    @property
    def edge_index(self) -> Tensor:
        """Receivers and senders of all slots, [2, N K]."""
        receivers = torch.arange(self.senders.shape[0], device=self.senders.device)
        return torch.stack([receivers.unsqueeze(1).expand_as(self.senders), self.senders]).flatten(
            1
        )

    def vectors(self, positions: Tensor) -> Tensor:
        """Vectors from receivers to senders [N K, 3] in Å; differentiable."""
        senders = positions.index_select(0, self.senders.flatten()).view_as(self.offsets)
        return (senders - positions.unsqueeze(1) + self.offsets).flatten(0, 1)

    def layout(self, dtype: torch.dtype) -> NeighbourLayout:
        """The layout of all slots; ``dtype`` is that of ``filled``."""
        n, k = self.senders.shape
        filled = self.filled.flatten().to(dtype)
        return NeighbourLayout(None, filled, self.senders.flatten(), ((n, k),), None)


def neighbour_layout(
    edge_index: Tensor, n_nodes: int, dtype: torch.dtype | None = None
) -> NeighbourLayout:
    """Arrange edges [2, E] (receivers, senders), in any order, by receiver.

    One padded table where at most half of it and sixteen slots of each node are wasted; else one
    for each power of two in the degrees, so that a few crowded nodes do not pad all others.
    ``dtype`` is that of ``filled``.
    """
    receivers = edge_index[0]
    device, n_edges = receivers.device, receivers.shape[0]
    by_receiver = torch.argsort(receivers, stable=True)
    # not bincount, of which a GPU has to be waited for
    nodes = torch.arange(n_nodes + 1, device=device)
    bounds = torch.searchsorted(receivers.index_select(0, by_receiver), nodes)
    start, degree = bounds[:-1], bounds[1:] - bounds[:-1]
    width = _width(degree) if n_nodes else 0
    if n_nodes * width <= 2 * n_edges + 16 * n_nodes:
        tables, order = [(start, degree, width)], None
    else:
        size = torch.ceil(torch.log2(degree.clamp(min=1).double())).long()
        members = [torch.nonzero(size == s)[:, 0] for s in torch.unique(size).tolist()]
        tables = [(start[some], degree[some], _width(degree[some])) for some in members]
        order = torch.argsort(torch.cat(members))

    # slot s of a node holds the edge number (first edge of the node) + s in the order by receiver
    positions, filled = [], []
    for first, n_filled, k in tables:
        slot = torch.arange(k, device=device)
        filled.append((slot < n_filled[:, None]).flatten())
        positions.append((slot + first[:, None]).flatten())
    position = torch.cat(positions)
    if n_edges:
        edges = by_receiver.index_select(0, position.clamp(max=n_edges - 1))
        senders = edge_index[1].index_select(0, edges)
    else:
        edges = senders = position
    in_order = len(position) == n_edges and torch.equal(edges, position)
    return NeighbourLayout(
        None if in_order else edges,
        torch.cat(filled).to(torch.get_default_dtype() if dtype is None else dtype),
        senders,
        tuple((first.shape[0], k) for first, _, k in tables),
        order,
    )


def sum_outer_products(h: Tensor, parts: Sequence[Tensor], layout: NeighbourLayout) -> list[Tensor]:
    """A_i = sum_j h_ij (x) f_j: h [P, ..., a], parts f [N, ..., b] -> [N, ..., a, b] for each part.

    Memory is proportional to P (a + b) + N a b: there is no tensor of size P a b. Dimensions in
    between (channels) stay. ``h`` is in the layout's slots, and zero in the empty ones.
    """
    tables = _tables(h, layout)

    def outer(f: Tensor) -> Tensor:
        gathered = _tables(f.index_select(0, layout.senders), layout)
        sums = [_sum(*table) for table in zip(tables, gathered, strict=True)]
        return sums[0] if layout.order is None else torch.cat(sums).index_select(0, layout.order)

    return [outer(f) for f in parts]


def _width(degree: Tensor) -> int:
    """Slots for each node: the largest degree, rounded up where it is large."""
    most = int(degree.max())
    return most if most < 2 * WIDTH_MULTIPLE else -(-most // WIDTH_MULTIPLE) * WIDTH_MULTIPLE


def _sum(h: Tensor, f: Tensor) -> Tensor:
    """[n, K, ..., a], [n, K, ..., b] -> [n, ..., a, b], summed over K."""
    if h.ndim == 3:  # without the views that matmul adds; the wider one has the columns
        return torch.bmm(h.mT, f) if f.shape[2] >= h.shape[2] else torch.bmm(f.mT, h).mT
    return h.movedim(1, -1) @ f.movedim(1, -2)


def _tables(values: Tensor, layout: NeighbourLayout) -> list[Tensor]:
    """Values [P, ...] in the layout's slots as its tables [n, K, ...]."""
    sizes = [n * k for n, k in layout.shapes]
    strips = values.split(sizes) if len(sizes) > 1 else [values]  # backward, split is a copy
    return [strip.unflatten(0, n_k) for strip, n_k in zip(strips, layout.shapes, strict=True)]
