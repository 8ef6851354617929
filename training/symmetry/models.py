"""A force field: its symmetry is measured, not guessed."""

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

from ..data.samples import make_graph
from ..data.structures import Structures
from .axes import nearest
from .candidates import OF_MODELS, about, by_size, elements
from .findings import Candidate, Findings, findings
from .judge import verdict
from .lie import LieMatrix, lie_matrix
from .settings import Search

N_TURNED = 24  # of few structures, each several times


def of_model(model: ForceField, frames: Structures, search: Search) -> Findings:
    """The symmetry that a force field has, measured on structures.

    Raises:
        ValueError: structures that it cannot answer for, or on which no forces act.
    """
    measured = Measured(model, frames, search.seed)
    lie = measured.lie_matrix(search.threshold)
    names = by_size(search.groups or OF_MODELS)
    own = unit_vector(model.config.axis)
    if search.axis is not None:
        axis = unit_vector(search.axis)
    elif lie.n_symmetries == 3:
        axis = own
    elif lie.n_symmetries == 1:
        axis = nearest(lie.axes[0], [own])
    else:
        finite = [name for name in names if not SymmetryGroup(name).lie_dimension]
        axis = best_axis(measured, finite, [own, *lie.axes], search.threshold)
    defects = {name: measured.defect(about(name, axis)) for name in names}
    chosen = next(name for name in names if defects[name] < search.threshold)
    candidates = tuple(
        Candidate(name, defect, None, None, None, verdict(name, chosen, defect >= search.threshold))
        for name, defect in defects.items()
    )
    source = (
        f"force field of group {model.config.group}, measured on {len(frames.atoms)} structures of "
        f"{frames.source}; the surroundings stay as they are while atoms are turned"
    )
    environment = model.config.environment.model_dump(mode="json", exclude_defaults=True)
    return findings(source, chosen, axis, environment, candidates, lie)


class Measured:
    """A force field and the structures it is measured on, each turned at random.

    Turned and mirrored are the atoms and their cell, about the centroid or the point below it of
    the model's plane or the middle of its slit. What the model knows of the surroundings stays: the
    plane, and the conditions that it reads from the structures.

    Args:
        model: a force field; a copy of it is used, in float64.
        frames: structures of its elements; of many, some are taken.
        seed: of the turns.

    Raises:
        ValueError: naming an environment that the model cannot answer for.
    """

    def __init__(self, model: ForceField, frames: Structures, seed: int = 0) -> None:
        self.model = copy.deepcopy(model).cpu().double().eval()
        n = len(frames.atoms)
        places = np.linspace(0, n - 1, N_TURNED).astype(int) if n > N_TURNED else range(N_TURNED)
        turns = SymmetryGroup("SO(3)").sample(N_TURNED, seed)
        graphs = []
        for place, turn in zip((int(p) % n for p in places), turns, strict=True):
            with frames.naming(place):
                graph = make_graph(frames[place], model.config, model.environment)
            graphs.append(_turned(graph, turn, graph.positions.mean(dim=0)))
        self.graph = AtomicGraph.batch_of(graphs)
        self.forces = self._forces(self.graph)

    def lie_matrix(self, threshold: float) -> LieMatrix:
        """M of the energy.

        Raises:
            ValueError: no forces act.
        """
        graph, pivots = self.graph, self._pivots()[self.graph.batch]
        with torch.enable_grad():
            angles = torch.zeros(graph.n_graphs, 3, dtype=torch.float64, requires_grad=True)
            arms = graph.positions - pivots
            moved = graph.positions + torch.linalg.cross(angles[graph.batch], arms)
            cell = graph.cell + torch.linalg.cross(angles[:, None], graph.cell)
            energies = self.model.atomic_energies(
                dataclasses.replace(graph, positions=moved, cell=cell)
            )
            (slopes,) = gradients(energies, [angles])
        sizes = arms.square().sum(dim=1) * self.forces.square().sum(dim=1)
        size = float(sizes.sum()) / graph.n_graphs
        return lie_matrix(slopes.numpy().T, size, threshold)

    def defect(self, group: SymmetryGroup) -> float:
        """|F(g x) - g F(x)| / |F(x)|, root mean square over structures and elements of a group."""
        total = 0.0
        sample = elements(group)
        for g in sample:
            found = self._forces(_turned(self.graph, g, self._pivots()))
            total += float((found - self.forces @ g.T).square().sum())
        return float(np.sqrt(total / len(sample) / float(self.forces.square().sum())))

    def _forces(self, graph: AtomicGraph) -> Tensor:
        return self.model(graph).forces

    def _pivots(self) -> Tensor:
        """The points [B, 3] about which structures are turned."""
        graph, environment = self.graph, self.model.environment
        counts = torch.bincount(graph.batch).unsqueeze(1)
        sums = torch.zeros(graph.n_graphs, 3, dtype=graph.positions.dtype)
        centres = sums.index_add(0, graph.batch, graph.positions) / counts
        if not environment.has_plane:
            return centres
        heights = (centres - environment.origins(graph)) @ environment.normal
        heights = heights - (environment.config.slit_width or 0.0) / 2
        return centres - heights[:, None] * environment.normal


def best_axis(
    measured: Measured, names: Sequence[str], axes: Sequence[np.ndarray], threshold: float
) -> np.ndarray:
    """The axis about which the first of the groups is obeyed that is obeyed about any.

    Args:
        measured: the force field.
        names: of groups, the largest first.
        axes: to be tried, [3] each; the first is the answer if nothing is obeyed.
        threshold: of the defect.
    """
    for name in names:
        for axis in axes:
            if measured.defect(about(name, axis)) < threshold:
                return axis
    return axes[0]


def _turned(graph: AtomicGraph, matrix: Tensor, pivots: Tensor) -> AtomicGraph:
    """Atoms and cells turned by an orthogonal matrix; who is a neighbour of whom stays."""
    pivot = pivots.expand(graph.n_graphs, 3)[graph.batch]
    return dataclasses.replace(
        graph,
        positions=pivot + (graph.positions - pivot) @ matrix.T,
        cell=graph.cell @ matrix.T,
    )
