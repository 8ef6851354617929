"""Runs that learn from EMT in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase
import ase.io
import pytest
from ase.cluster import Octahedron

from sikff.training.learn import sizes
from sikff.training.learn.config import LearnConfig

MODEL = {"layers": 1, "channels": 2, "max_frequency": 2, "correlation": 2, "cutoff": 4.0}


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few steps of dynamics and of training."""
    monkeypatch.setattr(sizes, "ROUNDS", {1: 40})
    monkeypatch.setattr(sizes, "LATER", 40)
    monkeypatch.setattr(sizes, "WARM", (12, 0))
    monkeypatch.setattr(sizes, "SCRATCH", (30, 0))
    monkeypatch.setattr(sizes, "LAST", (40, 0))
    monkeypatch.setattr(sizes, "WALKERS", 2)
    monkeypatch.setattr(sizes, "STARTS", 6)
    monkeypatch.setattr(sizes, "FINAL", 8)


@pytest.fixture
def cluster() -> ase.Atoms:
    return Octahedron("Cu", 2)


@pytest.fixture
def make_config(tmp_path: Path, cluster: ase.Atoms) -> Callable[..., LearnConfig]:
    """A run with the cluster; keys differ as given."""

    def make(*structures: ase.Atoms, **keys: Any) -> LearnConfig:
        ase.io.write(tmp_path / "start.xyz", list(structures) or [cluster])
        given = {
            "structures": tmp_path / "start.xyz",
            "calculator": {"name": "ase.calculators.emt.EMT"},
            "temperatures": [300.0],
            "target": 200.0,
            "max_labels": 30,
            "model": MODEL,
            "output": tmp_path / "learned",
        }
        return LearnConfig.model_validate(given | keys)

    return make
