"""What a run says of its data before it trains."""

from __future__ import annotations

from collections.abc import Sequence

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import OPENED, THROUGH, is_periodic_along
from sikff.graph.conditions import VACUUM

from ..loss_settings import LossConfig
from .labels import NAMES, has_label
from .structures import Structures


def not_validated(valid: Structures, trained: Sequence[str]) -> list[str]:
    """Labels that the run is trained on and no validation structure has, in words."""
    absent = [name for name in trained if len(valid) and name not in valid.label_names]
    return [
        f"note: no validation structure has {name}, so the best epoch is chosen without"
        for name in absent
    ]


def unused_labels(structures: Structures, needed: Sequence[str], loss: LossConfig) -> list[str]:
    """Labels that the structures have and the run does not need, in words."""
    notes = []
    for name in (name for name in NAMES if name not in needed):
        key = getattr(structures.keys, name)
        count = sum(has_label(atoms, name, key) for atoms in structures.atoms)
        if count:
            why = f"loss.{name}: 0"
            if getattr(loss, name) is None:
                why = f"above a surface it depends on the origin; loss.{name} is not given"
            notes.append(f"{name} of {count} of {len(structures)} is not trained on ({why})")
    return notes


def wrapped_through_plane(structures: Structures, model: ForceFieldConfig) -> list[str]:
    """Structures whose heights above the plane of a model change when their atoms are wrapped."""
    if model.environment.plane_origin is None:
        return []
    indices = [
        p
        for p, structure in enumerate(structures)
        if structure.conditions.surface != VACUUM and is_periodic_along(structure.atoms, model.axis)
    ]
    if not indices:
        return []
    return [f"note: {THROUGH} in {structures.names(indices)}: {OPENED}"]
