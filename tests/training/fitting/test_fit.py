"""Runs of force fields: they learn, end at their limits and write what they should."""

import math
import re
import signal
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from disk import full_disk
from runs import changed, rows, weights
from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting import losses, trainer
from sikff.training.fitting.checkpoint import read_checkpoint
from sikff.training.fitting.fit import fit
from sikff.training.fitting.optimiser import make_optimiser
from sikff.training.fitting.schedule import Patience, cosine_factor, warm_up_factor
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def test_schedule_rises_and_falls() -> None:
    assert [warm_up_factor(p, 0.2) for p in (0.0, 0.1, 0.2, 0.5)] == [0.0, 0.5, 1.0, 1.0]
    assert [cosine_factor(p, 0.2) for p in (0.0, 0.2)] == [1.0, 1.0]
    assert cosine_factor(0.6, 0.2) == pytest.approx(0.5)
    assert cosine_factor(1.0, 0.2) == cosine_factor(1.5, 0.2) == 0.0
    assert warm_up_factor(0.0, 0.0) == cosine_factor(0.0, 0.0) == 1.0


@pytest.mark.parametrize("kind", ["huber", "mse"])
def test_training_learns_energy_forces_and_stress(config: TrainConfig, kind: str) -> None:
    loss = {"energy": 1, "forces": 1, "stress": 1, "kind": kind}
    config = changed(config, max_epochs=15, lr=0.02, loss=loss, ema=0.5)
    lines: list[str] = []
    path = fit(config, report=lines.append)
    log = rows(config)
    assert [row["epoch"] for row in log] == list(range(15))
    assert min(row["valid_loss"] for row in log) < 0.5 * log[0]["valid_loss"]
    assert "9 training and 3 validation structures" in lines[0]
    model = load(path)
    lowest = min(row["valid_loss"] for row in log)
    best = [row for row in log if row["valid_loss"] <= 1.02 * lowest][-1]
    assert model.provenance["validation"]["valid_loss"] == best["valid_loss"]
    assert model.provenance["training"]["seed"] == 0
    assert not list(config.output.glob(".*"))


@pytest.mark.parametrize("replay", [False, True])
def test_only_some_structures_have_a_stress(config: TrainConfig, replay: bool) -> None:
    """Crystals with a stress, without, and clusters with a meaningless one."""
    frames = read_structures(config.data.train).atoms
    for number, atoms in enumerate(frames[:12]):
        if number % 3 == 1:
            del atoms.calc.results["stress"]
        if number % 3 == 2:
            atoms.cell, atoms.pbc = None, False
    path = config.output.with_name("mixed.xyz")
    ase.io.write(path, frames)
    loss = {"energy": 0, "forces": 0, "stress": 1}
    config = changed(config, max_epochs=15, lr=0.02, data={"train": path, "valid": 3}, loss=loss)
    lines: list[str] = []
    fit(changed(config, replay=replay), report=lines.append)
    assert any(line.startswith("stress: ") and " of 9; rms " in line for line in lines)
    log = rows(config)
    assert min(row["valid_loss"] for row in log) < 0.5 * log[0]["valid_loss"]
    assert (config.output / "parity.png").is_file()


def test_structures_with_larger_weights_are_learnt_better(config: TrainConfig) -> None:
    """Two labels for each structure that contradict each other: the heavier one wins."""
    frames = read_structures(config.data.train).atoms[:12]
    paths = [config.output.with_name(f"{name}.xyz") for name in ("both", "valid")]
    other = [atoms.copy() for atoms in frames]
    for atoms, copy in zip(frames, other, strict=True):
        results = {"energy": atoms.get_potential_energy(), "forces": -3 * atoms.get_forces()}
        copy.calc = SinglePointCalculator(copy, **results)
        atoms.info["config_type"], copy.info["config_type"] = "right", "wrong"
    ase.io.write(paths[0], [*frames, *other])
    ase.io.write(paths[1], frames)
    data = {"train": paths[0], "valid": paths[1], "check_units": False}
    config = changed(config, data=data, max_epochs=20, lr=0.02)
    errors = []
    for name, counts in (("a", {"right": 20.0}), ("b", {"wrong": 20.0})):
        output = config.output.with_name(name)
        model = load(fit(changed(config, output=output, loss={"config_types": counts})))
        errors.append(evaluate(model, frames).metrics["force_mae_mev_per_a"])
    assert errors[0] < 0.6 * errors[1]


def test_labels_without_weight_may_be_nan(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for atoms in frames[:12:2]:
        atoms.calc.results["stress"] = np.full(6, np.nan)
    path = config.output.with_name("nan.xyz")
    ase.io.write(path, frames)
    config = changed(config, data={"train": path, "valid": 3}, loss={"stress": 0.0}, max_epochs=1)
    fit(config)
    assert (config.output / "parity.png").is_file()


def test_the_saved_model_is_the_validated_one(config: TrainConfig) -> None:
    """Its errors are those in the log, also with averaged weights."""
    files = [config.output.parent / name for name in ("train.xyz", "valid.xyz")]
    frames = read_structures(config.data.train).atoms
    ase.io.write(files[1], frames[:4])
    config = changed(config, data={"train": files[0], "valid": files[1]})
    model = load(fit(config))
    best = min(rows(config), key=lambda row: row["valid_loss"])
    metrics = evaluate(model, read_structures(files[1])).metrics
    for key in ("energy_mae_mev_per_atom", "force_rmse_mev_per_a"):
        assert metrics[key] == pytest.approx(best[key], rel=LIMITS.parity)


def test_a_run_repeats(config: TrainConfig) -> None:
    first = weights(fit(config))
    with torch.random.fork_rng():
        torch.manual_seed(99)  # global random state does not matter
        second = weights(fit(changed(config, output=config.output.with_name("again"))))
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = weights(fit(changed(config, output=config.output.with_name("other"), seed=1)))
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_a_run_ends_after_its_minutes(config: TrainConfig) -> None:
    path = fit(changed(config, max_epochs=None, max_minutes=0.01))
    log = rows(config)
    assert log[-1]["minutes"] >= 0.01
    assert log[-1]["lr"] < 0.5 * max(row["lr"] for row in log) or len(log) < 3
    assert path.exists()


def test_forces_need_no_labels_without_weight(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms
    for atoms in frames:
        if atoms.calc is not None:
            atoms.calc.results.pop("forces", None)
    ase.io.write(config.data.train, frames)
    with pytest.raises(ValueError, match="no forces"):
        fit(config)
    fit(changed(config, loss={"forces": 0}))
    assert "force_mae_mev_per_a" not in rows(config)[0]


@pytest.mark.parametrize("fails", [False, True])
def test_threads_are_those_of_the_configuration(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """While the run lasts; the caller's are restored, after an error too."""
    used = set()

    def counted(*given: object) -> torch.Tensor:
        used.add(torch.get_num_threads())
        return losses.loss(*given) * (math.nan if fails else 1.0)

    before = torch.get_num_threads()
    monkeypatch.setattr(trainer, "loss", counted)
    with pytest.raises(FloatingPointError) if fails else nullcontext():
        fit(changed(config, threads=before + 2))
    assert used == {before + 2}
    assert torch.get_num_threads() == before


def test_ctrl_c_is_a_keyboard_interrupt(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "loss", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        fit(config)


def test_divergence_stops_the_run(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "loss", lambda found, *_: found.energy.sum() * math.nan)
    with pytest.raises(
        FloatingPointError, match=r"the loss is nan in step 0 .*train.xyz structure \d"
    ):
        fit(config)
    assert not (config.output / "model.sikff").exists()


@pytest.mark.parametrize(("ema", "same"), [(0.0, True), (0.9, False)])
def test_averages_are_kept_in_a_checkpoint_of_plain_tensors(
    config: TrainConfig, ema: float, same: bool
) -> None:
    fit(changed(config, ema=ema))
    state = torch.load(config.output / "last.ckpt", weights_only=True)["loop"]
    assert state["averaged"].keys() == state["model"].keys() != set()
    pairs = zip(state["averaged"].values(), state["model"].values(), strict=True)
    assert same == all(torch.equal(mean, weight) for mean, weight in pairs)


def test_vectors_do_not_decay(config: TrainConfig) -> None:
    """With AdamW; test_soap.py has SOAP's own."""
    config = changed(config, optimiser="adamw")
    model = load(fit(config)).train()
    groups = make_optimiser(config, model).param_groups
    assert [group["weight_decay"] for group in groups] == [config.weight_decay, 0.0]
    decaying = {id(p) for p in groups[0]["params"]}
    parameters = list(model.parameters())
    assert [id(p) in decaying for p in parameters] == [p.ndim > 1 for p in parameters]
    assert sum(len(group["params"]) for group in groups) == len(parameters)


def test_weights_have_the_dtype_of_the_run(config: TrainConfig) -> None:
    model = load(fit(changed(config, dtype="float32", max_epochs=1)))
    assert model.dtype == torch.float32
    assert np.isfinite(rows(config)[0]["valid_loss"])


def test_the_validation_loss_does_not_depend_on_batches(config: TrainConfig) -> None:
    frames = read_structures(config.data.train).atoms[:4]
    doubled = [atoms.repeat((2, 1, 1)) for atoms in frames[:2]]
    for atoms, one in zip(doubled, frames, strict=False):
        found = {
            "energy": 2 * one.get_potential_energy(),
            "forces": np.tile(one.get_forces(), (2, 1)),
        }
        atoms.calc = SinglePointCalculator(atoms, **found)
    path = config.output.with_name("sizes.xyz")
    ase.io.write(path, [*doubled, *frames[2:]])
    losses = []
    for size in (1, 3):
        still = {"lr": 1e-30, "max_epochs": 1, "warm_up": 0, "batch_size": size}
        output = config.output.with_name(f"batches_of_{size}")
        data = {"train": config.data.train, "valid": path}
        run = changed(config, **still, data=data, output=output, loss={"energy": 1, "forces": 1})
        fit(run)
        losses.append(rows(run)[0]["valid_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)


def test_losses_of_all_epochs_compare(config: TrainConfig) -> None:
    """A model that does not change has one loss, though the weights in training do."""
    still = {"lr": 1e-30, "max_epochs": 3, "warm_up": 0, "batch_size": 3}
    run = changed(config, **still, loss={"forces": 0})
    fit(run)
    for name in ("train_loss", "valid_loss"):
        values = [row[name] for row in rows(run)]
        assert values == pytest.approx([values[0]] * 3, rel=1e-9)


@pytest.mark.parametrize(("given", "first"), [({}, "forces"), ({"energy": 1e4}, "energy")])
def test_which_term_dominates_is_reported(
    config: TrainConfig, given: dict[str, float], first: str
) -> None:
    lines: list[str] = []
    fit(changed(config, max_epochs=1, loss=given), report=lines.append)
    (line,) = (line for line in lines if line.startswith("loss at the start: "))
    assert line.startswith(f"loss at the start: {first} ")
    for part in line.split("; with its last weights: "):
        shares = [float(share) for share in re.findall(r"([0-9.]+)%", part)]
        assert len(shares) == 3 and sum(shares) == pytest.approx(100, abs=1.5)
        assert shares == sorted(shares, reverse=True)
    lines.clear()
    given = {"energy": 1, "stress": 0}
    fit(changed(config, output=config.output.with_name("given"), loss=given), report=lines.append)
    (line,) = (line for line in lines if line.startswith("loss at the start: "))
    assert "last weights" not in line and "stress" not in line


def test_the_learning_rate_falls_on_plateaus() -> None:
    patience = Patience()
    kept, factors = [], []
    for loss in (3.0, 2.0, 2.5, 2.1, 1.0, 1.01, 1.5, math.nan, 0.5):
        patience.update(loss)
        kept.append(patience.is_within_noise(loss))
        patience.reduce_on_plateau(2, 0.5)
        factors.append(patience.factor)
    assert kept == [True, True, False, False, True, True, False, False, True]
    assert factors == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_early_stop_and_plateaus_in_a_run(config: TrainConfig) -> None:
    still = {"lr": 1e-30, "max_epochs": 50, "patience": 5, "warm_up": 0}
    config = changed(config, **still, schedule="plateau", plateau_patience=2)
    fit(config)
    log = rows(config)
    assert [row["epoch"] for row in log] == list(range(6))
    assert [row["lr"] / 1e-30 for row in log] == pytest.approx([1, 1, 1, 0.5, 0.5, 0.25])


def test_tensorboard_gets_every_row(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(changed(config, tensorboard=True))
    fit(changed(config, tensorboard=True, max_epochs=4), resume=True)
    events = EventAccumulator(str(config.output / "tensorboard")).Reload()
    values = [(event.step, event.value) for event in events.Scalars("valid_loss")]
    expected = [(row["epoch"], row["valid_loss"]) for row in rows(config)]
    assert [step for step, _ in values] == [0, 1, 2, 3]
    assert np.array(values) == pytest.approx(np.array(expected), rel=1e-6)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="TensorBoard is not installed; run `pip install"):
        fit(changed(config, tensorboard=True, output=config.output.with_name("other")))


def test_a_deterministic_run_on_a_gpu_wants_deterministic_products(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    with pytest.raises(ValueError, match="start the run with CUBLAS_WORKSPACE_CONFIG=:4096:8"):
        fit(changed(config, device="cuda", deterministic=True))


def test_algorithms_are_deterministic_during_the_run_alone(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    real = trainer.loss

    def watched(*arguments: Any) -> torch.Tensor:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return real(*arguments)

    monkeypatch.setattr(trainer, "loss", watched)
    fit(changed(config, deterministic=True, max_epochs=1))
    assert seen and all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


def test_too_many_devices_are_an_error(config: TrainConfig) -> None:
    with pytest.raises(ValueError, match=r"batch_size \(4\) is less than devices \(5\)"):
        changed(config, devices=5)
    with pytest.raises(ValueError, match="torch finds 0 GPUs; lower devices or set device: cpu"):
        fit(changed(config, device="cuda"))


def test_a_second_run_in_the_folder_of_one_that_runs_is_refused(config: TrainConfig) -> None:
    """Whether it begins or resumes; the first one is not disturbed, and its model can be read."""
    refused = []

    def start_another(line: str) -> None:
        for resume in (False, True):
            with pytest.raises(BlockingIOError, match=r"is in use by process .* another output$"):
                fit(config, resume=resume)
            refused.append(line)

    whole = weights(fit(changed(config, output=config.output.with_name("alone"))))
    found = weights(fit(config, report=start_another))
    assert refused
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    assert not (config.output / ".lock").exists()


@pytest.mark.parametrize("full", ["log.csv", "last.ckpt"])
def test_a_full_disk_ends_a_run_that_resumes_exactly(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """In the third epoch; the checkpoint of the second one is whole."""
    config = changed(config, max_epochs=4)
    whole = weights(fit(changed(config, output=config.output.with_name("whole"))))
    append, write = trainer.RunLog.append, trainer.write_checkpoint

    def append_there(log: trainer.RunLog, row: dict[str, float]) -> None:
        with full_disk(300) if full == "log.csv" and row["epoch"] == 2 else nullcontext():
            append(log, row)

    def write_there(folder: Path, loop: dict[str, Any], data: str) -> None:
        with full_disk(9000) if full == "last.ckpt" and loop["epoch"] == 3 else nullcontext():
            write(folder, loop, data)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.RunLog, "append", append_there)
        patch.setattr(trainer, "write_checkpoint", write_there)
        with pytest.raises(OSError, match=rf"cannot .*: File too large: '.*{full}'"):
            fit(config)
    assert read_checkpoint(config.output)["loop"]["epoch"] == 2
    found = weights(fit(config, resume=True))
    assert all(torch.equal(whole[key], found[key]) for key in whole)
    assert [row["epoch"] for row in rows(config)] == [0, 1, 2, 3]


def test_a_folder_that_is_removed_ends_the_run(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is made anew, where a part of the run would look like all of it."""
    write = trainer.write_checkpoint

    def removed(folder: Path, loop: dict[str, Any], data: str) -> None:
        write(folder, loop, data)
        folder.rename(folder.with_name("moved"))

    monkeypatch.setattr(trainer, "write_checkpoint", removed)
    with pytest.raises(FileNotFoundError, match="removed or renamed while the run wrote to it"):
        fit(config)
    assert not config.output.exists()


def test_progress_shows_epoch_and_errors(
    config: TrainConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(config, progress=True)
    bar = capsys.readouterr().err
    assert "100%" in bar
    assert "epoch=2, E meV/atom=" in bar
    assert "F meV/Å=" in bar
