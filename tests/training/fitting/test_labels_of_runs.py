"""Runs on labels that are weighted, masked or missing: what does not count changes nothing."""

import copy
from collections.abc import Callable, Sequence

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from runs import changed, rows, weights
from sikff import ForceField, ForceFieldConfig, load
from sikff.training.config import TrainConfig
from sikff.training.data.labels import LabelKeys
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import parity
from sikff.training.fitting.fit import fit

HELD = slice(0, 2)  # atoms


@pytest.fixture
def run(config: TrainConfig) -> Callable[..., tuple[dict[str, torch.Tensor], list[dict], str]]:
    """The weights, the log and the report of a run on structures."""

    def run(name: str, frames: Sequence[ase.Atoms], **update: object) -> tuple:
        path = config.output.with_name(f"{name}.xyz")
        ase.io.write(path, frames)
        settings = {"data": {"train": path, "valid": 3}, "max_epochs": 1, **update}
        this = changed(config, output=config.output.with_name(name), **settings)
        report: list[str] = []
        weights_of_run = weights(fit(this, report=report.append))
        log = [{k: v for k, v in row.items() if k != "minutes"} for row in rows(this)]
        return weights_of_run, log, "\n".join(report)

    return run


def copies(frames: Sequence[ase.Atoms]) -> list[ase.Atoms]:
    """With calculators of their own."""
    found = []
    for atoms in frames:
        found.append(atoms.copy())
        results = {key: np.copy(value) for key, value in atoms.calc.results.items()}
        results["energy"] = float(results["energy"])
        found[-1].calc = SinglePointCalculator(found[-1], **results)
    return found


def test_labels_that_do_not_count_change_nothing(run: Callable, frames: list[ase.Atoms]) -> None:
    """Runs are the same to the last bit, with replayed steps as without, whatever stands there."""
    masked, weightless, frozen = (copies(frames) for _ in range(3))
    rng = np.random.default_rng(0)
    for number, atoms in enumerate(masked):
        atoms.calc.results["forces"][HELD] = 30 * rng.normal(size=(2, 3))
        atoms.arrays["forces_mask"] = np.arange(len(atoms)) >= 2
        if number % 2:
            atoms.calc.results["energy"] = -100.0
            atoms.info["config_energy_weight"] = 0.0
    for number, atoms in enumerate(weightless):
        atoms.calc.results["forces"][HELD] = np.nan
        atoms.arrays["forces_weight"] = (np.arange(len(atoms)) >= 2).astype(float)
        if number % 2:
            del atoms.calc.results["energy"]
    for number, atoms in enumerate(frozen):
        atoms.calc.results["forces"][HELD] = 0.0
        atoms.set_constraint(FixAtoms([0, 1]))
        if number % 2:
            del atoms.calc.results["energy"]
    (w, log, report), *others = (
        run(name, each, loss={"kind": "mse"})
        for name, each in (("masked", masked), ("none", weightless), ("frozen", frozen))
    )
    assert "steps are replayed" in report
    assert "72 force components of weight 0 (forces_mask) in 12 of 12 structures" in report
    assert "that are zero on atoms held by constraints in 12 of 12" in others[1][2]
    for other, other_log, _ in others:
        assert other_log == log
        assert all(torch.equal(w[key], other[key]) for key in w)
    all_count, *_ = run("all", frames)
    assert any(not torch.equal(w[key], all_count[key]) for key in w)
    replayed, _, _ = run("eager", masked, loss={"kind": "mse"}, replay=False)
    assert all((w[key] - replayed[key]).abs().max() < 1e-6 for key in w)


def test_errors_of_labels_that_few_structures_have(run: Callable, frames: list[ase.Atoms]) -> None:
    """Energies of all, forces of a third, a stress of one."""
    for number, atoms in enumerate(frames):
        if number % 3:
            del atoms.calc.results["forces"]
        if number != 6:
            del atoms.calc.results["stress"]
    _, log, _ = run("mixed", frames, loss={"stress": 1.0, "energy": 1.0})
    assert {"energy_mae_mev_per_atom", "force_mae_mev_per_a"} <= log[-1].keys()
    assert all(np.isfinite(list(row.values())).all() for row in log)


def test_a_run_on_forces_alone(run: Callable, config: TrainConfig, frames: list[ase.Atoms]) -> None:
    """It writes no error of energies, and a model whose forces are those of its energies."""
    for atoms in frames:
        del atoms.calc.results["energy"]
    update = {"loss": {"energy": 0}}
    _, log, report = run("forces", frames, **update)
    assert "of the energies of the model only differences" in report
    assert "energy_mae_mev_per_atom" not in log[0] and "force_mae_mev_per_a" in log[0]
    folder = config.output.with_name("forces")
    assert set(load(folder / "model.sikff").config.atomic_energies.values()) == {0.0}
    assert (folder / "parity.png").is_file() and (folder / "learning_curves.png").is_file()
    tuned = {**update, "start": {"model": folder / "model.sikff"}, "model": {}}
    _, _, report = run("tuned", frames, **tuned)
    assert "before training its energies" not in report


def test_fine_tuning_reports_the_energies_there_are(
    run: Callable, config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    run("start", frames, max_epochs=1)
    model = config.output.with_name("start") / "model.sikff"
    tuned = {"start": {"model": model}, "model": {}, "max_epochs": 1}
    errors = []
    for numbers in (range(0), range(1, 12)):
        some = copies(frames)
        for number in numbers:
            del some[number].calc.results["energy"]
        *_, report = run(f"tuned{len(numbers)}", some, **tuned)
        errors += [line for line in report.splitlines() if "before training its ene" in line]
    assert len(errors) == 2 and "nan" not in errors[1]


@pytest.fixture
def model() -> ForceField:
    settings = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ForceField(ForceFieldConfig(elements=("Cu", "Ni"), **settings)).double().eval()


def test_evaluation_counts_what_counts(model: ForceField, frames: list[ase.Atoms]) -> None:
    expected = evaluate(model, frames)
    label, predicted = expected.pairs["forces"]
    first = np.cumsum([0, *map(len, frames)])[:-1]
    for atoms in frames:
        atoms.arrays["my_mask"] = np.ones((len(atoms), 3), bool)
        atoms.arrays["my_mask"][0, 1] = False
        atoms.calc.results["forces"][0, 1] = 1e6
    frames[3].info["config_energy_weight"] = 0.0
    frames[5].info["config_forces_weight"] = 0.0
    keys = LabelKeys(forces_weight="my_mask")
    found = evaluate(model, frames, keys)
    error = predicted - label
    error[first, 1] = np.nan
    kept = np.ones(len(error), bool)
    kept[first[5] : first[5] + len(frames[5])] = False
    mae = 1000 * np.nanmean(abs(error[kept]))
    assert found.metrics["force_mae_mev_per_a"] == pytest.approx(mae)
    assert found.metrics["n_with_forces"] == found.metrics["n_with_energy"] == 11
    assert found.pairs["forces"][0].shape == (kept.sum(), 3) and len(found.symbols) == kept.sum()
    assert np.isnan(found.pairs["forces"][0]).sum() == 11
    symbols = np.array([s for a in frames for s in a.symbols])
    nickel = kept & (symbols == "Ni")
    expected = 1000 * np.nanmean(abs(error[nickel]))
    assert found.metrics["force_mae_by_element"]["Ni"] == pytest.approx(expected)
    other = copy.deepcopy(model)
    next(other.parameters()).data.mul_(2.0)
    spread = evaluate(other, frames, keys).pairs["forces"][1] - found.pairs["forces"][1]
    variance = np.nanmean(spread[np.isfinite(found.pairs["forces"][0])] ** 2) / 2  # of two models
    std = evaluate([model, other], frames, keys).metrics["force_std_mev_per_a"]
    assert std == pytest.approx(1000 * variance**0.5) and std > 1e-3
    text = "\n".join(found.lines)
    assert "11 force components of weight 0 (my_mask) in 11 of 12 structures: left out" in text


def test_parity_plots_show_what_counts(model: ForceField, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.calc.results["forces"][0, 1] = 1e6
        atoms.arrays["forces_mask"] = np.ones((len(atoms), 3), bool)
        atoms.arrays["forces_mask"][0, 1] = False
    figure = parity(evaluate(model, frames))
    limits = figure.axes[1].dataLim
    assert limits.width < 1e3 and np.isfinite([limits.x0, limits.y0, limits.height]).all()
    shown = sum(len(line.get_xdata()) for line in figure.axes[1].lines[:-1])
    assert shown == sum(3 * len(atoms) - 1 for atoms in frames)
    assert "nan" not in figure.axes[1].get_title()
