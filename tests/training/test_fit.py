"""Runs: they learn, they stop, they resume as if never interrupted."""

import csv
import math
from pathlib import Path

import ase.io
import numpy as np
import pytest
import torch

from sikff import load
from sikff.training import module
from sikff.training.config import TrainConfig
from sikff.training.data import read_frames
from sikff.training.evaluate import evaluate
from sikff.training.fit import fit
from sikff.training.module import FitModule, schedule


def rows(config: TrainConfig) -> list[dict[str, float]]:
    with (config.output / "log.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def changed(config: TrainConfig, **update: object) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), **update})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).state_dict()


def test_schedule_rises_and_falls() -> None:
    assert [schedule(p, 0.2) for p in (0.0, 0.1, 0.2)] == [0.0, 0.5, 1.0]
    assert schedule(0.6, 0.2) == pytest.approx(0.5)
    assert schedule(1.0, 0.2) == schedule(1.5, 0.2) == 0.0
    assert schedule(0.0, 0.0) == 1.0


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
    best = min(log, key=lambda row: row["valid_loss"])
    assert model.provenance["validation"]["valid_loss"] == best["valid_loss"]
    assert model.provenance["training"]["seed"] == 0
    assert not list(config.output.glob(".*"))


def test_the_saved_model_is_the_validated_one(config: TrainConfig) -> None:
    """Also when its weights are averages: the file gives the errors that the log tells."""
    files = [config.output.parent / name for name in ("train.xyz", "valid.xyz")]
    frames = read_frames(config.data.train).atoms
    ase.io.write(files[1], frames[:4])
    config = changed(config, data={"train": files[0], "valid": files[1]})
    model = load(fit(config))
    best = min(rows(config), key=lambda row: row["valid_loss"])
    metrics = evaluate(model, read_frames(files[1])).metrics
    for key in ("energy_mae_mev_per_atom", "force_rmse_mev_per_a"):
        assert metrics[key] == pytest.approx(best[key], rel=1e-9)


def test_a_run_repeats(config: TrainConfig) -> None:
    first = weights(fit(config))
    with torch.random.fork_rng():
        torch.manual_seed(99)  # what others drew does not matter
        second = weights(fit(changed(config, output=config.output.with_name("again"))))
    assert all(torch.equal(first[key], second[key]) for key in first)
    other = weights(fit(changed(config, output=config.output.with_name("other"), seed=1)))
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_resume_is_a_continuation(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(config, max_epochs=4)
    whole = weights(fit(config))
    halved = changed(config, output=config.output.with_name("halved"))
    end = FitModule.on_train_epoch_end

    def interrupted(module: FitModule) -> None:
        end(module)
        if module.current_epoch == 1:
            raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(FitModule, "on_train_epoch_end", interrupted)
        fit(halved)
    assert len(rows(halved)) == 2
    with pytest.raises(ValueError, match="already holds a run"):
        fit(halved)
    resumed = weights(fit(halved, resume=True))
    columns = ("epoch", "step", "lr", "train_loss", "valid_loss")
    for before, after in zip(rows(config), rows(halved), strict=True):
        assert [before[name] for name in columns] == [after[name] for name in columns]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_resume_refuses_other_settings(config: TrainConfig) -> None:
    with pytest.raises(FileNotFoundError, match="nothing to resume"):
        fit(config, resume=True)
    fit(config)
    with pytest.raises(ValueError, match="cannot resume with other settings of batch_size, lr"):
        fit(changed(config, batch_size=2, lr=0.1), resume=True)
    fit(changed(config, max_epochs=4), resume=True)
    assert [row["epoch"] for row in rows(config)] == [0, 1, 2, 3]


def test_a_run_ends_with_its_minutes(config: TrainConfig) -> None:
    path = fit(changed(config, max_epochs=None, max_minutes=0.01))
    log = rows(config)
    assert log[-1]["minutes"] >= 0.01
    assert log[-1]["lr"] < 0.5 * max(row["lr"] for row in log) or len(log) < 3
    assert path.exists()


def test_forces_need_no_labels_without_weight(config: TrainConfig) -> None:
    frames = read_frames(config.data.train).atoms
    for atoms in frames:
        if atoms.calc is not None:
            atoms.calc.results.pop("forces", None)
    ase.io.write(config.data.train, frames)
    with pytest.raises(ValueError, match="no forces"):
        fit(config)
    fit(changed(config, loss={"forces": 0}))
    assert "force_mae_mev_per_a" not in rows(config)[0]


def test_divergence_stops_the_run(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "loss", lambda found, _: found.energy.sum() * math.nan)
    with pytest.raises(FloatingPointError, match="training diverged: the loss is nan in epoch 0"):
        fit(config)
    assert not (config.output / "model.sikff").exists()


@pytest.mark.parametrize(("ema", "same"), [(0.0, True), (0.9, False)])
def test_averages_are_kept_in_a_checkpoint_of_plain_tensors(
    config: TrainConfig, ema: float, same: bool
) -> None:
    fit(changed(config, ema=ema))
    state = torch.load(config.output / "last.ckpt", weights_only=True)["state_dict"]
    names = [name.removeprefix("averaged.") for name in state if name.startswith("averaged.")]
    assert names
    assert same == all(torch.equal(state[f"averaged.{n}"], state[f"model.{n}"]) for n in names)


def test_time_and_best_loss_survive_a_checkpoint(config: TrainConfig) -> None:
    model = load(fit(config))
    before, after = (FitModule(model, config, lambda *_: None) for _ in range(2))
    before.best, before._spent = 0.25, 3.0
    checkpoint: dict[str, object] = {}
    before.on_save_checkpoint(checkpoint)
    after.on_load_checkpoint(checkpoint)
    assert after.best == 0.25
    assert after.minutes >= 3.0


def test_vectors_do_not_decay(config: TrainConfig) -> None:
    model = load(fit(config)).train()
    groups = FitModule(model, config, lambda *_: None).configure_optimizers().param_groups
    assert [group["weight_decay"] for group in groups] == [config.weight_decay, 0.0]
    decaying = {id(p) for p in groups[0]["params"]}
    parameters = list(model.parameters())
    assert [id(p) in decaying for p in parameters] == [p.ndim > 1 for p in parameters]
    assert sum(len(group["params"]) for group in groups) == len(parameters)


def test_weights_keep_their_type(config: TrainConfig) -> None:
    model = load(fit(changed(config, dtype="float32", max_epochs=1)))
    assert model.dtype == torch.float32
    assert np.isfinite(rows(config)[0]["valid_loss"])
