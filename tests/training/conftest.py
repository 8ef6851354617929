"""Tiny data, labelled by ASE's EMT, and the run that fits it."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.training.config import TrainConfig

MODEL = {
    "layers": 1,
    "channels": 2,
    "max_frequency": 1,
    "correlation": 2,
    "kernel_fields": 8,
    "cutoff": 4.0,
}


def labelled(count: int, seed: int = 0) -> list[ase.Atoms]:
    """Rattled Cu-Ni crystals of four or three atoms, with energy, forces and stress."""
    rng = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.symbols[: number % 3] = "Ni"
        atoms = atoms[: 4 - number % 2]
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        results = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    return frames


def isolated(symbol: str, energy: float) -> ase.Atoms:
    """A free atom."""
    return ase.Atoms(symbol, info={"config_type": "IsolatedAtom", "REF_energy": energy})


@pytest.fixture
def frames() -> list[ase.Atoms]:
    return labelled(12)


@pytest.fixture
def data_file(tmp_path: Path, frames: list[ase.Atoms]) -> Path:
    path = tmp_path / "train.xyz"
    ase.io.write(path, [*frames, isolated("Cu", -1.5), isolated("Ni", -2.5)])
    return path


@pytest.fixture
def config(tmp_path: Path, data_file: Path) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "data": {"train": data_file, "valid": 3},
            "model": MODEL,
            "output": tmp_path / "run",
            "batch_size": 4,
            "max_epochs": 3,
            "dtype": "float64",
            "device": "cpu",
        }
    )
