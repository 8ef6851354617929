"""Training above surfaces with glides: labels of a closed form, and the floor of a wrong group."""

from pathlib import Path

import ase.io
import numpy as np
import pytest

from glide_surface import LATTICE, PLANE, GlideSurface
from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

SIZES = {"channels": 8, "max_frequency": 1, "kernel_fields": 2, "kernel_width": 8, "layers": 1}


def force_error(surface: GlideSurface, wallpaper: str, folder: Path, epochs: int) -> float:
    """Force MAE (meV/Å) on 100 test structures of a model trained on 150."""
    ase.io.write(folder / "train.xyz", surface.frames(150, seed=0))
    environment = {**PLANE, "lattice": LATTICE, "wallpaper": wallpaper}
    config = {
        "data": {"train": folder / "train.xyz", "valid": 10},
        "model": {**SIZES, "environment": environment},
        "output": folder / wallpaper,
        "batch_size": 20,
        "max_epochs": epochs,
    }
    model = load(fit(TrainConfig.model_validate(config)))
    return float(evaluate(model, surface.frames(100, seed=1)).metrics["force_mae_mev_per_a"])


def floor(surface: GlideSurface, wallpaper: str) -> float:
    """Force MAE (meV/Å) of the best model of a wrong group on the test structures."""
    missed = [surface.floor(atoms, wallpaper) for atoms in surface.frames(100, seed=1)]
    return 1000 * float(np.abs(missed).mean())


@pytest.mark.parametrize("name", ["pg", "p2gg"])
def test_labels_have_the_group_and_are_gradients(name: str) -> None:
    surface = GlideSurface(name)
    (atoms,) = surface.frames(1, seed=2)
    assert np.abs(surface.floor(atoms, name)).max() < 1e-12
    for index in np.ndindex(2, 3):
        energies = []
        for step in (1e-4, -1e-4):
            moved = atoms.copy()
            moved.positions[index] += step
            energies.append(surface.label(moved).get_potential_energy())
        assert abs(atoms.get_forces()[index] + (energies[0] - energies[1]) / 2e-4) < 1e-6


@pytest.mark.parametrize(("name", "wrong"), [("pg", "pm"), ("p2gg", "p2mm")])
def test_a_surface_with_glides_is_learned_far_below_the_floor_of_the_group_with_mirrors(
    name: str, wrong: str, tmp_path: Path
) -> None:
    surface = GlideSurface(name)
    assert force_error(surface, name, tmp_path, epochs=35) < 0.5 * floor(surface, wrong)


def test_a_model_with_mirrors_instead_of_glides_stays_at_its_floor(tmp_path: Path) -> None:
    surface = GlideSurface("p2gg")
    error, least = force_error(surface, "p2mm", tmp_path, epochs=20), floor(surface, "p2mm")
    assert 0.95 * least < error < 2 * least
