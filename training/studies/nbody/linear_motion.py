"""The best linear prediction that a symmetry allows: a baseline, and where networks start."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import Linear

from .particle_graphs import ParticleGraphs

ORDER = 2  # powers of the springs' Laplacian, at most


class Features(nn.Module):
    """Features f of a particle and, coupled through springs, of the others: f, L f, L^2 f, ...

    L f_i = sum_j s_ij (f_i - f_j) is the force of the springs, up to a factor; a motion under
    springs alone is a power series in L.

    Args:
        group: the symmetry.
        height: whether the height above the plane is a feature.
        field: whether the axis is a feature, and with it the components of all vectors along it.
        order: highest power of L; 0: single-particle features only.

    Attributes:
        out_type: v, L x, L v, L^2 x, L^2 v as vectors, then the invariants.
    """

    def __init__(
        self, group: SymmetryGroup, *, height: bool, field: bool, order: int = ORDER
    ) -> None:
        super().__init__()
        self.height, self.field, self.order = height, field, order
        n_scalars = (2 + height) * (1 + order)
        n_vectors = 1 + 2 * order
        if field:
            n_vectors = 2 * n_vectors + 1 + n_scalars
        self.out_type = FieldType.vector(group, n_vectors) + FieldType.scalar(group, n_scalars)

    def forward(self, graphs: ParticleGraphs) -> Tensor:
        """[T, n, size]."""
        scalars = [graphs.scalars] + ([graphs.heights] if self.height else [])
        vectors = torch.cat([graphs.positions, graphs.velocities], dim=-1)
        state = torch.cat([vectors, *scalars], dim=-1)
        powers = [state]
        degree = graphs.springs.sum(dim=-1, keepdim=True)
        for _ in range(self.order):
            powers.append(degree * powers[-1] - graphs.springs @ powers[-1])
        invariants = torch.cat([power[..., 6:] for power in powers], dim=-1)
        vectors = torch.cat([graphs.velocities, *(power[..., :6] for power in powers[1:])], dim=-1)
        if self.field:
            along = vectors.unflatten(-1, (-1, 3)) @ graphs.axis
            sizes = torch.cat([along, invariants, torch.ones_like(along[..., :1])], dim=-1)
            axial = (sizes.unsqueeze(-1) * graphs.axis).flatten(-2)
            vectors = torch.cat([vectors, axial], dim=-1)
        return torch.cat([vectors, invariants], dim=-1)


class LinearMotion(nn.Module):
    """The equivariant linear map of features to displacements, by least squares."""

    def __init__(self, features: Features) -> None:
        super().__init__()
        self.features = features
        group = features.out_type.group
        self.map = Linear(features.out_type, FieldType.vector(group), bias=True)
        self.requires_grad_(False)

    def forward(self, graphs: ParticleGraphs) -> Tensor:
        """Displacements [T, n, 3]."""
        return self.map(self.features(graphs))

    @torch.no_grad()
    def solve(self, graphs: ParticleGraphs, targets: Tensor) -> None:
        """Least squares, of least norm where features depend on each other.

        The map is linear in its weights: its columns are found by setting each to one.
        """
        weights = [weight.view(-1) for weight in self.map.parameters()]
        for weight in weights:
            weight.zero_()
        features = self.features(graphs)
        columns = []
        for weight in weights:
            for k in range(len(weight)):
                weight[k] = 1.0
                columns.append(self.map(features).flatten())
                weight[k] = 0.0
        matrix = torch.stack(columns, dim=1).cpu()
        size = matrix.norm(dim=0)
        size[size == 0] = 1.0
        best = torch.linalg.lstsq(matrix / size, targets.flatten().cpu(), driver="gelsd").solution
        values = (best / size).split([len(weight) for weight in weights])
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)
