"""Second derivatives of the energy in positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from sikff.engines import differentiate, without_candidates
from sikff.forcefield import EnergyModel
from sikff.graph import AtomicGraph, Structure, StructureArrays
from sikff.graph.conditions import Conditions

from .structure_evaluator import StructureEvaluator

Method = Literal["auto", "derivatives", "differences"]
MOST_ATOMS = 200  # for derivatives: their memory is that of a training step


def hessian(
    evaluator: StructureEvaluator,
    structure: Structure,
    conditions: Conditions,
    indices: Sequence[int] | np.ndarray,
    method: Method = "auto",
    step: float = 0.005,
) -> np.ndarray:
    """The Hessian [3n, 3n] in eV/Å² of atoms in a structure, the mean over models, symmetric.

    Args:
        indices: of the n atoms; others stay where they are.
        method: "derivatives": by differentiation of the forces, exact; "differences": central
            differences of forces, with less memory; "auto": derivatives up to 200 atoms.
        step: of the differences, Å.

    Raises:
        ValueError: for another method, atoms that are not there, or a step that is not positive.
    """
    rows = np.asarray(indices, dtype=int)
    count = len(structure.positions)
    if rows.ndim != 1 or not len(rows) or (abs(2 * rows + 1) > 2 * count).any():
        raise ValueError(
            f"indices are {rows.tolist()}; expected some of the {count} atoms, which are counted "
            "from 0"
        )
    if method == "auto":
        method = "derivatives" if count <= MOST_ATOMS else "differences"
    if method == "derivatives":
        inputs = evaluator.inputs([structure], [conditions])
        found = np.mean([_derivatives(model, graph, rows) for model, graph in inputs], axis=0)
    elif method == "differences":
        found = _differences(evaluator, structure, conditions, rows, step)
    else:
        raise ValueError(f"method is {method!r}; expected auto, derivatives or differences")
    return (found + found.T) / 2


def _derivatives(model: EnergyModel, graph: AtomicGraph, rows: np.ndarray) -> np.ndarray:
    """Row by row, each a backward pass through the forces."""
    graph = without_candidates(graph, model.cutoff)
    with torch.inference_mode(False), torch.enable_grad():
        positions = graph.positions.detach().clone().requires_grad_()
        moved = dataclasses.replace(graph, positions=positions)
        first = differentiate(model.atomic_energies, moved, create_graph=True).positions
        if first is None or not first.requires_grad:  # atoms without neighbours
            return np.zeros((3 * len(rows), 3 * len(rows)))
        found = [
            torch.autograd.grad(component, positions, retain_graph=True)[0][rows].reshape(-1)
            for component in first[rows].reshape(-1).unbind()
        ]
    return torch.stack(found).double().cpu().numpy()


def _differences(
    evaluator: StructureEvaluator,
    structure: Structure,
    conditions: Conditions,
    rows: np.ndarray,
    step: float,
) -> np.ndarray:
    if not step > 0:
        raise ValueError(f"step is {step} Å; expected a positive displacement")
    found = []
    for atom in rows:
        for direction in range(3):
            ends = []
            for sign in (1, -1):
                positions = structure.positions.copy()
                positions[atom, direction] += sign * step
                arrays = (structure.numbers, structure.cell, structure.pbc)
                ends.append(StructureArrays.of(positions, *arrays))
            forces = cast(Tensor, evaluator.mean(ends, [conditions] * 2).forces)
            forward, back = forces.double().numpy().reshape(2, -1, 3)[:, rows]
            found.append((back - forward).ravel() / (2 * step))
    return np.array(found)
