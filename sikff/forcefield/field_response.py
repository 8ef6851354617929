"""Dipole and polarizability: how the energy responds to a uniform electric field."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sikff.forcefield.energy import EnergyModel
from sikff.graph import AtomicGraph


class FieldResponse(NamedTuple):
    """Derivatives of the energy by the electric field, along the directions the model reads."""

    directions: np.ndarray  # [k, 3], orthonormal
    dipole: np.ndarray  # [k] e Å, in the field
    polarizability: np.ndarray  # [k, k] e Å^2/V; times 14.3996 for a volume in Å^3


def field_response(model: EnergyModel, graph: AtomicGraph) -> FieldResponse:
    """Dipole and polarizability of one structure.

    Raises:
        ValueError: if the model reads no electric field.
    """
    directions = model.field_directions
    dipole = model(graph, forces=False, dipole=True).dipole[0].double().cpu().numpy()
    polarizability = model.polarizability(graph)[0].double().cpu().numpy()
    return FieldResponse(
        directions, directions @ dipole, directions @ polarizability @ directions.T
    )
