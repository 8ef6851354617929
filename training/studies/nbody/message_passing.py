"""Message passing on numbers, without symmetry, and its E(n)-equivariant form (EGNN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, RMSNorm

from .particle_graphs import Pairs

LAYERS = 4


class Messages(nn.Module):
    """m_ij = MLP(f_i, f_j, a_ij), f_i + MLP(f_i, sum_j m_ij); `width` is that of f and m."""

    def __init__(self, width: int, n_attributes: int) -> None:
        super().__init__()
        self.norm = RMSNorm(FieldType.scalar(SymmetryGroup("C1"), width), eps=1.0)
        self.message = MLP([2 * width + n_attributes, width, width])
        self.update = MLP([2 * width, width, width])

    def forward(self, f: Tensor, attributes: Tensor, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Features [N, width] and attributes [E, n] -> new features, messages [E, width]."""
        i, j = pairs.edge_index
        g = self.norm(f)
        ends = [g.index_select(0, i), g.index_select(0, j), attributes]
        messages = self.message(torch.cat(ends, dim=-1))
        total = self.norm(pairs.sum(messages))
        return f + self.update(torch.cat([g, total], dim=-1)), messages


class MessagePassing(nn.Module):
    """Message passing without symmetry: vectors are three numbers like any others."""

    def __init__(self, node_type: FieldType, edge_type: FieldType, width: int) -> None:
        super().__init__()
        self.embedding = MLP([node_type.size, width, width])
        self.layers = nn.ModuleList(Messages(width, edge_type.size) for _ in range(LAYERS))
        self.readout = MLP([width + node_type.size, width, width, 3])

    def forward(self, nodes: Tensor, edges: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Nodes [N, a], edges [E, b] and x_j - x_i [E, 3] -> a vector for each node [N, 3]."""
        f = self.embedding(nodes)
        for layer in self.layers:
            f, _ = layer(f, edges, pairs)
        return self.readout(torch.cat([f, nodes], dim=-1))


class EGNN(nn.Module):
    """Messages are functions of distances; they move particles along the vectors between them.

    Satorras, Hoogeboom, Welling, ICML 2021. The vectors among a particle's features, of which its
    velocity is one, move it too.

    Args:
        node_type: vectors, then invariants.
        edge_type: vectors, then invariants; only the latter are used.
        width: of features and messages.
    """

    def __init__(self, node_type: FieldType, edge_type: FieldType, width: int) -> None:
        super().__init__()
        self.n_vectors = (node_type.size - node_type.n_invariants) // 3
        n_attributes = 1 + edge_type.n_invariants
        self.n_edge_components = edge_type.size - edge_type.n_invariants
        self.embedding = MLP([self.n_vectors + node_type.n_invariants, width, width])
        self.layers = nn.ModuleList(Messages(width, n_attributes) for _ in range(LAYERS))
        self.pushes = nn.ModuleList(MLP([width, width, 1]) for _ in range(LAYERS))
        self.drifts = nn.ModuleList(MLP([width, width, self.n_vectors]) for _ in range(LAYERS))

    def forward(self, nodes: Tensor, edges: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Nodes [N, a], edges [E, b] and x_j - x_i [E, 3] -> a vector for each node [N, 3]."""
        i, j = pairs.edge_index
        n = 3 * self.n_vectors
        node_vectors, invariants = nodes[:, :n].unflatten(-1, (-1, 3)), nodes[:, n:]
        f = self.embedding(torch.cat([node_vectors.square().mean(dim=-1), invariants], dim=-1))
        moved = torch.zeros_like(node_vectors[:, 0])
        for layer, push, drift in zip(self.layers, self.pushes, self.drifts, strict=True):
            apart = vectors + moved.index_select(0, j) - moved.index_select(0, i)
            squared = apart.square().sum(dim=-1, keepdim=True)
            attributes = torch.cat([squared / 6, edges[:, self.n_edge_components :]], dim=-1)
            f, messages = layer(f, attributes, pairs)
            step = pairs.sum(push(messages) * apart) / 4
            moved = moved + step + (drift(f).unsqueeze(-1) * node_vectors).mean(dim=1)
        return moved
