"""The one sum over neighbours: A_i = sum_j h_ij (x) f_j, as products of thin matrices per node."""

from typing import NamedTuple

import torch
from torch import Tensor


class NeighbourGroup(NamedTuple):
    """Nodes of similar degree: [n] nodes, [n, K] edges of each, padded with the number of edges."""

    nodes: Tensor
    edges: Tensor


class NeighbourLayout(NamedTuple):
    """Edges arranged by receiver, padded; built once per neighbour list."""

    groups: tuple[NeighbourGroup, ...]
    order: Tensor | None  # row of each node in the concatenated groups (None: one group, in order)


def neighbour_layout(receivers: Tensor, n_nodes: int) -> NeighbourLayout:
    """Arrange edges [E] by receiver.

    One padded table where that wastes at most half of it; else one for each power of two in
    the degrees, so that a few crowded nodes do not pad all others.
    """
    n_edges = len(receivers)
    order = torch.argsort(receivers, stable=True)
    degree = torch.bincount(receivers, minlength=n_nodes)
    start = torch.cumsum(degree, 0) - degree

    def padded(nodes: Tensor, width: int) -> Tensor:
        slot = torch.arange(width, device=receivers.device)
        position = (start[nodes, None] + slot).clamp(max=max(n_edges - 1, 0))
        edges = order[position] if n_edges else position
        return torch.where(slot < degree[nodes, None], edges, n_edges)

    width = int(degree.max()) if n_nodes else 0
    every = torch.arange(n_nodes, device=receivers.device)
    if n_nodes * width <= 2 * n_edges + 16 * n_nodes:
        return NeighbourLayout((NeighbourGroup(every, padded(every, width)),), None)
    size = torch.ceil(torch.log2(degree.clamp(min=1).to(torch.float64))).long()
    groups = []
    for s in torch.unique(size).tolist():
        nodes = every[size == s]
        groups.append(NeighbourGroup(nodes, padded(nodes, int(degree[nodes].max()))))
    return NeighbourLayout(tuple(groups), torch.argsort(torch.cat([g.nodes for g in groups])))


def sum_outer_products(h: Tensor, f: Tensor, senders: Tensor, layout: NeighbourLayout) -> Tensor:
    """A_i = sum_j h_ij (x) f_j: h [E, ..., a], f [N, ..., b], senders [E] -> [N, ..., a, b].

    Memory is proportional to E (a + b) + N a b: there is no tensor of size E a b. Dimensions in
    between (channels) are kept.
    """
    h = torch.cat([h, h.new_zeros(1, *h.shape[1:])])
    senders = torch.cat([senders, senders.new_zeros(1)])
    sums = [
        h[edges].movedim(1, -1) @ f[senders[edges]].movedim(1, -2) for _, edges in layout.groups
    ]
    if layout.order is None:
        return sums[0]
    return torch.cat(sums)[layout.order]
