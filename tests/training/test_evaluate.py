"""Evaluation and figures."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.training.data import Frames
from sikff.training.evaluate import evaluate, write_json
from sikff.training.files import complete
from sikff.training.plots import energy_drift, learning_curves, parity, read_log, save_figure

PNG = b"\x89PNG"


@pytest.fixture
def model() -> ForceField:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ForceField(
            ForceFieldConfig(
                elements=("Cu", "Ni"), layers=1, channels=2, max_frequency=1, correlation=1
            )
        )
    return model.double().eval()


def as_frames(atoms: list[ase.Atoms]) -> Frames:
    return Frames("test.xyz", atoms, list(range(len(atoms))))


@pytest.mark.parametrize("batch_size", [1, 5])
def test_metrics_agree_with_the_calculator(
    model: ForceField, frames: list[ase.Atoms], batch_size: int
) -> None:
    found = evaluate(model, as_frames(frames), batch_size=batch_size)
    calculator = SIKFFCalculator(model, device="cpu")
    energy, forces, stress = [], [], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator
        energy.append((copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        forces.append(copy.get_forces() - atoms.get_forces())
        stress.append(copy.get_stress(voigt=False) - atoms.get_stress(voigt=False))
    error = np.concatenate(forces)
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in frames])
    expected = {
        "energy_mae_mev_per_atom": 1000 * np.abs(energy).mean(),
        "energy_rmse_mev_per_atom": 1000 * np.sqrt(np.mean(np.square(energy))),
        "force_mae_mev_per_a": 1000 * np.abs(error).mean(),
        "force_rmse_mev_per_a": 1000 * np.sqrt((error**2).mean()),
        "stress_mae_mev_per_a3": 1000 * np.abs(stress).mean(),
        "stress_rmse_mev_per_a3": 1000 * np.sqrt(np.mean(np.square(stress))),
    }
    metrics = {key: found.metrics[key] for key in expected}
    assert metrics == pytest.approx(expected, rel=1e-9)
    by_element = {e: 1000 * np.abs(error[symbols == e]).mean() for e in ("Cu", "Ni")}
    assert found.metrics["force_mae_by_element"] == pytest.approx(by_element, rel=1e-9)
    assert found.metrics["n_frames"] == len(frames)
    assert found.metrics["seconds"] > 0


def test_only_labelled_quantities_are_compared(model: ForceField, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        del atoms.calc.results["forces"], atoms.calc.results["stress"]
    found = evaluate(model, as_frames(frames))
    assert list(found.pairs) == ["energy"]
    assert "force_mae_mev_per_a" not in found.metrics
    frames[0].calc.results["forces"] = np.zeros((4, 3))
    with pytest.raises(ValueError, match="no forces"):
        evaluate(model, as_frames(frames))
    for atoms in frames:
        atoms.calc = None
    with pytest.raises(ValueError, match=r"test\.xyz has no labels"):
        evaluate(model, as_frames(frames))


def test_figures_are_written(tmp_path: Path, model: ForceField, frames: list[ase.Atoms]) -> None:
    found = evaluate(model, as_frames(frames))
    figure = parity(found, "title")
    assert [ax.get_ylabel() for ax in figure.axes][1] == "predicted force component (eV/Å)"
    save_figure(figure, tmp_path / "new" / "parity.png")
    assert (tmp_path / "new" / "parity.png").read_bytes().startswith(PNG)
    log = tmp_path / "log.csv"
    log.write_text("epoch,train_loss,valid_loss,energy_mae_mev_per_atom\n0,2,3,4\n")
    figure = learning_curves(read_log(log))
    assert [ax.get_ylabel() for ax in figure.axes] == ["loss", "validation energy MAE (meV/atom)"]
    save_figure(figure, tmp_path / "curves.png")
    log.write_text("time_fs,temperature_K,etot_eV\n0,300,1.0\n1000,310,1.5\n")
    figure = energy_drift(read_log(log), n_atoms=5)
    assert figure.axes[0].lines[0].get_xydata().tolist() == [[0, 0], [1, 100]]
    save_figure(figure, tmp_path / "drift.png")


def test_json_appears_only_when_complete(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1.5})
    assert json.loads(path.read_text()) == {"a": 1.5}
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(KeyError), complete(path) as temporary:
        temporary.write_text("half")
        raise KeyError
    assert json.loads(path.read_text()) == {"a": 1.5}
    assert list(tmp_path.iterdir()) == [path]
