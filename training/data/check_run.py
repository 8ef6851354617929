"""Checks that a run's data and configuration go together."""

from __future__ import annotations

from collections.abc import Mapping

from ..config import TrainConfig
from .structures import Structures


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
