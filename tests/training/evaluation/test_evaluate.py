"""Evaluation and figures."""

import json
from pathlib import Path

import ase
import numpy as np
import pytest
import torch

from sikff import ForceField, ForceFieldConfig
from sikff.atomic_write import complete
from sikff.calculators import SIKFFCalculator
from sikff.forcefield import EnergyModel, EnvironmentConfig, Prediction
from sikff.graph import AtomicGraph
from sikff.training.data.batches import Targets
from sikff.training.data.labels import NAMES, LabelKeys
from sikff.training.data.samples import make_samples
from sikff.training.data.structures import Structures
from sikff.training.evaluation.evaluate import evaluate, evaluate_samples, write_json
from sikff.training.evaluation.metrics import Errors, Metrics
from sikff.training.evaluation.plots import (
    energy_drift,
    learning_curves,
    parity,
    read_log,
    save_figure,
)
from sikff.training.evaluation.predict import predict
from tolerances import TOLERANCES

LIMIT = TOLERANCES[torch.float64].parity
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


def test_labels_that_are_none_are_said(model: ForceField, frames: list[ase.Atoms]) -> None:
    for atoms in frames[::2]:
        atoms.info["weight"] = 0.0
    assert any(line.startswith("note: weight in ") for line in evaluate(model, frames).lines)
    for atoms in frames[::2]:
        atoms.calc.results["forces"] = np.full((len(atoms), 3), -100.0)
    with pytest.warns(UserWarning, match="forces of -100 in every component"):
        evaluate(model, frames)
    for atoms in frames:
        atoms.info["config_weight"] = 0.0
    with pytest.raises(ValueError, match=r"no labels that count; .*of weight 0 .config_weight. in"):
        evaluate(model, frames)


@pytest.mark.parametrize("batch_size", [1, 5])
def test_metrics_agree_with_the_calculator(
    model: ForceField, frames: list[ase.Atoms], batch_size: int
) -> None:
    found = evaluate(model, frames, batch_size=batch_size)
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
    assert metrics == pytest.approx(expected, rel=LIMIT)
    by_element = {e: 1000 * np.abs(error[symbols == e]).mean() for e in ("Cu", "Ni")}
    assert found.metrics["force_mae_by_element"] == pytest.approx(by_element, rel=LIMIT)
    assert found.metrics["n_frames"] == len(frames)
    assert found.metrics["seconds"] > 0


def test_a_committee_is_compared_by_its_mean(model: ForceField, frames: list[ase.Atoms]) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        other = ForceField(model.config.model_copy(update={"cutoff": 4.0})).double().eval()
    found = evaluate([model, other], frames, batch_size=5).metrics
    calculator = SIKFFCalculator([model, other], device="cpu")
    error, deviation = [], []
    for atoms in frames:
        copy = atoms.copy()
        copy.calc = calculator
        error.append(copy.get_forces() - atoms.get_forces())
        deviation.append(calculator.get_deviations()["forces_std"])
    expected = {
        "force_rmse_mev_per_a": 1000 * np.sqrt(np.mean(np.concatenate(error) ** 2)),
        "force_std_mev_per_a": 1000 * np.sqrt(np.mean(np.concatenate(deviation) ** 2)),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected, rel=LIMIT)
    alone = evaluate(model, frames).metrics
    assert "force_std_mev_per_a" not in alone
    assert abs(alone["force_rmse_mev_per_a"] - found["force_rmse_mev_per_a"]) > 1e-3
    foreign = ForceField(model.config.model_copy(update={"elements": ("Cu",)}))
    with pytest.raises(ValueError, match="the models of the committee disagree"):
        evaluate([model, foreign], frames)


def test_every_model_of_a_committee_must_allow_the_field(
    model: ForceField, frames: list[ase.Atoms]
) -> None:
    settings = {"group": "C_inf_v", "environment": EnvironmentConfig(field=True)}
    upright, lying = (
        ForceField(model.config.model_copy(update={**settings, "axis": axis})).double()
        for axis in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    )
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.1]
    assert evaluate([upright, upright], frames).metrics["n_frames"] == len(frames)
    for models in ([upright, lying], [lying, upright]):
        with pytest.raises(ValueError, match=r"structure 0: .*field"):
            evaluate(models, frames)
    del frames[3].info["electric_field"]
    with pytest.raises(ValueError, match="no electric_field in structure 3"):
        evaluate(upright, frames)


def test_only_labelled_quantities_are_compared(model: ForceField, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        del atoms.calc.results["forces"], atoms.calc.results["stress"]
    found = evaluate(model, frames)
    assert list(found.pairs) == ["energy"]
    assert "force_mae_mev_per_a" not in found.metrics
    frames[2].calc.results["forces"] = np.zeros((4, 3))
    some = evaluate(model, frames, batch_size=5)
    assert some.metrics["n_with_forces"] == 1 and some.metrics["n_frames"] == len(frames)
    alone = evaluate(model, frames[2:3])
    assert "n_with_forces" not in alone.metrics
    assert parity(some, "some").axes and len(some.symbols) == len(frames[2])
    assert some.symbols.tolist() == frames[2].get_chemical_symbols()
    other = ForceField(model.config).double()
    spread = [evaluate([model, other], each).metrics for each in (frames, frames[2:3])]
    assert spread[0]["force_std_mev_per_a"] == pytest.approx(spread[1]["force_std_mev_per_a"])
    for key in ("force_mae_mev_per_a", "force_mae_by_element"):
        assert some.metrics[key] == pytest.approx(alone.metrics[key], rel=LIMIT)
    for one, other in zip(some.pairs["forces"], alone.pairs["forces"], strict=True):
        assert one.shape == other.shape and np.abs(one - other).max() < LIMIT
    assert list(evaluate(model, frames, names=("energy",)).pairs) == ["energy"]
    for atoms in frames:
        atoms.calc = None
    with pytest.raises(ValueError, match=r"structures has no labels"):
        evaluate(model, frames)


def test_errors_by_config_type(model: ForceField, frames: list[ase.Atoms]) -> None:
    assert "by_config_type" not in evaluate(model, frames).metrics
    kinds = ["warm", "none", "cold", "warm"] * 3  # not in order, and one for frames that have none
    for atoms, kind in zip(frames, kinds, strict=True):
        if kind != "none":
            atoms.info["config_type"] = kind
    found = evaluate(model, frames, batch_size=5)
    assert list(found.metrics["by_config_type"]) == ["cold", "none", "warm"]
    for kind, metrics in found.metrics["by_config_type"].items():
        alone = [atoms for atoms, each in zip(frames, kinds, strict=True) if each == kind]
        expected = evaluate(model, alone).metrics
        assert set(metrics) == {key for key in expected if "_mae_mev" in key or "_rmse_" in key}
        assert metrics == pytest.approx({key: expected[key] for key in metrics}, rel=LIMIT)
    lines = found.lines
    energy = found.metrics["energy_mae_mev_per_atom"]
    assert f"{'energy_mae_mev_per_atom':28s} {energy:.4g}" in lines
    assert f"{'n_frames':28s} 12" in lines
    force = found.metrics["by_config_type"]["cold"]["force_mae_mev_per_a"]
    cold = next(line for line in lines if line.startswith("config_type cold "))
    assert f"force_mae_mev_per_a {force:.4g}, " in cold


def test_sums_over_processes_equal_those_of_one_process(
    model: ForceField, frames: list[ase.Atoms]
) -> None:
    """What several processes add up."""
    graph = AtomicGraph.batch_of([AtomicGraph.from_atoms(a, 5.0, ("Cu", "Ni")) for a in frames])
    rng = torch.Generator().manual_seed(0)
    shapes = ((12,), (graph.n_atoms, 3), (12, 3, 3))
    off = Errors(*(torch.randn(s, generator=rng, dtype=torch.float64) for s in shapes))
    whole, first, second = (Metrics(("Cu", "Ni", "Au")) for _ in range(3))
    assert whole.results() == {}
    assert whole.force_mae_by_element() == {}
    targets = Targets(*(torch.zeros(shape) for shape in shapes))
    whole.update(off, targets, graph)
    here = torch.arange(12) % 3 == 0
    first.update(off, targets, graph, here)
    second.update(off, targets, graph, ~here)
    assert whole.sums.shape == (3 + 3, 3)
    assert whole.sums[:3, 2].tolist() == [12, 3 * graph.n_atoms, 9 * 12]
    assert torch.allclose(first.sums + second.sums, whole.sums, rtol=LIMIT, atol=0)
    assert first.sums[0, 0] == off.energy[here].abs().sum()
    joined = Metrics(("Cu", "Ni", "Au"))
    joined.sums = first.sums + second.sums
    assert joined.results() == pytest.approx(whole.results(), rel=LIMIT)
    assert list(joined.force_mae_by_element()) == ["Cu", "Ni"]


def test_evaluation_runs_frozen_models_and_leaves_them_unchanged(
    model: ForceField, frames: list[ase.Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that require gradients cost a fifth of the time and half of the memory."""
    weights = list(model.train().parameters())
    weights[0].requires_grad_(False)
    before = [weight.requires_grad for weight in weights], [weight.clone() for weight in weights]
    graph = AtomicGraph.from_atoms(frames[0], model.cutoff, model.elements)
    expected = model(graph).energy
    running = []

    def forward(self: ForceField, *given: object) -> Prediction:
        running.append((self.training, any(each.requires_grad for each in self.parameters())))
        return EnergyModel.forward(self, *given)

    monkeypatch.setattr(ForceField, "forward", forward)
    evaluate(model, frames)
    predict(model, frames)
    assert set(running) == {(False, False)}
    monkeypatch.undo()
    assert all(module.training for module in model.modules())
    assert [weight.requires_grad for weight in model.parameters()] == before[0]
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before[1], strict=True))
    weights[1].data.add_(1.0)
    assert not torch.equal(model(graph).energy, expected)  # nothing of the old weights is cached
    frozen = model.eval().freeze()
    evaluate(frozen, frames)
    assert not any(weight.requires_grad for weight in frozen.parameters())


def test_existing_samples_are_evaluated_as_their_structures(
    model: ForceField, frames: list[ase.Atoms]
) -> None:
    for number, atoms in enumerate(frames):
        atoms.info["config_type"] = ("warm", "cold")[number % 2]
    for atoms in frames[4:]:
        del atoms.calc.results["stress"]
    structures = Structures.of(frames).with_labels(LabelKeys())
    samples = make_samples(structures, model.config, NAMES)
    found, expected = evaluate_samples([model], [samples], 5), evaluate(model, frames)
    assert found.metrics.keys() == expected.metrics.keys()
    for key in expected.metrics.keys() - {"seconds", "by_config_type"}:
        assert found.metrics[key] == pytest.approx(expected.metrics[key], rel=LIMIT)
    kinds = found.metrics["by_config_type"], expected.metrics["by_config_type"]
    for kind in ("cold", "warm"):
        assert kinds[0][kind] == pytest.approx(kinds[1][kind], rel=LIMIT)
    assert found.symbols.tolist() == expected.symbols.tolist()
    assert {name: len(pair[0]) for name, pair in found.pairs.items()} == {
        name: len(pair[0]) for name, pair in expected.pairs.items()
    }


def test_files_that_cannot_be_evaluated(model: ForceField, frames: list[ase.Atoms]) -> None:
    frames[5].symbols[0] = "Au"
    frames[5].calc.atoms = frames[5].copy()
    with pytest.raises(ValueError, match=r"structures, structure 5: .* holds Au, which "):
        evaluate(model, frames)
    alone = ase.Atoms("Cu", info={"config_type": "IsolatedAtom", "REF_energy": 1.0})
    with pytest.raises(ValueError, match=r"structures: isolated atoms only"):
        evaluate(model, [alone])
    with pytest.raises(ValueError, match=r"structures: no structures"):
        evaluate(model, [])


def test_figures_are_written(tmp_path: Path, model: ForceField, frames: list[ase.Atoms]) -> None:
    found = evaluate(model, frames)
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
