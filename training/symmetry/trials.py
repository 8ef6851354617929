"""Small force fields of candidate groups, trained alike, and their errors on test structures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import ase
import ase.io
import numpy as np

from sikff.forcefield import load
from sikff.graph.conditions import KEYS as CONDITIONS
from sikff.groups import SymmetryGroup
from sikff.groups.aliasing import mistaken_for

from ..config import TrainConfig
from ..data.samples import make_samples
from ..data.structures import Structure, Structures, split_validation
from ..fitting.fit import fit
from .judge import Train

Array = np.ndarray

KEPT_BACK, VALIDATED = 0.2, 0.1  # parts of the data
MOST_KEPT_BACK = 500
FEWEST = 20  # frames to train and test on
FORCE_FIELD = {"channels": 16, "max_frequency": 2, "feature_frequency": 1}


def check_trainable(names: Sequence[str]) -> None:
    """Refuses groups that the small force fields trained here cannot have.

    Raises:
        ValueError: naming one whose models would be those of a continuous group.
    """
    most = int(FORCE_FIELD["max_frequency"])
    for name in names:
        larger = mistaken_for(SymmetryGroup(name), most)
        if larger is not None:
            raise ValueError(
                f"models of {name} with frequencies up to {most}, as they are trained here, are "
                f"those of {larger.name}; leave it out, or go without trainings (--minutes 0)"
            )


def force_field_trainings(
    structures: Structures,
    settings: Callable[[str], Mapping[str, Any]],
    *,
    minutes: float,
    seed: int,
) -> Train:
    """Trains force fields; mean absolute force errors (meV/Å) of structures kept back.

    Args:
        structures: with energies and forces.
        settings: group, axis and environment of the model for a group.
        minutes: of each training.
        seed: of the split and the weights.

    Raises:
        ValueError: too few structures.
    """
    if len(structures) < FEWEST:
        raise ValueError(
            f"{structures.source}: {len(structures)} structures are too few to train on and to "
            f"test; expected {FEWEST} at least, or no training (minutes: 0)"
        )
    n_test = min(MOST_KEPT_BACK, round(KEPT_BACK * len(structures)))
    train, test = split_validation(structures, n_test, seed)

    def errors(name: str) -> Array:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "train.xyz"
            ase.io.write(path, [_plain(structure) for structure in train], format="extxyz")
            config = TrainConfig.model_validate(
                {
                    "data": {"train": path, "valid": VALIDATED},
                    "model": {**FORCE_FIELD, **settings(name)},
                    "max_minutes": minutes,
                    "seed": seed,
                    "output": Path(folder) / "run",
                }
            )
            model = load(fit(config))
        samples = make_samples(test, model.config)
        found = [model(sample.graph).forces.double().numpy() for sample in samples]
        labels = test.values("forces")
        return np.array([1000 * abs(f - g).mean() for f, g in zip(found, labels, strict=True)])

    return errors


def _plain(structure: Structure) -> ase.Atoms:
    """Nothing but the structure, its conditions and its labels."""
    atoms = structure.atoms
    plain = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    plain.info["REF_energy"] = float(structure.value("energy"))
    plain.arrays["REF_forces"] = structure.value("forces")
    plain.info |= {key: atoms.info[key] for key in CONDITIONS if key in atoms.info}
    return plain
