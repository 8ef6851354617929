"""The models of the study by name; they differ in the network of the interactions.

Every model is a sum of three parts, each for what the former leave: the best linear map that its
symmetry allows; the motion of a single particle, :mod:`.single_particle`, the same for all models;
and what the others do to it, a network that differs from model to model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.aliasing import same_invariants

from ..model_size import build_of_size
from .kernel_network import KernelNetwork
from .linear_motion import Features, LinearMotion
from .message_passing import EGNN, MessagePassing
from .particle_graphs import ParticleGraphs
from .single_particle import SingleParticleMotion
from .steerable_rivals import SEGNN, TFN

N_PARAMETERS = 60_000
WIDTHS = range(1, 513)
INVARIANT_DEGREE = 4  # highest degree of invariants of kernels made of vectors, between vectors
PROBED = (1, 2, 3)  # widths; the number of weights is quadratic in the width

Network = Callable[[FieldType, FieldType, int], nn.Module]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        network: from the types of nodes and edges, and a width; None: the linear map alone.
        group: its symmetry; None: to be chosen.
        field: whether the axis is a covariant input.
    """

    network: Network | None
    group: str | None
    field: bool = False


KINDS = {
    "sik": Kind(KernelNetwork, None),
    "o3-field": Kind(KernelNetwork, "O(3)", field=True),
    "segnn": Kind(SEGNN, "O(3)"),
    "tfn": Kind(TFN, "O(3)"),
    "egnn": Kind(EGNN, "O(3)"),
    "mpnn": Kind(MessagePassing, "C1"),
    "linear": Kind(None, None),
}


class Model(nn.Module):
    """Displacements of particles from one frame to the next."""

    def __init__(self, kind: Kind, group: SymmetryGroup, *, height: bool, width: int) -> None:
        super().__init__()
        self.group, self.field = group, kind.field
        height = height and (kind.field or _keeps_heights(group))
        self.linear = LinearMotion(Features(group, height=height, field=kind.field))
        self.single: Part | None = None
        self.network: Part | None = None
        if kind.network is not None:
            nodes = self.linear.features.out_type
            edges = FieldType.vector(group, 2 + kind.field)
            edges += FieldType.scalar(group, 1 + 2 * kind.field)
            self.single_features = Features(group, height=height, field=kind.field, order=0)
            single = self.single_features.out_type
            self.standard_single = Standardise(single)
            self.nodes, self.edges = Standardise(nodes), Standardise(edges)
            self.single = Part(SingleParticleMotion(single, nodes, FieldType.vector(group)))
            self.network = Part(kind.network(nodes, edges, width))

    @torch.no_grad()
    def start(self, graphs: ParticleGraphs, displacements: Tensor) -> None:
        """Solves the linear map for displacements [T, n, 3], and measures the scales of the inputs.

        To be called in float64.
        """
        self.linear.solve(graphs, displacements)
        if self.network is not None:
            self.standard_single.measure(self.single_features(graphs).flatten(0, 1))
            self.nodes.measure(self.linear.features(graphs).flatten(0, 1))
            self.edges.measure(self._edge_attributes(graphs)[1])

    def forward(self, graphs: ParticleGraphs, *, interactions: bool = True) -> Tensor:
        """Displacements [T, n, 3], with the non-linear interactions or without."""
        features = self.linear.features(graphs)
        result = self.linear.map(features)
        if self.single is None or self.network is None:
            return result
        single = self.standard_single.scaled(self.single_features(graphs))
        result = result + self.single(single, self.nodes.scaled(features))
        if not interactions:
            return result
        vectors, edges = self._edge_attributes(graphs)
        nodes = self.nodes(features.flatten(0, 1))
        rest = self.network(nodes, self.edges(edges), vectors, graphs.pairs)
        return result + rest.view_as(result)

    def _edge_attributes(self, graphs: ParticleGraphs) -> tuple[Tensor, Tensor]:
        """Relative positions [E, 3], and all attributes of pairs [E, b]."""
        x, v = graphs.differences
        springs = graphs.springs.flatten()[graphs.pairs.entries].unsqueeze(-1)
        if not self.field:
            return x, torch.cat([x, v, springs], dim=-1)
        along = torch.stack([x @ graphs.axis, v @ graphs.axis], dim=-1)
        return x, torch.cat([x, v, graphs.axis.expand_as(x), springs, along], dim=-1)


class Part(nn.Module):
    """A network times an amplitude, initially zero, and the root mean square of its target."""

    scale: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.amplitude = nn.Parameter(torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, *inputs: Any) -> Tensor:
        return self.scale * self.amplitude * self.network(*inputs)


class Standardise(nn.Module):
    """Gives every irreducible field unit variance, and invariants a mean of zero."""

    offset: Tensor
    matrix: Tensor

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        self.field_type = field_type
        self.register_buffer("offset", torch.zeros(field_type.size))
        self.register_buffer("matrix", torch.eye(field_type.size))

    def measure(self, x: Tensor) -> None:
        """Sets means and variances from features [N, d]; constant fields keep their scale."""
        basis = torch.from_numpy(self.field_type.change_of_basis).to(x)
        means, sizes = [], []
        for irrep, copies, start, stop in self.field_type.canonical.blocks:
            block = (x @ basis)[:, start:stop].unflatten(-1, (irrep.dim, copies))
            mean = block.mean(dim=0) if irrep.is_trivial else torch.zeros_like(block[0])
            size = (block - mean).square().mean(dim=(0, 1)).sqrt()
            means.append(mean.flatten())
            sizes.append(torch.where(size > 1e-8, size, 1.0).repeat(irrep.dim))
        self.offset.copy_(basis @ torch.cat(means))
        self.matrix.copy_(basis @ (basis / torch.cat(sizes)).T)

    def scaled(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d], in the same units but with the mean of invariants left in."""
        return x @ self.matrix

    def forward(self, x: Tensor) -> Tensor:
        return self.scaled(x - self.offset)


def build(
    name: str,
    group: str = "SO(2)",
    *,
    axis: Sequence[float] = (0, 0, 1),
    height: bool = True,
    n_parameters: int = N_PARAMETERS,
    seed: int = 0,
) -> Model:
    """A model whose width gives it about a number of weights.

    Args:
        name: in `KINDS`.
        group: for the kinds whose symmetry can be chosen.
        axis: of the group, [3].
        height: whether the height above the plane is an input, where it is an invariant.
        n_parameters: number of weights.
        seed: of the weights.

    Raises:
        ValueError: as :func:`find_kind`.
    """
    kind, symmetry = find_kind(name, group, axis)

    def of_width(width: int) -> Model:
        return Model(kind, symmetry, height=height, width=width)

    return build_of_size(of_width, n_parameters, WIDTHS, seed, PROBED)


def find_kind(name: str, group: str, axis: Sequence[float]) -> tuple[Kind, SymmetryGroup]:
    """The kind of model of this name, and its symmetry.

    Raises:
        ValueError: an unknown name or group, or a finite group that the models take for a
            continuous one.
    """
    if name not in KINDS:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(KINDS)}")
    kind = KINDS[name]
    symmetry = SymmetryGroup(kind.group or group, axis=axis)
    larger = same_invariants(symmetry, INVARIANT_DEGREE)
    if larger is not None:
        raise ValueError(
            f"models of {symmetry.name} are those of {larger.name} here, as they know no "
            f"invariants of more than {INVARIANT_DEGREE} vectors; take {larger.name}"
        )
    return kind, symmetry


def _keeps_heights(group: SymmetryGroup) -> bool:
    """Whether the height above the plane is an invariant."""
    axis = torch.tensor(group.axis)
    return bool(torch.allclose(group.sample(16, seed=0) @ axis, axis))
