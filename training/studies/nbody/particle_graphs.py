"""Trajectories as tensors: inputs and labels of models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.nn import NeighbourLayout, neighbour_layout

from ..samples import Samples
from .particle_systems import Charged, Trajectories

MEAN_SPRING = 0.5  # half of the pairs are joined


class Pairs(NamedTuple):
    """All ordered pairs of particles of T systems, whose particles are numbered t n + i.

    Attributes:
        edge_index: receivers i, in rising order, and senders j, [2, E] with E = T n (n - 1).
        entries: indices of the pairs in a flattened matrix [T, n, n], [E].
        layout: the pairs by receiver, for our convolutions.
    """

    edge_index: Tensor
    entries: Tensor
    layout: NeighbourLayout

    def sum(self, messages: Tensor) -> Tensor:
        """Messages [E, c] summed by receiver, [T n, c]."""
        n_particles, n_others = self.layout.shapes[0]
        return messages.view(n_particles, n_others, -1).sum(dim=1)


@dataclass(frozen=True, eq=False)
class ParticleGraphs(Samples):
    """T systems of n particles, fully connected.

    Attributes:
        positions: relative to a point of the plane, [T, n, 3].
        velocities: [T, n, 3].
        scalars: equilibrium length and charge of each particle, [T, n, 2].
        springs: 1 where a pair is joined, 0 where not, 1/2 where that is hidden; between charged
            particles the product of their charges, [T, n, n].
        axis: unit vector, [3].
    """

    SHARED = ("axis",)
    VECTORS = ("positions", "velocities")

    positions: Tensor
    velocities: Tensor
    scalars: Tensor
    springs: Tensor
    axis: Tensor

    @property
    def heights(self) -> Tensor:
        """Above the plane, [T, n, 1]."""
        return (self.positions @ self.axis).unsqueeze(-1)

    @property
    def pairs(self) -> Pairs:
        """The pairs of these systems; cached for each number of systems."""
        n_systems, n, _ = self.positions.shape
        return _pairs(n_systems, n, self.positions.device, self.positions.dtype)

    @property
    def differences(self) -> tuple[Tensor, Tensor]:
        """Positions x_j - x_i and velocities v_j - v_i of all pairs, [E, 3] each."""
        i, j = self.pairs.edge_index
        x, v = (
            y.flatten(0, 1).index_select(0, j) - y.flatten(0, 1).index_select(0, i)
            for y in (self.positions, self.velocities)
        )
        return x, v

    def rotated(self, matrix: Tensor, *, with_axis: bool = False) -> ParticleGraphs:
        """The systems under an orthogonal matrix [3, 3]; the plane too, if `with_axis`."""
        graphs = super().rotated(matrix)
        return replace(graphs, axis=self.axis @ matrix.to(self.axis).T) if with_axis else graphs


@lru_cache(maxsize=16)
def _pairs(n_systems: int, n: int, device: torch.device, dtype: torch.dtype) -> Pairs:
    different = ~torch.eye(n, dtype=torch.bool, device=device)
    entries = different.expand(n_systems, n, n).flatten().nonzero().squeeze(1)
    receivers = entries // n
    senders = receivers // n * n + entries % n
    edge_index = torch.stack([receivers, senders])
    return Pairs(edge_index, entries, neighbour_layout(edge_index, n_systems * n, dtype))


def graphs_of(trajectories: Trajectories, *, hidden: bool) -> ParticleGraphs:
    """The first frame, in float64, with the springs or, if hidden, their mean."""
    attributes = trajectories.attributes
    charges = torch.from_numpy(attributes.charges)
    springs = torch.from_numpy(attributes.springs).double()
    others = 1 - torch.eye(springs.shape[-1]).double()
    if isinstance(trajectories.system, Charged):
        springs = charges.unsqueeze(2) * charges.unsqueeze(1) * others
    elif hidden:
        springs = MEAN_SPRING * others.expand_as(springs)
    scalars = torch.stack([torch.from_numpy(attributes.lengths), charges], dim=-1)
    return ParticleGraphs(
        torch.from_numpy(trajectories.positions),
        torch.from_numpy(trajectories.velocities),
        scalars,
        springs.contiguous(),
        torch.from_numpy(trajectories.axis),
    )


def displacements(trajectories: Trajectories) -> Tensor:
    """From the first frame to the second, [T, n, 3] in float64."""
    return torch.from_numpy(trajectories.target_positions - trajectories.positions)
