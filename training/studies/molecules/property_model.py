"""The network: residual steerable convolutions, invariant features pooled, an MLP."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, Linear, neighbour_layout

from ..escnn_kernel import AnalyticConvolution
from ..residual_convolution import ResidualConvolution
from .molecule_graphs import BOND_TYPES, ELEMENTS, MoleculeGraphs

SIGMA = 1.0  # Å, initial width of the shell of kernels on covalent graphs


@dataclass(frozen=True)
class Variant:
    """What a kernel is, and what it is told.

    Attributes:
        kernel: "implicit"; "analytic": one layer, the classical basis x weights; "escnn": the basis
            that escnn derives, times weights.
        bonds: whether it sees the type of the bond.
        atoms: whether it sees the elements of both ends.
    """

    kernel: str = "implicit"
    bonds: bool = False
    atoms: bool = False


VARIANTS = {
    "analytic": Variant(kernel="analytic"),
    "implicit": Variant(),
    "bonds": Variant(bonds=True),
    "bonds+atoms": Variant(bonds=True, atoms=True),
    "escnn": Variant(kernel="escnn"),
}


class PropertyModel(nn.Module):
    """A number of order one for each molecule, invariant under G and under translations.

    Args:
        variant: of the kernels.
        group: G.
        channels: copies of each irrep in the features.
        order: highest frequency of the features.
        convolutions: number of them.
        kernel_fields: copies of each irrep in the hidden activation of a kernel; rings of escnn's.
        kernel_layers: of an implicit kernel.
        cutoff: of a radius graph (Å); None: a covalent graph.
        neighbours: mean number of neighbours of an atom.
        size: atoms of a typical molecule, by which sums over atoms are divided; None: averages.
        head: hidden width of the last MLP.
    """

    def __init__(
        self,
        variant: Variant,
        group: SymmetryGroup,
        *,
        channels: int,
        order: int,
        convolutions: int,
        kernel_fields: int,
        kernel_layers: int,
        cutoff: float | None,
        neighbours: float,
        size: float | None,
        head: int = 64,
    ) -> None:
        super().__init__()
        self.variant, self.group, self.size = variant, group, size
        features = FieldType.harmonic(group, order, channels)
        first = FieldType.scalar(group, channels)
        n_known = variant.bonds * BOND_TYPES + variant.atoms * 2 * len(ELEMENTS)
        kernel: dict[str, Any] = {
            "layers": kernel_layers if variant.kernel == "implicit" else 1,
            "hidden_fields": kernel_fields,
            "cutoff": cutoff,
            "sigma": SIGMA,
        }
        if variant.kernel == "escnn":
            kernel = {"rings": kernel_fields, "extent": cutoff or 2 * SIGMA}
            kernel["convolution"] = AnalyticConvolution
        kernel["attr_type"] = FieldType.scalar(group, n_known) if n_known else None
        kernel["scale"] = neighbours**-0.5
        types = [first, *[features] * (convolutions - 1), FieldType.scalar(group, head)]
        self.embedding = Linear(FieldType.scalar(group, len(ELEMENTS)), first)
        self.convolutions = nn.ModuleList()
        for before, after in pairwise(types):
            self.convolutions.append(ResidualConvolution(before, after, **kernel))
        self.head = MLP([head, head, 1])

    def forward(self, graphs: MoleculeGraphs) -> Tensor:
        """B molecules -> [B]."""
        elements = F.one_hot(graphs.species, len(ELEMENTS)).to(graphs.positions)
        layout = neighbour_layout(graphs.edge_index, len(elements), elements.dtype)
        attr = self._known_of_edges(graphs, elements)
        f = self.embedding(elements)
        vectors = graphs.vectors
        for convolution in self.convolutions:
            f = convolution(f, vectors, graphs.edge_index, attr, layout)
        pooled = f.new_zeros(len(graphs), f.shape[1]).index_add(0, graphs.batch, f)
        size = graphs.n_atoms.unsqueeze(-1) if self.size is None else self.size
        return self.head(pooled / size).squeeze(-1)

    def _known_of_edges(self, graphs: MoleculeGraphs, elements: Tensor) -> Tensor | None:
        """What kernels are told of each edge [E, a], scaled to a mean square of about one."""
        known = []
        if self.variant.bonds:
            known.append(F.one_hot(graphs.bonds, BOND_TYPES).to(elements))
        if self.variant.atoms:
            known += [elements[end] for end in graphs.edge_index]
        return torch.cat(known, dim=-1) * 2 if known else None
