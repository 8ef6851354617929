"""Every kind of model, with a structure and conditions for it: what a device has to compute."""

from __future__ import annotations

from typing import Any

import ase

from force_fields import ethanol
from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions

PLANE = {"plane_origin": (0, 0, -2.0)}
KINDS: dict[str, dict[str, Any]] = {
    "O(3)": {"group": "O(3)"},
    "C_inf_v": {"group": "C_inf_v"},
    "plane": {"group": "SO(2)", "environment": PLANE, "vacuum_group": "O(3)", "zbl": True},
    "field": {"group": "O(3)", "environment": {"field": True}},
    "field along the axis": {"group": "C_inf_v", "environment": {"field": True}},
    "slit": {"group": "C6v", "environment": {**PLANE, "slit_width": 12.0}},
    "places": {
        "group": "C4v",
        "environment": {**PLANE, "lattice": ((3.0, 0.0), (0.0, 3.0)), "wallpaper": "p4mm"},
    },
    "charge": {"group": "SO(3)", "environment": {"charge": True, "spin": True}},
    "distances": {"group": "O(3)", "distances_seen": {"H-H": ((1.4, 4.0),), "C-H": ((0.9, 1.3),)}},
    "heights": {
        "group": "C_inf_v",
        "environment": {**PLANE, "height_min": {"H": 2.0, "C": 2.0, "O": 2.0, "Al": 2.0}},
    },
}
CONDITIONS: dict[str, dict[str, Any]] = {
    "field": {"field": (0.1, 0.0, 0.2)},
    "field along the axis": {"field": (0.0, 0.0, 0.2)},
    "charge": {"charge": -1, "spin": 2},
}


def box(seed: int = 0) -> ase.Atoms:
    atoms = ethanol(seed)
    atoms.set_cell([6.0, 6.0, 12.0])
    atoms.pbc = (True, True, False)
    return atoms


def graph_for(model: ForceField, kind: str, seed: int = 0, skin: float = 0.0) -> AtomicGraph:
    conditions = Conditions(**CONDITIONS.get(kind, {}))
    return AtomicGraph.from_atoms(
        box(seed),
        model.cutoff + skin,
        model.elements,
        conditions=conditions,
        surfaces=model.surfaces,
    )
