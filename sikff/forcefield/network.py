"""The force field: a network of embedding, interaction layers and readouts, and its energy."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.forcefield.chunks import Chunks, SingleChunk
from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.edge_features import add_splines, edge_basis
from sikff.forcefield.interaction import Interaction
from sikff.groups import SymmetryGroup
from sikff.nn import (
    MLP,
    ImplicitKernel,
    NeighbourLayout,
)


class Attributes(NamedTuple):
    """What a network reads of each of N atoms besides its species and neighbours; None: nothing."""

    scalars: Tensor | None = None  # [N, n_scalars], invariant
    edges: Tensor | None = None  # [N, d], steerable, read by kernels
    invariants: Tensor | None = None  # [N, n_invariants], read by nodes alone
    covariants: Tensor | None = None  # [N, d_covariant], likewise
    shares: Tensor | None = None  # [N, n_shares], of charge and spin


NONE = Attributes()


class Network(nn.Module):
    """Embedding, interaction layers, and a readout after each: ``n_out`` numbers for every atom.

    Without neighbours they are exactly zero.

    Args:
        config: sizes.
        group: symmetry group of the network.
        type_group: the group itself, or a larger one whose types are restricted to it.
        n_out: numbers read out.
        n_scalars, n_invariants, n_shares: numbers of :class:`Attributes` of an atom. Where shares
            are zero they change nothing, to the last bit.
        edge_type, covariant_type: types of others; None: none.
    """

    def __init__(
        self,
        config: ForceFieldConfig,
        group: SymmetryGroup,
        type_group: SymmetryGroup,
        n_out: int = 1,
        n_scalars: int = 0,
        n_invariants: int = 0,
        n_shares: int = 0,
        edge_type: FieldType | None = None,
        covariant_type: FieldType | None = None,
    ) -> None:
        super().__init__()
        self.group, self.channels, self.n_out = group, config.channels, n_out
        n_species, s = len(config.elements), config.species_channels
        self.embedding = nn.Parameter(torch.randn(n_species, s))
        n_node = n_species + n_scalars + n_invariants
        attr_type = FieldType.scalar(group, 2 * s + n_scalars)
        if edge_type is not None:
            attr_type = attr_type + edge_type
        hidden_type = FieldType.harmonic(type_group, config.max_frequency, self.channels)
        n_start = config.start_channels or min(n_species, self.channels)
        in_type = FieldType.scalar(type_group, n_start)
        self.start = MLP([n_node, in_type.size])
        self.share_start = None
        if n_shares:
            self.share_start = nn.Parameter(torch.zeros(n_shares, in_type.size))
        self.interactions, self.readouts = nn.ModuleList(), nn.ModuleList()
        for k in range(config.layers):
            last = k == config.layers - 1
            frequency = 0 if last else min(config.feature_frequency, config.max_frequency)
            out_type = FieldType.harmonic(type_group, frequency, self.channels)
            types = (in_type, hidden_type, out_type, attr_type)
            interaction = Interaction(*types, config, n_node, k > 0, n_shares, covariant_type)
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
        chunks: SingleChunk | Chunks,
        attributes: Attributes = NONE,
    ) -> Tensor:
        """species [N], vectors [E, 3] -> [M, n_out], for all atoms but those of a halo.

        ``chunks``: of the layout, by which interactions are evaluated. Attributes are of receivers.
        """
        scalars, on_edges, invariants, covariants, shares = attributes
        species_of = one_hot(chunks.receivers(species), len(self.embedding), vectors.dtype)
        node = joined(species_of, scalars, invariants)
        of_atoms = [x for x in (scalars, on_edges) if x is not None]
        edges = edge_basis(
            self._kernels[0],
            self.embedding,
            species,
            of_atoms,
            vectors,
            edge_index[0],
            layout,
            chunks,
        )
        f, total = self.start(node), torch.zeros((), dtype=vectors.dtype, device=vectors.device)
        if self.share_start is not None and shares is not None:
            f = f + shares @ self.share_start
        node = joined(node, shares, covariants)
        *before, _ = self.interactions
        for interaction, readout in zip(before, self.readouts, strict=False):
            f = chunks.evaluate(interaction, f, node, edges)
            total = total + _read(readout, f)
        return total + chunks.evaluate(self._read_last, f, node, edges, self._is_summed)

    def add_splines(self) -> None:
        """Adds spline tables to the kernels of a frozen network, where they are eligible."""
        add_splines(self._kernels, self.embedding)

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
        """True if only the gradient of the summed energy is needed: frozen, one output."""
        return self.n_out == 1 and not any(weight.requires_grad for weight in self.parameters())


def _read(readout: nn.Module, f: Tensor) -> Tensor:
    """The readout of the invariants of features [N, d]."""
    return readout(f[:, : len(cast(MLP, readout).weights[0])])


def joined(first: Tensor, *others: Tensor | None) -> Tensor:
    """Attributes of the same atoms side by side, without those that are None."""
    present = [x for x in others if x is not None]
    return torch.cat([first, *present], dim=-1) if present else first


def one_hot(species: Tensor, n: int, dtype: torch.dtype) -> Tensor:
    return torch.eye(n, dtype=dtype, device=species.device)[species]
