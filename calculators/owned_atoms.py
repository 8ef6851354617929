"""Energies, forces and virials of the atoms that one process has of a structure."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sikff.forcefield import ForceField
from sikff.forcefield.atomic_stress import atomic_virials, differentiate_in_edges
from sikff.forcefield.halo import Halo
from sikff.graph import AtomicGraph


class OwnedPrediction(NamedTuple):
    """What a force field says about the M atoms of a process."""

    energies: Tensor  # [M] eV, float64
    forces: Tensor  # [M, 3] eV/Å
    virials: Tensor  # [M, 6] eV, dE/dstrain: xx, yy, zz, yz, xz, xy; half of each edge's


def predict_owned(model: ForceField, graph: AtomicGraph, halo: Halo | None) -> OwnedPrediction:
    """Evaluates the owned atoms of a graph; None: it has no others.

    What a surface does to atoms is in forces, but not in virials: it would depend on the origin.
    """
    edges = differentiate_in_edges(model, graph, halo=halo)
    virials = atomic_virials(edges, graph.edge_index)
    virials = virials[:, [0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    values = torch.cat([-edges.in_positions, virials], dim=1)
    values = values if halo is None else halo.collect(values)
    return OwnedPrediction(edges.energies, values[:, :3], values[:, 3:])
