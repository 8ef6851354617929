"""The network of implicit kernels, for any group: this package's answer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.nn import Linear, PointConv, RMSNorm
from sikff.nn.gmlp import Trunk

from .particle_graphs import Pairs

BLOCKS = 2
MAX_FREQUENCY = 1
KERNEL_FIELDS = 8
SHARED_FIELDS = 4
MLP_WIDTH = 32
SHELL = 4.0  # several distances: every particle interacts with every other


class KernelNetwork(nn.Module):
    """Embedding, residual blocks of implicit kernels, and an equivariant MLP for each particle.

    Args:
        node_type, edge_type: of the features of particles, and of the attributes of pairs.
        fields: copies of each irrep in the features.
    """

    def __init__(self, node_type: FieldType, edge_type: FieldType, fields: int) -> None:
        super().__init__()
        group = node_type.group
        features = FieldType.harmonic(group, MAX_FREQUENCY, fields)
        self.embedding = GatedMLP(node_type, features, fields, 2, MLP_WIDTH)
        self.blocks = nn.ModuleList(Block(features, edge_type, fields) for _ in range(BLOCKS))
        self.norm = RMSNorm(features, eps=1.0)
        vector = FieldType.vector(group)
        self.readout = GatedMLP(features + node_type, vector, fields, 3, MLP_WIDTH)

    def forward(self, nodes: Tensor, edges: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        """Nodes [N, a], edges [E, b] and x_j - x_i [E, 3] -> a vector for each node [N, 3]."""
        f = self.embedding(nodes)
        for block in self.blocks:
            f = block(f, edges, vectors, pairs)
        return self.readout(torch.cat([self.norm(f), nodes], dim=-1))


class Block(nn.Module):
    """A convolution whose kernel depends on the features of both ends, and an equivariant MLP.

    Kernels with covariant attributes multiply features again and again. Their norm, with an eps of
    one, leaves small features as they are and keeps large ones from growing without limit.
    """

    def __init__(self, features: FieldType, edge_type: FieldType, fields: int) -> None:
        super().__init__()
        ends = FieldType.harmonic(features.group, MAX_FREQUENCY, SHARED_FIELDS)
        self.norm = RMSNorm(features, eps=1.0)
        self.receiver, self.sender = Linear(features, ends), Linear(features, ends)
        self.convolution = PointConv(
            features,
            features,
            edge_type + ends,
            hidden_fields=KERNEL_FIELDS,
            layers=3,
            max_degree=1,
            nonlinearity="gated",
            sigma=SHELL,
            width=MLP_WIDTH,
            scale=0.5,  # the particles are few
        )
        self.update = GatedMLP(features + features, features, fields, 2, MLP_WIDTH)

    def forward(self, f: Tensor, edges: Tensor, vectors: Tensor, pairs: Pairs) -> Tensor:
        i, j = pairs.edge_index
        g = self.norm(f)
        ends = self.receiver(g).index_select(0, i) + self.sender(g).index_select(0, j)
        attributes = torch.cat([edges, ends], dim=-1)
        m = self.convolution(g, vectors, pairs.edge_index, attributes, pairs.layout)
        return f + self.update(torch.cat([g, self.norm(m)], dim=-1))


class GatedMLP(nn.Module):
    """An equivariant MLP: a network of the invariants, of a given width, gates covariant fields."""

    def __init__(
        self, in_type: FieldType, out_type: FieldType, fields: int, layers: int, width: int
    ) -> None:
        super().__init__()
        irreps = in_type.group.irreps(max(in_type.max_frequency, out_type.max_frequency))
        self.trunk = Trunk(in_type, irreps, fields, layers, "gated", width=width)
        self.output = Linear(self.trunk.out_type, out_type, bias=True)

    def forward(self, f: Tensor) -> Tensor:
        return self.output(self.trunk(f))
