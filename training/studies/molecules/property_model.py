"""The network and its settings: residual steerable convolutions, pooled invariants, an MLP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, Linear, neighbour_layout

from ...section import Positive
from ..escnn_kernel import AnalyticConvolution, escnn_space
from ..residual_convolution import ResidualConvolution
from ..study import Count, StudySettings
from .molecule_graphs import BOND_TYPES, ELEMENTS, MoleculeGraphs
from .qm9_targets import find_target

HEAD_WIDTH = 64  # of the last MLP
SIGMA = 1.0  # Å, initial width of the shell of kernels on covalent graphs


@dataclass(frozen=True)
class Variant:
    """The type of a kernel, and its attributes.

    Attributes:
        kernel: "implicit"; "analytic": one layer, the classical basis x weights; "escnn": the basis
            that escnn derives, times weights.
        bonds: whether the type of the bond is one.
        atoms: whether the elements of both ends are.
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


class PropertySettings(StudySettings):
    """Settings of a training on molecules."""

    VARIED: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {
        "seed": ("seeds", (0, 1, 2)),
        "target": ("targets", ("homo",)),
        "variant": ("variants", ("analytic", "implicit", "bonds", "bonds+atoms")),
    }

    data: Path | None = None
    """gdb9.sdf, or the XYZ files of QM9 in a folder or a tar file"""
    keep_uncharacterised: bool = False
    """keep the molecules that uncharacterized.txt lists"""
    target: str = "homo"
    """one of QM9's twelve"""
    variant: Literal["analytic", "implicit", "bonds", "bonds+atoms", "escnn"] = "bonds+atoms"
    """kernels, and what they see (escnn: extra escnn)"""
    group: str = "O(3)"
    """symmetry of the network"""
    graph: Literal["covalent", "radius"] = "covalent"
    """which atoms are neighbours"""
    cutoff: Positive = 4.0
    """of a radius graph, Å"""
    n_train: Annotated[Count | None, Field(alias="train")] = None
    """molecules for training (default: as many as of QM9, or the same fraction of fewer)"""
    n_valid: Annotated[Count | None, Field(alias="valid")] = None
    """molecules for validation (default: as many as of QM9, or the same fraction of fewer)"""
    channels: Count = 16
    """copies of each irrep in the features"""
    order: Annotated[int, Field(ge=0)] = 1
    """highest frequency of the features"""
    convolutions: Count = 3
    """number of them"""
    kernel_fields: Count = 4
    """copies of each irrep inside the kernels"""
    kernel_layers: Annotated[int, Field(ge=2)] = 2
    """of implicit kernels"""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        group = SymmetryGroup(self.group)
        find_target(self.target)
        if VARIANTS[self.variant].kernel == "escnn":
            escnn_space(group, self.order)
        return self

    @property
    def radius(self) -> float | None:
        """The cutoff of a radius graph; None for a covalent one."""
        return self.cutoff if self.graph == "radius" else None


class PropertyModel(nn.Module):
    """A number of order one for each molecule, invariant under G and under translations.

    Args:
        settings: of the study.
        graphs: typical molecules: their mean number of neighbours scales sums over neighbours, and
            for extensive targets their mean number of atoms divides sums over atoms.
    """

    def __init__(self, settings: PropertySettings, graphs: MoleculeGraphs) -> None:
        super().__init__()
        self.variant, self.group = VARIANTS[settings.variant], SymmetryGroup(settings.group)
        extensive = find_target(settings.target).extensive
        self.size = float(graphs.n_atoms.double().mean()) if extensive else None
        neighbours = max(1.0, int(graphs.n_edges.sum()) / int(graphs.n_atoms.sum()))
        variant, group, cutoff = self.variant, self.group, settings.radius
        features = FieldType.harmonic(group, settings.order, settings.channels)
        first = FieldType.scalar(group, settings.channels)
        n_attributes = variant.bonds * BOND_TYPES + variant.atoms * 2 * len(ELEMENTS)
        kernel: dict[str, Any] = {
            "layers": settings.kernel_layers if variant.kernel == "implicit" else 1,
            "hidden_fields": settings.kernel_fields,
            "cutoff": cutoff,
            "sigma": SIGMA,
        }
        if variant.kernel == "escnn":
            kernel = {"rings": settings.kernel_fields, "extent": cutoff or 2 * SIGMA}
            kernel["convolution"] = AnalyticConvolution
        kernel["attr_type"] = FieldType.scalar(group, n_attributes) if n_attributes else None
        kernel["scale"] = neighbours**-0.5
        types = [first, *[features] * (settings.convolutions - 1)]
        types.append(FieldType.scalar(group, HEAD_WIDTH))
        self.embedding = Linear(FieldType.scalar(group, len(ELEMENTS)), first)
        self.convolutions = nn.ModuleList()
        for before, after in pairwise(types):
            self.convolutions.append(ResidualConvolution(before, after, **kernel))
        self.head = MLP([HEAD_WIDTH, HEAD_WIDTH, 1])

    def forward(self, graphs: MoleculeGraphs) -> Tensor:
        """B molecules -> [B]."""
        elements = F.one_hot(graphs.species, len(ELEMENTS)).to(graphs.positions)
        layout = neighbour_layout(graphs.edge_index, len(elements), elements.dtype)
        attr = self._edge_attributes(graphs, elements)
        f = self.embedding(elements)
        vectors = graphs.vectors
        for convolution in self.convolutions:
            f = convolution(f, vectors, graphs.edge_index, attr, layout)
        pooled = f.new_zeros(len(graphs), f.shape[1]).index_add(0, graphs.batch, f)
        size = graphs.n_atoms.unsqueeze(-1) if self.size is None else self.size
        return self.head(pooled / size).squeeze(-1)

    def _edge_attributes(self, graphs: MoleculeGraphs, elements: Tensor) -> Tensor | None:
        """Attributes of edges [E, a], scaled to a mean square of about one."""
        attributes = []
        if self.variant.bonds:
            attributes.append(F.one_hot(graphs.bonds, BOND_TYPES).to(elements))
        if self.variant.atoms:
            attributes += [elements[end] for end in graphs.edge_index]
        return torch.cat(attributes, dim=-1) * 2 if attributes else None


def build(settings: PropertySettings, graphs: MoleculeGraphs) -> PropertyModel:
    """The model of a study, for molecules like these, in float32."""
    with torch.random.fork_rng([]):
        torch.manual_seed(settings.seed)
        return PropertyModel(settings, graphs)
