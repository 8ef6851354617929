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
from sikff.groups.aliasing import continuous_equivalent

from ..config import TrainConfig
from ..data.samples import make_samples
from ..data.structures import Structure, Structures, split_validation
from ..fitting.fit import fit
from .candidates import Trainer

TEST_FRACTION, VALIDATION_FRACTION = 0.2, 0.1
MOST_TESTED = 500  # structures
FEWEST = 20  # structures to train and test on
FORCE_FIELD = {"channels": 16, "max_frequency": 2, "feature_frequency": 1}


def make_force_field_trainer(
    structures: Structures,
    names: Sequence[str],
    model_settings: Callable[[str], Mapping[str, Any]],
    *,
    minutes: float,
    seed: int,
) -> Trainer:
    """A trainer of force fields; its errors are mean absolute force errors (meV/Å).

    Args:
        structures: with energies and forces; the trainer splits off those to test on.
        names: of the groups that may be trained.
        model_settings: group, axis and environment of the model for a group.
        minutes: of each training.
        seed: of the split and the weights.

    Raises:
        ValueError: a group whose models would be those of a continuous group, missing energies, or
            too few structures.
    """
    highest = int(FORCE_FIELD["max_frequency"])
    for name in names:
        larger = continuous_equivalent(SymmetryGroup(name), highest)
        if larger is not None:
            raise ValueError(
                f"models of {name} with frequencies up to {highest}, as they are trained here, are "
                f"those of {larger.name}; leave it out, or go without trainings (--minutes 0)"
            )
    structures.check_labels_complete(["energy"])
    if len(structures) < FEWEST:
        raise ValueError(
            f"{structures.source}: {len(structures)} structures are too few to train on and to "
            f"test; expected {FEWEST} at least, or no training (minutes: 0)"
        )
    n_test = min(MOST_TESTED, round(TEST_FRACTION * len(structures)))
    train, test = split_validation(structures, n_test, seed)

    def train_and_test(name: str) -> np.ndarray:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "train.xyz"
            ase.io.write(path, [make_labelled_atoms(each) for each in train], format="extxyz")
            config = TrainConfig.model_validate(
                {
                    "data": {"train": path, "valid": VALIDATION_FRACTION},
                    "model": {**FORCE_FIELD, **model_settings(name)},
                    "max_minutes": minutes,
                    "seed": seed,
                    "output": Path(folder) / "run",
                }
            )
            model = load(fit(config))
        samples = make_samples(test, model.config)
        forces = [model(sample.graph).forces.double().numpy() for sample in samples]
        labels = test.values("forces")
        return np.array([1000 * abs(f - g).mean() for f, g in zip(forces, labels, strict=True)])

    return train_and_test


def make_labelled_atoms(structure: Structure) -> ase.Atoms:
    """Atoms with the conditions and the labels of a structure, under the usual keys, alone."""
    atoms = structure.atoms
    labelled = ase.Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    labelled.info["REF_energy"] = float(structure.value("energy"))
    labelled.arrays["REF_forces"] = structure.value("forces")
    conditions = zip(CONDITIONS, structure.conditions, strict=True)
    labelled.info |= {key: value for key, value in conditions if value is not None}
    return labelled
