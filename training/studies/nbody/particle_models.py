"""The models of the study, by name: all begin alike, and differ in how particles meet.

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

from sikff.fields import FieldType
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
KNOWN_DEGREE = 4  # of the invariants that kernels between vectors, made of vectors, can know
PROBED = (1, 2, 3)  # enough, as the number of weights is quadratic in the width

Network = Callable[[FieldType, FieldType, int], nn.Module]


@dataclass(frozen=True)
class Kind:
    """A kind of model.

    Attributes:
        network: from the types of nodes and edges, and a width; None: the linear map alone.
        group: its symmetry; None: to be chosen.
        field: whether the axis is given as a covariant attribute.
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
    """Where particles will be, as displacements from where they are.

    Attributes:
        group: the symmetry it has.
        field: whether the axis is turned with the particles, as it is an input.
    """

    def __init__(self, kind: Kind, group: SymmetryGroup, *, height: bool, width: int) -> None:
        super().__init__()
        self.group, self.field = group, kind.field
        height = height and (kind.field or _keeps_heights(group))
        self.linear = LinearMotion(Features(group, height=height, field=kind.field))
        self.own: Part | None = None
        self.network: Part | None = None
        if kind.network is not None:
            nodes = self.linear.features.out_type
            edges = FieldType.vector(group, 2 + kind.field)
            edges += FieldType.scalar(group, 1 + 2 * kind.field)
            vector = FieldType.vector(group)
            self.itself = Features(group, height=height, field=kind.field, order=0)
            self.selves = Standardise(self.itself.out_type)
            self.nodes, self.edges = Standardise(nodes), Standardise(edges)
            self.own = Part(SingleParticleMotion(self.itself.out_type, nodes, vector))
            self.network = Part(kind.network(nodes, edges, width))

    @torch.no_grad()
    def start(self, graphs: ParticleGraphs, displacements: Tensor) -> None:
        """Solves the linear map and takes the scales of the inputs.

        To be called in float64.

        Args:
            graphs: T systems of n particles.
            displacements: [T, n, 3].
        """
        self.linear.solve(graphs, displacements)
        if self.network is not None:
            self.selves.measure(self.itself(graphs).flatten(0, 1))
            self.nodes.measure(self.linear.features(graphs).flatten(0, 1))
            self.edges.measure(self._known_of_pairs(graphs)[1])

    def alone(self, graphs: ParticleGraphs) -> Tensor:
        """Displacements [T, n, 3] without the interactions that are not linear."""
        return self._alone(graphs, self.linear.features(graphs))

    def forward(self, graphs: ParticleGraphs) -> Tensor:
        """Displacements [T, n, 3]."""
        known = self.linear.features(graphs)
        alone = self._alone(graphs, known)
        if self.network is None:
            return alone
        vectors, edges = self._known_of_pairs(graphs)
        nodes = self.nodes(known.flatten(0, 1))
        rest = self.network(nodes, self.edges(edges), vectors, graphs.pairs)
        return alone + rest.view_as(alone)

    def _alone(self, graphs: ParticleGraphs, known: Tensor) -> Tensor:
        linear = self.linear.map(known)
        if self.own is None:
            return linear
        return linear + self.own(self.selves.scaled(self.itself(graphs)), self.nodes.scaled(known))

    def _known_of_pairs(self, graphs: ParticleGraphs) -> tuple[Tensor, Tensor]:
        """Relative positions [E, 3], and with velocities and springs all that is known [E, b]."""
        x, v = graphs.differences
        springs = graphs.springs.flatten()[graphs.pairs.entries].unsqueeze(-1)
        if not self.field:
            return x, torch.cat([x, v, springs], dim=-1)
        along = torch.stack([x @ graphs.axis, v @ graphs.axis], dim=-1)
        return x, torch.cat([x, v, graphs.axis.expand_as(x), springs, along], dim=-1)


class Part(nn.Module):
    """A network that at first adds nothing, and then in units of what is left for it to learn.

    Attributes:
        scale: root mean square of what is left.
    """

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
        """Takes means and variances from features [N, d]; what does not vary is left as it is."""
        basis = torch.from_numpy(self.field_type.change_of_basis).to(x)
        means, sizes = [], []
        for irrep, copies, start, stop in self.field_type.canonical.blocks:
            part = (x @ basis)[:, start:stop].unflatten(-1, (irrep.dim, copies))
            mean = part.mean(dim=0) if irrep.is_trivial else torch.zeros_like(part[0])
            size = (part - mean).square().mean(dim=(0, 1)).sqrt()
            means.append(mean.flatten())
            sizes.append(torch.where(size > 1e-8, size, 1.0).repeat(irrep.dim))
        self.offset.copy_(basis @ torch.cat(means))
        self.matrix.copy_(basis @ (basis / torch.cat(sizes)).T)

    def scaled(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d], in the same units but with the mean of invariants left in."""
        return x @ self.matrix

    def forward(self, x: Tensor) -> Tensor:
        """[..., d] -> [..., d]."""
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
    """A model whose width makes it as large as the others.

    Args:
        name: of a kind of model.
        group: for the kinds whose symmetry can be chosen; the others have their own.
        axis: of the group, [3].
        height: whether the height above the plane is given, where it is an invariant.
        n_parameters: to come near to.
        seed: of the weights.

    Raises:
        ValueError: an unknown name or group, or a group that the model cannot have.
    """
    kind, symmetry = checked(name, group, axis)

    def of_width(width: int) -> Model:
        return Model(kind, symmetry, height=height, width=width)

    return build_of_size(of_width, n_parameters, WIDTHS, seed, PROBED)


def checked(name: str, group: str, axis: Sequence[float]) -> tuple[Kind, SymmetryGroup]:
    """The kind of model of this name, and its symmetry.

    Raises:
        ValueError: an unknown name or group, or a finite group that the models take for a
            continuous one.
    """
    if name not in KINDS:
        raise ValueError(f"unknown model {name!r}; expected one of {', '.join(KINDS)}")
    kind = KINDS[name]
    symmetry = SymmetryGroup(kind.group or group, axis=axis)
    larger = same_invariants(symmetry, KNOWN_DEGREE)
    if larger is not None:
        raise ValueError(
            f"models of {symmetry.name} are those of {larger.name} here, as they know no "
            f"invariants of more than {KNOWN_DEGREE} vectors; take {larger.name}"
        )
    return kind, symmetry


def _keeps_heights(group: SymmetryGroup) -> bool:
    """Whether the height above the plane is an invariant."""
    axis = torch.tensor(group.axis)
    return bool(torch.allclose(group.sample(16, seed=0) @ axis, axis))
