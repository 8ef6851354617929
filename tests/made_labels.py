"""Structures with labels that a test makes up."""

from collections.abc import Iterable
from dataclasses import replace

import ase
import numpy as np

from sikff.training.data.labels import Label
from sikff.training.data.structures import Structures


def with_labels(atoms: Iterable[ase.Atoms], **labels: Iterable[object]) -> Structures:
    """The structures with these labels, None for a structure that lacks one."""
    structures = Structures.of(atoms)
    columns = zip(*labels.values(), strict=True)
    return replace(
        structures,
        records=[
            replace(
                structure,
                labels={
                    name: Label(np.array(value, dtype=np.float64), name, False)
                    for name, value in zip(labels, values, strict=True)
                    if value is not None
                },
            )
            for structure, values in zip(structures, columns, strict=True)
        ],
    )


def scaled(structures: Structures, **factors: float) -> Structures:
    """The structures with their labels multiplied, by name."""
    return replace(
        structures,
        records=[
            replace(
                structure,
                labels={
                    name: label._replace(value=factors.get(name, 1.0) * label.value)
                    for name, label in structure.labels.items()
                },
            )
            for structure in structures
        ],
    )
