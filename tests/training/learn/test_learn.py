"""Runs that learn: they reach their target, end honestly, and go on after any interruption."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.build import bulk, fcc111
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from sikff import load
from sikff.calculators import SIKFFCalculator
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.learn.config import LearnConfig
from sikff.training.learn.job_folder import LabelsMissingError
from sikff.training.learn.learn import learn
from sikff.training.learn.state import State

MakeConfig = Callable[..., LearnConfig]


class Counting(EMT):
    """Counts what it is asked for, and stops at a number."""

    def __init__(self, stop_at: int = 10**9, fail: Callable[[int], bool] = lambda n: False) -> None:
        super().__init__()
        self.asked: list[bytes] = []
        self.stop_at, self.fail = stop_at, fail

    def calculate(self, atoms: Any = None, *arguments: Any) -> None:
        if len(self.asked) == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(atoms.positions.tobytes())
        if self.fail(len(self.asked)):
            raise CalculationFailed("no convergence")
        super().calculate(atoms, *arguments)


def quiet(line: str) -> None:
    pass


# fresh structures may be beyond the data of so short a run
@pytest.mark.filterwarnings("ignore:atoms .* apart:UserWarning")
def test_a_cluster_is_learned_and_its_error_is_true(
    make_config: MakeConfig, short: None, cluster: ase.Atoms
) -> None:
    config, lines, calculator = make_config(target=3000.0), [], Counting()
    learned = learn(config, calculator, report=lines.append)
    assert learned.reached and learned.labels == len(calculator.asked) <= 30
    assert len(set(calculator.asked)) == len(calculator.asked)
    labels = ase.io.read(config.output / "data.xyz", ":")
    assert len(labels) == learned.labels
    model = load(learned.model)
    assert model.provenance["learning"]["force_mae"] == learned.force_mae
    assert model.provenance["learning"]["structures"] <= 8
    lines_of_log = (config.output / "labels.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines_of_log]
    final = [n for n, record in enumerate(records) if record["use"] == "final"]
    errors = evaluate(model, [labels[n] for n in final]).metrics
    assert errors["force_mae_mev_per_a"] == pytest.approx(learned.force_mae, rel=1e-3)
    trained_on = evaluate(model, [a for n, a in enumerate(labels) if n not in final]).metrics
    assert 0 < trained_on["force_mae_mev_per_a"] < 1000
    moved = cluster.copy()
    moved.calc = SIKFFCalculator(model, device="cpu")
    moved.get_forces()
    page = (config.output / "report.html").read_text()
    assert "<img" in page and "http" not in page and "sikff md" in page
    assert any(line.startswith("round 1: ") for line in lines)


@pytest.mark.filterwarnings("ignore:atoms .* apart:UserWarning")
def test_a_crystal_learns_stress(make_config: MakeConfig, short: None) -> None:
    config = make_config(bulk("Cu", cubic=True), ensemble="npt")
    learned = learn(config, report=quiet)
    labels = ase.io.read(config.output / "data.xyz", ":")
    volumes = [atoms.get_volume() for atoms in labels]
    assert np.ptp(volumes) > 0.005 * np.mean(volumes)
    errors = evaluate(load(learned.model), labels).metrics
    zero = np.mean([abs(atoms.get_stress(voigt=False)).mean() for atoms in labels])
    assert errors["stress_mae_mev_per_a3"] < 1000 * zero


def test_atoms_on_a_slab_keep_fixed_layers(make_config: MakeConfig, short: None) -> None:
    slab = fcc111("Cu", (2, 1, 2), vacuum=6.0, orthogonal=False)
    slab += ase.Atoms("Ni", positions=[slab.positions[-1] + [0.0, 0.0, 2.2]])
    slab.info = {}
    slab.set_constraint(FixAtoms([0, 1]))
    config = make_config(slab)
    learn(config, report=quiet)
    labels = ase.io.read(config.output / "data.xyz", ":")
    assert all(np.allclose(atoms.positions[:2], slab.positions[:2]) for atoms in labels)
    assert np.ptp([atoms.positions[-1] for atoms in labels], axis=0).min() > 0.1
    assert labels[0].get_forces(apply_constraint=False)[:2].any()


def test_the_budget_ends_a_run_and_the_model_is_kept(make_config: MakeConfig, short: None) -> None:
    learned = learn(make_config(target=0.01, max_labels=20), report=quiet)
    assert not learned.reached and learned.labels <= 20
    same = learn(make_config(target=0.01, max_labels=20), resume=True, report=quiet)
    assert same.labels == learned.labels
    more = learn(make_config(target=0.01, max_labels=45), resume=True, report=quiet)
    assert learned.labels < more.labels <= 45
    assert "did not reach the target of 0.01 meV/Å" in learned.words
    assert "of 20 labels" in learned.words and load(learned.model).provenance["learning"]["labels"]


def test_an_interrupted_run_asks_nothing_twice(
    make_config: MakeConfig, short: None, tmp_path: Path
) -> None:
    """Stopped again and again, in probe, starts, rounds and measure: it ends with the model of one
    that never was."""
    config = make_config(output=tmp_path / "whole")
    calculator = Counting()
    whole = learn(config, calculator, report=quiet)
    parts, config = Counting(), make_config(output=tmp_path / "parts")
    for stop_at in (1, 7, 14, 10**9):
        parts.stop_at = stop_at
        with nullcontext() if stop_at == 10**9 else pytest.raises(KeyboardInterrupt):
            learned = learn(config, parts, resume=stop_at > 1, report=quiet)
    assert parts.asked == calculator.asked
    assert learned.force_mae == whole.force_mae
    pair = load(whole.model).state_dict(), load(learned.model).state_dict()
    assert all(torch.equal(weight, pair[1][name]) for name, weight in pair[0].items())
    assert learn(config, parts, resume=True, report=quiet) == learned  # it is over


def test_failures_cost_their_structure_and_many_of_them_end_the_run(
    make_config: MakeConfig, short: None
) -> None:
    config = make_config()
    some = Counting(fail=lambda n: n > 3 and n % 4 == 0)
    learned = learn(config, some, report=quiet)
    failed = ase.io.read(config.output / "failed.xyz", ":")
    assert learned.labels == len(some.asked)
    assert failed and failed[0].info["reason"] == "CalculationFailed: no convergence"
    assert "no convergence" in (config.output / "report.html").read_text()
    with pytest.raises(CalculationFailed, match="the reason is: CalculationFailed: no conv"):
        learn(
            make_config(output=config.output / "2"), Counting(fail=lambda n: n > 10), report=quiet
        )
    first = Counting(fail=lambda n: True)
    with pytest.raises(CalculationFailed, match=r"failed for a start structure: .*no conv"):
        learn(make_config(output=config.output / "3"), first, report=quiet)
    assert len(first.asked) == 1
    again = learn(make_config(output=config.output / "3"), EMT(), resume=True, report=quiet)
    assert again.labels


class Wrong(EMT):
    """Energies in other units, or forces of the wrong sign."""

    def __init__(self, energy: float, forces: float) -> None:
        super().__init__()
        self.factors = energy, forces

    def calculate(self, *arguments: Any) -> None:
        super().calculate(*arguments)
        for name, factor in zip(("energy", "forces"), self.factors, strict=True):
            self.results[name] = factor * self.results[name]
        self.results["free_energy"] = self.results["energy"]


@pytest.mark.parametrize(
    ("energy", "forces", "words"),
    [
        (1 / 27.2114, 1.0, "energies in Hartree"),
        (1.0, -1.0, "their sign is wrong"),
        (1.0, 0.0194469, "forces in Hartree/Bohr"),
        (2.5, 1.0, "energies change by 2.5 times"),
    ],
)
def test_wrong_units_are_seen_after_three_labels(
    make_config: MakeConfig, energy: float, forces: float, words: str
) -> None:
    config = make_config()
    with pytest.raises(ValueError, match=words):
        learn(config, Wrong(energy, forces), report=quiet)
    assert len((config.output / "labels.jsonl").read_text().splitlines()) == 3


def test_a_start_that_would_explode_is_refused(make_config: MakeConfig, cluster: ase.Atoms) -> None:
    near, tight = cluster.copy(), cluster.copy()
    near.positions[1] = near.positions[0] + [0.0, 0.0, 0.8]
    tight.positions *= 0.8
    calculator = Counting()
    with pytest.raises(ValueError, match="which would explode"):
        learn(make_config(near), calculator, report=quiet)
    assert not calculator.asked
    with pytest.raises(ValueError, match="the start structure would explode"):
        learn(make_config(tight), calculator, report=quiet)
    assert len(calculator.asked) == 3


def test_labels_may_come_from_a_folder(
    make_config: MakeConfig, short: None, tmp_path: Path
) -> None:
    config = make_config(calculator={"folder": tmp_path / "jobs"})
    asked = 0
    for _ in range(20):
        try:
            learned = learn(config, resume=asked > 0, report=quiet)
            break
        except LabelsMissingError as missing:
            asked += missing.count
            for job in (tmp_path / "jobs").glob("*/structure.xyz"):
                result = job.with_name("labelled.xyz")
                if not result.exists():
                    atoms = ase.io.read(job)
                    atoms.calc = EMT()
                    atoms.get_forces()
                    ase.io.write(result, atoms)
    assert learned.labels == asked


def test_an_output_that_holds_a_run_is_resumed_or_left_alone(
    make_config: MakeConfig, short: None
) -> None:
    config = make_config()
    State().write(config.output)
    with pytest.raises(ValueError, match="already holds a run"):
        learn(config, EMT(), report=quiet)
    (config.output / "state.json").write_text('{"format": "another"}')
    with pytest.raises(ValueError, match=r"it is a another.*give data\.xyz"):
        learn(config, EMT(), resume=True, report=quiet)


def test_a_diverged_training_is_repeated(
    make_config: MakeConfig, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sikff.training.learn import members

    rates, lines = [], []
    train = members.train_in_memory

    def diverging(config: Any, *arguments: Any, **named: Any) -> Any:
        rates.append(config.lr)
        if len(rates) == 2:
            raise FloatingPointError("training diverged: the loss is nan in step 3; try")
        return train(config, *arguments, **named)

    monkeypatch.setattr(members, "train_in_memory", diverging)
    learn(make_config(), EMT(), report=lines.append)
    assert rates[:3] == [0.03, 0.03, pytest.approx(0.01)]
    assert any("diverged" in line and "repeated" in line for line in lines)


def test_labelled_structures_to_begin_with_may_have_other_names(
    make_config: MakeConfig, short: None, tmp_path: Path, cluster: ase.Atoms
) -> None:
    given = []
    for seed in range(6):
        atoms = cluster.copy()
        atoms.rattle(0.08, seed=seed)
        atoms.calc = EMT()
        atoms.info["REF_energy"] = atoms.get_potential_energy()
        atoms.arrays["REF_forces"] = atoms.get_forces()
        atoms.calc = None
        given.append(atoms)
    ase.io.write(tmp_path / "given.xyz", given)
    config = make_config(data=tmp_path / "given.xyz", max_labels=20)
    calculator = Counting()
    learned = learn(config, calculator, report=quiet)
    assert learned.labels == len(calculator.asked) < 20
    assert len(ase.io.read(config.output / "data.xyz", ":")) == 6 + learned.labels
    del given[0].arrays["REF_forces"]
    ase.io.write(tmp_path / "given.xyz", given)
    other = make_config(data=tmp_path / "given.xyz", output=tmp_path / "other")
    with pytest.raises(ValueError, match="no forces"):
        learn(other, calculator, report=quiet)
