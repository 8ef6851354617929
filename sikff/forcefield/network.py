"""The force field: a network of embedding, interaction layers and readouts, and its energy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import FieldType
from sikff.forcefield.chunks import Parts, in_parts
from sikff.forcefield.config import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.edge_features import edge_attr, seen_of_edges, tabulate
from sikff.forcefield.energy import EnergyModel
from sikff.forcefield.environment import Environment
from sikff.forcefield.interaction import Interaction
from sikff.forcefield.zbl import ZBL
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.groups import SymmetryGroup
from sikff.nn import (
    MLP,
    ImplicitKernel,
    NeighbourLayout,
    neighbour_layout,
)


class Network(nn.Module):
    """Embedding, interaction layers, and a readout after each: ``n_out`` numbers for every atom.

    Without neighbours they are exactly zero.

    Args:
        config: sizes.
        group: symmetry group of the network.
        type_group: the group itself, or a larger one whose types are restricted to it.
        n_scalars: number of invariant attributes of an atom (environment).
        vector_type: type of its covariant attribute, or None.
        n_out: numbers read out.
    """

    def __init__(
        self,
        config: ForceFieldConfig,
        group: SymmetryGroup,
        type_group: SymmetryGroup,
        n_scalars: int = 0,
        vector_type: FieldType | None = None,
        n_out: int = 1,
    ) -> None:
        super().__init__()
        self.group, self.channels, self.n_out = group, config.channels, n_out
        n_species, s = len(config.elements), config.species_channels
        self.embedding = nn.Parameter(torch.randn(n_species, s))
        n_node = n_species + n_scalars
        attr_type = FieldType.scalar(group, 2 * s + n_scalars)
        if vector_type is not None:
            attr_type = attr_type + vector_type
        hidden_type = FieldType.harmonic(type_group, config.max_frequency, self.channels)
        in_type = FieldType.scalar(type_group, min(n_species, self.channels))
        self.start = MLP([n_node, in_type.size])
        self.interactions, self.readouts = nn.ModuleList(), nn.ModuleList()
        for k in range(config.layers):
            last = k == config.layers - 1
            frequency = 0 if last else min(config.feature_frequency, config.max_frequency)
            out_type = FieldType.harmonic(type_group, frequency, self.channels)
            types = (in_type, hidden_type, out_type, attr_type)
            interaction = Interaction(*types, config, n_node, keep=k > 0)
            sizes = [interaction.out_type.n_invariants, config.readout_width, n_out]
            self.interactions.append(interaction)
            self.readouts.append(MLP(sizes, bias=False))
            in_type = out_type

    def forward(
        self,
        species: Tensor,
        vectors: Tensor,
        edge_index: Tensor,
        layout: NeighbourLayout,
        scalars: Tensor | None = None,
        covariant: Tensor | None = None,
        parts: Parts | None = None,
    ) -> Tensor:
        """species [N], vectors [E, 3], scalars [N, n_scalars], covariant [N, 3] -> [N, n_out].

        ``parts``: of the layout, to be evaluated one after the other.
        """
        one_hot = _one_hot(species, len(self.embedding), vectors.dtype)
        node = one_hot if scalars is None else torch.cat([one_hot, scalars], dim=-1)
        own = [x for x in (scalars, covariant) if x is not None]
        ends, kernel = (layout.in_places(edge_index[0]), layout.senders), self._kernels[0]
        attr = edge_attr(self.embedding, species, *ends, own, kernel.table is not None)
        edges = seen_of_edges(kernel, attr, vectors, layout, parts)
        f, total = self.start(node), torch.zeros((), dtype=vectors.dtype, device=vectors.device)

        def evaluate(function: Callable[..., Tensor], f: Tensor, is_last: bool = False) -> Tensor:
            if parts is None:
                return function(f, f, node, edges, layout)
            return parts.evaluate(function, f, node, edges, is_last and self._is_summed())

        *before, _ = self.interactions
        for interaction, readout in zip(before, self.readouts, strict=False):
            f = evaluate(interaction, f)
            total = total + _read(readout, f)
        return total + evaluate(self._read_last, f, is_last=True)

    def tabulate(self) -> None:
        """From now on a frozen network looks up what its kernels make of lengths, if it can."""
        tabulate(self._kernels, self.embedding)

    @property
    def widest(self) -> int:
        """Size of the largest features that neighbours send."""
        return max(cast(Interaction, layer).conv.in_type.size for layer in self.interactions)

    @property
    def _kernels(self) -> list[ImplicitKernel]:
        return [cast(Interaction, layer).conv.kernel for layer in self.interactions]

    def _read_last(self, *inputs: Any) -> Tensor:
        return _read(self.readouts[-1], self.interactions[-1](*inputs))

    def _is_summed(self) -> bool:
        """Whether only slopes of the sum of what is read out last matter, as for forces."""
        return self.n_out == 1 and not any(weight.requires_grad for weight in self.parameters())


class ForceField(EnergyModel):
    """An interatomic potential, equivariant under the group that its config names.

    E = sum_i [ E0(z_i) + energy_scale * e_i ] (+ ZBL), with e_i from a :class:`Network` of G and,
    in an environment, a one-body energy. With ``vacuum_group`` there are two networks: one of
    the larger group that does not see the environment, and one of G that is multiplied by
    the environment's attributes, so that without them the model is exactly the vacuum model.
    An atom without neighbours or environment has exactly its E0.

    Called as ``model(graph, forces=True, stress=False)``; see :class:`EnergyModel` for the result.
    Positions may be float64 whatever the dtype of the weights: vectors are taken first and then
    cast; energies are summed in float64.

    Args:
        config: everything but the weights, which are drawn from torch's random generator.
    """

    def __init__(self, config: ForceFieldConfig) -> None:
        super().__init__()
        self.config = config
        self.cutoff, self.elements = config.cutoff, config.elements
        self.surfaces = config.environment.surfaces
        self.provenance: dict[str, Any] = {}
        self.environment = Environment(config)
        n_scalars = self.environment.n_scalars
        self.vacuum = None
        if config.vacuum_group is not None:
            larger = SymmetryGroup(config.vacuum_group, config.axis)
            self.vacuum = Network(config, larger, larger)
        self.network = Network(
            config,
            config.symmetry_group,
            config.symmetry_group_of_types,
            n_scalars,
            self.environment.vector_type,
            n_out=1 if self.vacuum is None else n_scalars,
        )
        self.one_body = None
        if n_scalars:
            self.one_body = MLP([len(self.elements) + n_scalars, config.readout_width, n_scalars])
        self.zbl = ZBL(self.elements, config.cutoff) if config.zbl else None
        self._widest = max(n.widest for n in (self.vacuum, self.network) if n is not None)
        self._e0 = np.array([config.atomic_energies.get(e, 0.0) for e in self.elements])

    def freeze(self) -> Self:
        super().freeze()
        for network in (self.network, self.vacuum):
            if network is not None:
                network.tabulate()
        return self

    @property
    def group(self) -> SymmetryGroup:
        """The symmetry group G."""
        return self.config.symmetry_group

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.network.embedding.dtype

    @property
    def row(self) -> int:
        """Bytes of the largest features that a neighbour sends."""
        return self._widest * self.dtype.itemsize

    def atomic_energies(self, graph: AtomicGraph, layout: NeighbourLayout | None = None) -> Tensor:
        """Energy [N] of each atom (eV, float64).

        Args:
            graph: atoms and their edges.
            layout: of the edges, if it is known; they are then all evaluated at once.
        """
        species, edge_index, vectors = graph.species, graph.edge_index, graph.vectors()
        parts = None
        if layout is None:
            layout = neighbour_layout(edge_index, graph.n_atoms, self.dtype)
            if not self.training:
                parts = in_parts(layout, self.row, vectors.device)
        inputs = (species, vectors.to(self.dtype), edge_index, layout)
        scalars = self.environment.scalars(graph) if self.environment.n_scalars else None
        covariant = (
            None if self.environment.vector_type is None else self.environment.vectors(graph)
        )

        e = self.network(*inputs, scalars, covariant, parts)
        if self.one_body is not None and scalars is not None:
            one_hot = _one_hot(species, len(self.elements), self.dtype)
            of_environment = self.one_body(torch.cat([one_hot, scalars], dim=-1))
            if self.vacuum is None:
                e = e + (of_environment * scalars).sum(-1, keepdim=True)
            else:
                of_vacuum = self.vacuum(*inputs, parts=parts)
                e = ((e + of_environment) * scalars).sum(-1, keepdim=True) + of_vacuum

        e0 = torch.from_numpy(self._e0).to(e.device)[species]
        total = e0 + self.config.energy_scale * e[:, 0].double()
        if self.zbl is not None:
            total = total + self.zbl(vectors.norm(dim=-1), graph)
        return total

    @property
    def field_directions(self) -> np.ndarray:
        """Orthonormal directions [k, 3] along which it reads the electric field; k = 0: none."""
        return self.environment.field_directions

    def check_conditions(self, conditions: Conditions) -> None:
        """Raise ValueError if the model cannot answer for what acts from outside."""
        self.environment.check(conditions)

    def beyond_training(self, graph: AtomicGraph) -> dict[str, str]:
        """What lies outside the range of the training data, in words, by kind."""
        return self.environment.beyond_training(graph)

    def restrict(
        self,
        group: str,
        axis: Sequence[float] | None = None,
        environment: EnvironmentConfig | None = None,
    ) -> ForceField:
        """A model of a subgroup that predicts the same, with all weights that the subgroup allows.

        Every equivariant layer of G is one of the subgroup H whose weights are tied; in the new
        model they are not, so that it can learn what breaks the symmetry G. What is new has the
        weight zero at first. Models of H can be restricted again. With ``vacuum_group`` the
        network in the environment is restricted.

        Args:
            group: name of H.
            axis: of H, if this model is one of O(3) or SO(3) (default: the axis of this model).
            environment: of a model without one. Energies do not depend on it until it is trained
                (default: the environment of this model).

        Raises:
            ValueError: H is unknown or no subgroup, or the axis or environment cannot change so.
        """
        from sikff.forcefield.restrict import restrict

        return restrict(self, group, axis, environment)

    def save(self, path: str | Path, provenance: dict[str, Any] | None = None) -> None:
        """Write the model to one file; see :func:`sikff.forcefield.model_file.save`."""
        from sikff.forcefield.model_file import save

        save(self, path, provenance)


def _read(readout: nn.Module, f: Tensor) -> Tensor:
    """What is read out of the invariants of features [N, d]."""
    return readout(f[:, : len(cast(MLP, readout).weights[0])])


def _one_hot(species: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(n, dtype=dtype, device=species.device)[species]
