"""Training above a crystal surface: the settings a user writes, and flat models that get places."""

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from force_fields import predict
from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

SIDE = 3.0  # Å
FLAT = {"plane_origin": [0, 0, 0], "plane_range": 8.0}
SALT = {**FLAT, "lattice": [[SIDE, 0], [0, SIDE]], "wallpaper": "p4mm"}
SMALL = {"channels": 4, "max_frequency": 2, "kernel_fields": 2, "kernel_width": 8, "layers": 1}


def steele(positions: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of atoms in exp(-z) (cos gx + cos gy) / 2."""
    g = 2 * np.pi / SIDE
    (x, y, _), wave = positions.T, 0.5 * np.exp(-positions[:, 2])
    energies = wave * (np.cos(g * x) + np.cos(g * y))
    forces = np.stack([wave * g * np.sin(g * x), wave * g * np.sin(g * y), energies], axis=1)
    return float(energies.sum()), forces


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pairs of atoms that feel the surface, and a spring between them."""
    rng, frames = np.random.default_rng(0), []
    for _ in range(40):
        bond = rng.normal(size=3)
        bond *= rng.uniform(0.7, 0.8) / np.linalg.norm(bond)
        start = rng.uniform([0, 0, 1.0], [SIDE, SIDE, 3.0])
        atoms = Atoms("H2", [start, start + bond])
        energy, forces = steele(atoms.positions)
        stretch = np.linalg.norm(bond) - 0.75
        pull = 5 * stretch * bond / np.linalg.norm(bond)
        energy += 2.5 * stretch**2
        forces = forces + np.array([pull, -pull])
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        frames.append(atoms)
    ase.io.write(tmp_path / "pairs.xyz", frames)
    return tmp_path / "pairs.xyz"


def config(data: Path, name: str, **settings: Any) -> TrainConfig:
    run = {"data": {"train": data, "valid": 8}, "output": data.with_name(name), "max_epochs": 20}
    return TrainConfig.model_validate(run | settings)


def force_error(path: Path, data: Path) -> float:
    return float(evaluate(load(path), ase.io.read(data, ":")).metrics["force_mae_mev_per_a"])


def test_a_run_with_a_lattice_has_its_point_group_and_sees_places(data: Path) -> None:
    flat = fit(config(data, "flat", model={**SMALL, "group": "C_inf_v", "environment": FLAT}))
    places = fit(config(data, "places", model={**SMALL, "environment": SALT}))
    model = load(places)
    assert (model.group.name, model.config.environment.wallpaper) == ("C4v", "p4mm")
    atoms = ase.io.read(data, 0)
    moved = atoms.copy()
    moved.translate([7 * SIDE, -2 * SIDE, 0])
    assert abs(predict(model, moved).energy - predict(model, atoms).energy) < 1e-5
    assert force_error(places, data) < 0.5 * force_error(flat, data)


def test_a_trained_flat_model_is_fine_tuned_with_places(data: Path) -> None:
    flat = fit(config(data, "flat", model={**SMALL, "group": "C_inf_v", "environment": FLAT}))
    start = {"model": flat}
    tuned = fit(config(data, "tuned", model={"environment": SALT}, start=start))
    assert load(tuned).group.name == "C4v"
    assert force_error(tuned, data) < 0.8 * force_error(flat, data)


def test_cells_that_do_not_repeat_as_the_surface_does_are_refused_before_training(
    data: Path,
) -> None:
    frames = ase.io.read(data, ":")
    for atoms in frames:
        results = atoms.calc.results
        atoms.set_cell([2 * SIDE, 2.1 * SIDE, 20.0])
        atoms.pbc = (True, True, False)
        atoms.calc = SinglePointCalculator(atoms, **results)
    ase.io.write(data, frames)
    with pytest.raises(ValueError, match=r"structure 0: the periodic cell vectors .* 0\.3 Å off"):
        fit(config(data, "misfit", model={**SMALL, "environment": SALT}))
