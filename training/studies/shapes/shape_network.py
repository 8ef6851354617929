"""A classifier of clouds: steerable convolutions on fewer and fewer points, then the largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, Linear, RMSNorm, SquaredNorms, neighbour_layout

from ..escnn_kernel import AnalyticConvolution
from ..model_size import build_of_size
from ..residual_convolution import ResidualConvolution
from .point_clouds import Clouds

KERNELS: dict[str, dict[str, Any]] = {  # options of the convolutions; the neighbours are within 1
    "implicit": {"layers": 2, "hidden_fields": 8, "sigma": 0.5},
    "analytic": {"layers": 1, "hidden_fields": 8, "sigma": 0.5},
    "escnn": {"convolution": AnalyticConvolution, "rings": 4, "extent": 1.0},
}
MAX_FREQUENCY = 1
HIDDEN_WIDTH = 32  # of the classifier
WIDTHS = [quarter / 4 for quarter in range(4, 513)]


class ShapeNetwork(nn.Module):
    """Scores of classes, invariant under the group.

    Each convolution keeps half of the points, which gather features of their nearest neighbours
    among all. Points are in random order, so the first half is a random half; in training the order
    is drawn again in each call.

    Args:
        group: the symmetry G.
        spacings: see :func:`spacings_of`, for each convolution.
        n_neighbours: points that a point gathers from, itself included.
        kernel: name in `KERNELS`.
        width: numbers in the features of each irrep, about.
    """

    def __init__(
        self,
        group: SymmetryGroup,
        n_classes: int,
        *,
        spacings: Sequence[float],
        n_neighbours: int,
        kernel: str,
        width: float,
    ) -> None:
        super().__init__()
        self.group, self.spacings, self.n_neighbours = group, tuple(spacings), n_neighbours
        irreps = FieldType.harmonic(group, MAX_FREQUENCY).irreps
        fields = FieldType(group, [(max(1, round(width / i.dim)), i) for i in irreps])
        self.embed = Linear(FieldType.vector(group) + FieldType.scalar(group), fields)
        self.convolutions = nn.ModuleList(
            ResidualConvolution(fields, fields, scale=n_neighbours**-0.5, **KERNELS[kernel])
            for _ in self.spacings
        )
        self.norm = RMSNorm(fields)
        self.norms = SquaredNorms(fields)
        self.classifier = MLP([fields.n_fields, HIDDEN_WIDTH, n_classes])

    def forward(self, clouds: Clouds) -> Tensor:
        """B clouds of n points -> scores [B, n_classes]."""
        points, normals = clouds.points, clouds.normals
        if self.training:
            order = torch.rand(points.shape[:2], device=points.device).argsort(dim=1).unsqueeze(-1)
            points, normals = (x.take_along_dim(order, dim=1) for x in (points, normals))
        n_clouds = len(points)
        f = self.embed(torch.cat([normals, torch.ones_like(normals[..., :1])], -1).flatten(0, 1))
        for convolution, spacing in zip(self.convolutions, self.spacings, strict=True):
            n = points.shape[1]
            edge_index, receivers = coarser_graph(points, n // 2, self.n_neighbours)
            layout = neighbour_layout(edge_index, len(receivers), f.dtype)
            flat = points.flatten(0, 1)
            vectors = flat[edge_index[1]] - flat[receivers][edge_index[0]]
            f = convolution(f, vectors / spacing, edge_index, layout=layout, receivers=receivers)
            points = points[:, : n // 2]
        f = self.norm(f)
        n = self.embed.out_type.n_invariants
        invariants = torch.cat([f[:, :n], self.norms(f)[:, n:]], dim=-1)
        return self.classifier(invariants.view(n_clouds, -1, invariants.shape[-1]).amax(dim=1))


def coarser_graph(points: Tensor, n_kept: int, n_neighbours: int) -> tuple[Tensor, Tensor]:
    """Edges from the nearest points to the first points of each cloud.

    Args:
        points: [B, n, 3].
        n_kept: number of points of a cloud that receive.
        n_neighbours: number of points that each of them receives from, itself included.

    Returns:
        Receivers, numbered b n_kept + i, and senders, numbered b n + j, [2, E]; and the receivers'
        numbers among the senders, [B n_kept].
    """
    n_clouds, n, _ = points.shape
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(points[:, :n_kept], points, compute_mode=exact)
    nearest = distances.topk(n_neighbours, dim=-1, largest=False).indices
    first = torch.arange(n_clouds, device=points.device)[:, None] * n
    senders = (nearest + first[:, :, None]).flatten()
    kept = (first + torch.arange(n_kept, device=points.device)).flatten()
    receivers = torch.arange(len(kept), device=points.device).repeat_interleave(n_neighbours)
    return torch.stack([receivers, senders]), kept


def spacings_of(points: Tensor, n_layers: int, n_neighbours: int) -> list[float]:
    """Mean distance of the farthest of the nearest points, before each of the convolutions.

    Args:
        points: [B, n, 3].
    """
    spacings = []
    for layer in range(n_layers):
        here = points[:, : points.shape[1] >> layer]
        nearest = torch.cdist(here, here).topk(n_neighbours, dim=-1, largest=False).values
        spacings.append(float(nearest[..., -1].mean()))
    return spacings


def build(
    group: SymmetryGroup, n_classes: int, *, n_parameters: int, seed: int, **options: Any
) -> ShapeNetwork:
    """A network whose width makes it as large as those of other groups.

    Args:
        n_parameters: number of weights to come near to.
        seed: of the weights.
        group, n_classes, **options: as for :class:`ShapeNetwork`.
    """

    def of_width(width: float) -> ShapeNetwork:
        return ShapeNetwork(group, n_classes, width=width, **options)

    return build_of_size(of_width, n_parameters, WIDTHS, seed)
