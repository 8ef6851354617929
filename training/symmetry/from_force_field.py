"""The symmetry of a force field, measured on structures."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield import ForceField
from sikff.forcefield.energy import gradients
from sikff.graph import AtomicGraph
from sikff.groups import SymmetryGroup
from sikff.groups.matrices import unit_vector
from sikff.plain_torch import plain_autograd

from ..data.samples import make_graph
from ..data.structures import Structures
from .candidates import MODEL_GROUPS, judge_candidates, sample_elements, sort_by_size
from .findings import Findings
from .lie import Defect, LieMatrix, find_axis
from .settings import SearchSettings

N_ORIENTATIONS = 24  # few structures are measured in several each


def find_symmetry_of_model(
    model: ForceField, structures: Structures, search: SearchSettings
) -> Findings:
    """The symmetry of a force field, measured on structures.

    Raises:
        ValueError: structures under conditions that the model does not allow, or without forces.
    """
    measured = MeasuredModel(model, structures, search.seed)
    lie = measured.lie_matrix(search.threshold)
    names = sort_by_size(search.groups or MODEL_GROUPS)
    own = unit_vector(model.config.axis)
    if search.axis is None and lie.n_symmetries in (0, 2):
        finite = [name for name in names if not SymmetryGroup(name).lie_dimension]
        axis = measured.find_axis_of_finite_group(finite, [own, *lie.axes], search.threshold)
    else:
        axis = find_axis(lie, search.axis, [own])
    defects = {name: measured.defect(SymmetryGroup(name, axis), search.threshold) for name in names}
    chosen, candidates = judge_candidates(names, defects)
    source = (
        f"force field of group {model.config.group}, measured on {len(structures)} structures of "
        f"{structures.source}; the environment stays as it is while atoms are rotated"
    )
    environment = model.config.environment.model_dump(mode="json", exclude_defaults=True)
    return Findings(source, chosen, axis, candidates, lie, environment)


class MeasuredModel:
    """A force field and the structures it is measured on, each in a random orientation.

    Atoms and their cell are rotated and mirrored about the centroid, or its projection onto the
    model's plane or the middle of its slit. The environment of the model stays: the plane, and the
    conditions that it reads from the structures.

    Args:
        model: a force field; a copy of it is used, on the CPU in float64.
        structures: of its elements; of many, some are taken.
        seed: of the orientations.

    Raises:
        ValueError: naming a structure under conditions that the model does not allow.
    """

    def __init__(self, model: ForceField, structures: Structures, seed: int = 0) -> None:
        self.model = copy.deepcopy(model).cpu().double().eval()
        n = len(structures)
        indices = np.arange(N_ORIENTATIONS) % n
        if n > N_ORIENTATIONS:
            indices = np.linspace(0, n - 1, N_ORIENTATIONS).astype(int)
        rotations = SymmetryGroup("SO(3)").sample(N_ORIENTATIONS, seed)
        graphs = []
        for index, matrix in zip(indices.tolist(), rotations, strict=True):
            with structures.naming(index):
                graph = make_graph(structures[index], model.config, model.environment)
            graphs.append(_transform(graph, matrix, graph.positions.mean(dim=0, keepdim=True)))
        self.graph = AtomicGraph.batch_of(graphs)
        self.forces = self.model(self.graph).forces

    def lie_matrix(self, threshold: float) -> LieMatrix:
        """M of the energy.

        Raises:
            ValueError: all forces are zero.
        """
        graph = self.graph
        arms = graph.positions - self._pivots()[graph.batch]
        with plain_autograd(graph.positions.device):
            angles = torch.zeros(graph.n_graphs, 3, dtype=torch.float64, requires_grad=True)
            moved = dataclasses.replace(
                graph,
                positions=graph.positions + torch.linalg.cross(angles[graph.batch], arms),
                cell=graph.cell + torch.linalg.cross(angles[:, None], graph.cell),
            )
            energies = self.model.atomic_energies(moved)
            (derivatives,) = gradients(energies, [angles])
        squares = arms.square().sum(dim=1) * self.forces.square().sum(dim=1)
        size = float(squares.sum()) / graph.n_graphs
        return LieMatrix.of_derivatives(derivatives.numpy().T, size, threshold)

    def defect(self, group: SymmetryGroup, threshold: float) -> Defect:
        """|F(g x) - g F(x)| / |F(x)|, root mean square over structures and elements of a group."""
        total, elements = 0.0, sample_elements(group)
        for g in elements:
            forces = self.model(_transform(self.graph, g, self._pivots())).forces
            total += float((forces - self.forces @ g.T).square().sum())
        size = len(elements) * float(self.forces.square().sum())
        return Defect(float(np.sqrt(total / size)), threshold)

    def find_axis_of_finite_group(
        self, names: Sequence[str], axes: Sequence[np.ndarray], threshold: float
    ) -> np.ndarray:
        """Of the axes [3], the first that is one of the largest group with any; else the first."""
        for name in names:
            for axis in axes:
                if not self.defect(SymmetryGroup(name, axis), threshold).is_broken:
                    return axis
        return axes[0]

    def _pivots(self) -> Tensor:
        """The points [B, 3] about which structures are rotated."""
        graph, environment = self.graph, self.model.environment
        counts = torch.bincount(graph.batch).unsqueeze(1)
        sums = torch.zeros(graph.n_graphs, 3, dtype=graph.positions.dtype)
        centres = sums.index_add(0, graph.batch, graph.positions) / counts
        if not environment.has_plane:
            return centres
        heights = (centres - environment.origins(graph)) @ environment.normal
        heights = heights - (environment.config.slit_width or 0.0) / 2
        return centres - heights[:, None] * environment.normal


def _transform(graph: AtomicGraph, matrix: Tensor, pivots: Tensor) -> AtomicGraph:
    """Applies an orthogonal matrix to atoms about pivots [B, 3] and to cells; edges are kept."""
    pivot = pivots[graph.batch]
    return dataclasses.replace(
        graph,
        positions=pivot + (graph.positions - pivot) @ matrix.T,
        cell=graph.cell @ matrix.T,
    )
