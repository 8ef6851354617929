"""The one sum over neighbours: A_i = sum_j h_ij (x) f_j, as products of thin matrices per node."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

WHOLE = 4  # products of matrices are up to twice as fast with so many columns or a multiple of it


class NeighbourLayout(NamedTuple):
    """Edges arranged by receiver in padded tables, built once per neighbour list.

    Every table [n, K] holds nodes of similar degree; the tables are stored one after the other as
    P = sum of n K places.
    """

    edges: Tensor | None  # [P] edge in each place, any if it is empty; None: place p has edge p
    filled: Tensor  # [P] 1 where a place holds an edge, 0 where it is empty
    senders: Tensor  # [P] sender of the edge
    shapes: tuple[tuple[int, int], ...]  # (n, K) of the tables
    order: Tensor | None  # row of each node in the stacked tables (None: one table, in order)

    @property
    def n_places(self) -> int:
        return self.senders.shape[0]

    def in_places(self, values: Tensor) -> Tensor:
        """Values of edges [E, ...] in their places, [P, ...]."""
        return values if self.edges is None else values.index_select(0, self.edges)

    def split(self, places: int) -> list["NeighbourLayout"]:
        """Cut the stacked tables, row by row, into layouts of at most so many places or one row."""
        shapes = []
        for n, k in self.shapes:
            rows = max(1, places // max(k, 1))
            shapes += [(min(rows, n - start), k) for start in range(0, n, rows)]
        sizes = [n * k for n, k in shapes]
        edges = self.edges
        if edges is None:
            edges = torch.arange(self.n_places, device=self.senders.device)
        tables = (table.split(sizes) for table in (edges, self.filled, self.senders))
        return [
            NeighbourLayout(edges, filled, senders, (shape,), None)
            for edges, filled, senders, shape in zip(*tables, shapes, strict=True)
        ]


def neighbour_layout(
    edge_index: Tensor, n_nodes: int, dtype: torch.dtype | None = None
) -> NeighbourLayout:
    """Arrange edges [2, E] (receivers, senders), in any order, by receiver.

    One padded table where at most half of it and sixteen places of each node are wasted; else one
    for each power of two in the degrees, so that a few crowded nodes do not pad all others.
    ``dtype`` is that of ``filled``.
    """
    receivers = edge_index[0]
    device, n_edges = receivers.device, receivers.shape[0]
    by_receiver = torch.argsort(receivers, stable=True)
    degree = torch.bincount(receivers, minlength=n_nodes)
    start = torch.cumsum(degree, 0) - degree
    width = _whole(degree) if n_nodes else 0
    if n_nodes * width <= 2 * n_edges + 16 * n_nodes:
        tables, order = [(start, degree, width)], None
    else:
        size = torch.ceil(torch.log2(degree.clamp(min=1).double())).long()
        members = [torch.nonzero(size == s)[:, 0] for s in torch.unique(size).tolist()]
        tables = [(start[nodes], degree[nodes], _whole(degree[nodes])) for nodes in members]
        order = torch.argsort(torch.cat(members))

    places, filled = [], []
    for first, n_filled, k in tables:
        slot = torch.arange(k, device=device)
        filled.append((slot < n_filled[:, None]).flatten())
        places.append((slot + first[:, None]).flatten())
    position = torch.cat(places)
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
    between (channels) are kept. ``h`` is in the layout's places, and zero in the
    empty ones.
    """
    tables = _tables(h, layout)

    def outer(f: Tensor) -> Tensor:
        gathered = _tables(f.index_select(0, layout.senders), layout)
        sums = [_sum(*table) for table in zip(tables, gathered, strict=True)]
        return sums[0] if layout.order is None else torch.cat(sums).index_select(0, layout.order)

    return [outer(f) for f in parts]


def _whole(degree: Tensor) -> int:
    """Places for so many neighbours each: the most, or a few more."""
    most = int(degree.max())
    return most if most < 2 * WHOLE else -(-most // WHOLE) * WHOLE


def _sum(h: Tensor, f: Tensor) -> Tensor:
    """[n, K, ..., a], [n, K, ..., b] -> [n, ..., a, b], summed over K."""
    if h.ndim == 3:  # without the views that matmul adds; the wider one has the columns
        return torch.bmm(h.mT, f) if f.shape[2] >= h.shape[2] else torch.bmm(f.mT, h).mT
    return h.movedim(1, -1) @ f.movedim(1, -2)


def _tables(values: Tensor, layout: NeighbourLayout) -> list[Tensor]:
    """Values [P, ...] in the layout's places as its tables [n, K, ...]."""
    sizes = [n * k for n, k in layout.shapes]
    strips = values.split(sizes) if len(sizes) > 1 else [values]  # backward, split is a copy
    return [strip.unflatten(0, n_k) for strip, n_k in zip(strips, layout.shapes, strict=True)]
