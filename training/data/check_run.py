"""What a run needs of its data, and what it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import OPENED, THROUGH, is_periodic_along
from sikff.graph.conditions import VACUUM

from ..config import LossConfig, TrainConfig
from .labels import NAMES, has_label
from .structures import Structures


def not_validated(valid: Structures, trained: Sequence[str]) -> list[str]:
    """Labels that the run is trained on and no validation structure has, in words."""
    absent = [name for name in trained if len(valid) and name not in valid.label_names]
    return [
        f"note: no validation structure has {name}, so the best epoch is chosen without"
        for name in absent
    ]


def check_elements(train: Structures, valid: Structures, config: TrainConfig) -> None:
    """Raises ValueError for elements in validation structures that the model would lack."""
    if config.start is not None or "elements" in config.model:
        return
    foreign = sorted(set(valid.elements) - set(train.elements))
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} occurs in validation structures only; give data.valid or "
            "another seed, or name all elements in model.elements"
        )


def check_config_types(
    structures: Structures, valid: Structures, weights: Mapping[str, float]
) -> None:
    """Raises ValueError for weights of a config_type that no training structure has, and if all
    labelled structures for training, or for validation, have weight 0."""
    kinds = {structure.config_type for structure in structures if structure.config_type}
    foreign = sorted(set(weights) - kinds)
    if foreign:
        raise ValueError(
            f"loss.config_types names {', '.join(foreign)}, which no training structure has as its "
            f"config_type; there are {', '.join(sorted(kinds)) or 'none'}"
        )
    for part in (structures, valid) if len(valid) else (structures,):
        if not any(each.weight for each in part.with_weights(weights)):
            raise ValueError(
                f"{part.source}: loss.config_types is 0 for all {len(part)} structures with labels "
                "for training or validation; expected some weight above 0"
            )


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


def through_plane(structures: Structures, model: ForceFieldConfig) -> list[str]:
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
