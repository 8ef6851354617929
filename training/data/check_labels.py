"""Checks that labels were computed for their structures.

Checks of data raise only on clear evidence, for data that would waste a run.
"""

from __future__ import annotations

import numpy as np

from sikff.forcefield import ForceFieldConfig
from sikff.graph.conditions import FIELDS

from .structures import Structures


def check_labels(structures: Structures) -> None:
    """Checks that energies and forces differ between structures.

    Raises:
        ValueError: if most structures have one energy although they differ, or all forces are zero
            although the energy changes with the positions.
    """
    with_energy = structures.having("energy")
    energies = np.array(with_energy.values("energy"))
    values, counts = np.unique(energies, return_counts=True)
    most = values[counts.argmax()] if len(values) else np.nan
    same = [each for each, energy in zip(with_energy, energies, strict=True) if energy == most]
    if 2 * len(same) > len(energies) and len({structure.key for structure in same}) > 2:
        raise ValueError(
            f"{structures.source}: {len(same)} of {len(energies)} energies are {most:g} eV, though "
            "structures differ; expected the energy of each (is data.energy_key the right one, or "
            "was the label carried along from another structure?)"
        )
    labelled = structures.having("forces")
    if len(labelled) and not any(np.nan_to_num(f).any() for f in labelled.values("forces")):
        systems = labelled.having("energy").groups(lambda structure: structure.system_key)
        if any(np.ptp(system.values("energy")) > 1e-6 for system in systems):
            raise ValueError(
                f"{structures.source}: all forces are zero, though the energy changes with the "
                "positions; give the forces, or train on energies alone (loss.forces: 0)"
            )


def check_fields(structures: Structures, model: ForceFieldConfig) -> None:
    """Raises ValueError naming structures without electric field if the model reads it."""
    if model.environment.field:
        lacking = [p for p, each in enumerate(structures) if not each.atoms.info.keys() & {*FIELDS}]
        structures.raise_for(
            lacking, "model.environment.field is true but there is no electric_field"
        )
