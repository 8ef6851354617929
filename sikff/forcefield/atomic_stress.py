"""The stress of every atom: from gradients in edge vectors, half for each atom of an edge."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from sikff.forcefield.energy import (
    EnergyModel,
    gradients,
    stresses,
    total,
    without_inference_tensors,
)
from sikff.graph import AtomicGraph
from sikff.plain_torch import plain_autograd


class FullPrediction(NamedTuple):
    """A :class:`~sikff.forcefield.Prediction`, and the stress of every atom."""

    energy: Tensor  # [B] eV, float64
    energies: Tensor  # [N] eV, float64
    forces: Tensor | None  # [N, 3] eV/Å
    stress: Tensor | None  # [B, 3, 3] eV/Å^3
    dipole: Tensor | None = None  # [B, 3] e Å
    stresses: Tensor | None = None  # [N, 3, 3] eV/Å^3; they sum to stress


class EdgeGradients(NamedTuple):
    """Atomic energies of a graph, its edge vectors, and gradients of the sum of energies."""

    energies: Tensor  # [N] eV, float64
    vectors: Tensor  # [E, 3] Å
    in_vectors: Tensor  # [E, 3] eV/Å
    in_positions: Tensor  # [N, 3] eV/Å, the total derivative: minus the forces
    in_field: Tensor | None  # [B, 3] e Å


@dataclass(frozen=True, eq=False)
class _GraphOfVectors(AtomicGraph):
    """A graph whose edge vectors are a tensor in which energies can be differentiated."""

    edge_vectors: Tensor

    def vectors(self) -> Tensor:
        return self.edge_vectors


def differentiate_in_edges(
    model: EnergyModel, graph: AtomicGraph, dipole: bool = False
) -> EdgeGradients:
    """Gradients of the energy of a model in edge vectors and positions, and in the field if wanted.

    The model has to take its edge vectors from ``graph.vectors()``. All results are constants.

    Raises:
        RuntimeError: if the energies of atoms with neighbours have no gradient.
    """
    graph = without_inference_tensors(graph)
    with plain_autograd(graph.positions.device):
        inputs = {"positions": graph.positions.detach().requires_grad_()}
        if dipole:
            inputs["field"] = graph.field.detach().requires_grad_()
        graph = dataclasses.replace(graph, **inputs)
        tensors = {entry.name: getattr(graph, entry.name) for entry in dataclasses.fields(graph)}
        inputs["vectors"] = vectors = graph.vectors()
        energies = model.atomic_energies(_GraphOfVectors(**tensors, edge_vectors=vectors)).double()
        found = gradients(energies, list(inputs.values()), may_be_zero=not graph.n_edges)
    of = dict(zip(inputs, found, strict=True))
    return EdgeGradients(
        energies.detach(), vectors.detach(), of["vectors"], of["positions"], of.get("field")
    )


def atomic_virials(edges: EdgeGradients, edge_index: Tensor) -> Tensor:
    """dE/dstrain of every atom, [N, 3, 3] in eV, symmetric: half of each of its edges'.

    That is sum_e r_e (x) dE/dr_e / 2 over the edges of which the atom is receiver or sender.
    Energies that depend on positions in another way, as above a surface, are not in it.
    """
    outer = edges.vectors.unsqueeze(2) * edges.in_vectors.unsqueeze(1)
    halves = 0.25 * (outer + outer.transpose(1, 2))
    virials = outer.new_zeros(len(edges.in_positions), 3, 3)
    for atoms in edge_index:
        virials.index_add_(0, atoms, halves)
    return virials


def predict_atomic_stress(
    model: EnergyModel, graph: AtomicGraph, dipole: bool = False
) -> FullPrediction:
    """Energies, forces, stress and the stress of every atom, by one backward pass; constants.

    Atomic stresses are atomic virials over the volume of the structure, as ASE defines them: they
    sum to its stress. How much of it an atom has is a convention; here an edge belongs to its two
    atoms alike. What acts on an atom from outside, such as a surface, counts at the atom, at its
    distance from the origin of the coordinates.

    Raises:
        RuntimeError: if the energies of atoms with neighbours have no gradient.
    """
    edges = differentiate_in_edges(model, graph, dipole)
    virials = atomic_virials(edges, graph.edge_index)
    one_body = edges.in_positions.clone()  # less what the edges do
    for sign, atoms in zip((1, -1), graph.edge_index, strict=True):
        one_body.index_add_(0, atoms, edges.in_vectors, alpha=sign)
    outer = graph.positions.unsqueeze(2) * one_body.unsqueeze(1)
    virials += 0.5 * (outer + outer.transpose(1, 2))
    strain = virials.new_zeros(graph.n_graphs, 3, 3).index_add_(0, graph.batch, virials)
    return FullPrediction(
        total(edges.energies, graph),
        edges.energies,
        -edges.in_positions,
        stresses(strain, graph.cell),
        None if edges.in_field is None else -edges.in_field,
        stresses(virials, graph.cell.index_select(0, graph.batch)),
    )
