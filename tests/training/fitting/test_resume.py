"""A run that was stopped, even by kill -9, resumes exactly."""

import multiprocessing
import random
import signal
import time
from contextlib import suppress

import ase.io
import pytest
import torch
import yaml

from runs import changed, fit_two_epochs, rows, weights
from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.fitting.fit import fit
from sikff.training.fitting.log import RunLog

COLUMNS = ("epoch", "step", "lr", "train_loss", "valid_loss")
KILLS = 13  # one before each epoch and one after all


def test_resume_is_a_continuation(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = changed(config, max_epochs=4)
    whole = weights(fit(config))
    halved = changed(config, output=config.output.with_name("halved"))
    fit_two_epochs(halved, monkeypatch)
    assert len(rows(halved)) == 2
    with pytest.raises(ValueError, match="already holds a run"):
        fit(halved)
    resumed = weights(fit(halved, resume=True))
    for before, after in zip(rows(config), rows(halved), strict=True):
        assert [before[name] for name in COLUMNS] == [after[name] for name in COLUMNS]
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)


def test_other_settings_cannot_be_resumed(config: TrainConfig) -> None:
    lines: list[str] = []
    fit(config, resume=True, report=lines.append)
    assert "nothing to resume" in lines[0]
    with pytest.raises(ValueError, match="cannot resume with other settings of batch_size, lr"):
        fit(changed(config, batch_size=2, lr=0.1), resume=True)
    fit(changed(config, max_epochs=4), resume=True)
    assert [row["epoch"] for row in rows(config)] == [0, 1, 2, 3]


def test_a_run_of_an_older_version_keeps_the_sizes_of_its_network(config: TrainConfig) -> None:
    """Where its settings leave open what had another default then."""
    given = {key: size for key, size in config.model.items() if key != "kernel_layers"}
    fit(changed(config, max_epochs=1, model={**given, "kernel_layers": 2, "radial_functions": 3}))
    path = config.output / "config.yaml"
    written = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(written | {"model": given}))
    fit(changed(config, max_epochs=2, model=given), resume=True)
    assert [row["epoch"] for row in rows(config)] == [0, 1]
    found = load(config.output / "model.sikff").config
    assert (found.kernel_layers, found.radial_functions) == (2, 3)
    with pytest.raises(ValueError, match="cannot resume with other settings of model"):
        fit(changed(config, max_epochs=3, model={**given, "radial_functions": 4}), resume=True)


def test_other_data_cannot_be_resumed(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_two_epochs(config, monkeypatch)
    frames = ase.io.read(config.data.train, ":")
    ase.io.write(config.data.train, frames)  # the same once more
    fit(changed(config, max_epochs=3), resume=True)

    frames[0].calc.results["energy"] += 1e-3
    ase.io.write(config.data.train, frames)
    with pytest.raises(ValueError, match=r"data are not those that .*last.ckpt' was trained on"):
        fit(changed(config, max_epochs=4), resume=True)


@pytest.mark.parametrize("what", ["nothing", "energy", "cell", "position", "free atom"])
def test_changes_of_the_data_change_its_fingerprint(config: TrainConfig, what: str) -> None:
    frames = ase.io.read(config.data.train, ":")
    if what == "energy":
        frames[0].calc.results["energy"] += 1e-3
    elif what == "cell":
        frames[0].cell[2, 2] += 1e-2
        frames[0].calc.atoms = frames[0].copy()
    elif what == "position":
        frames[0].positions[1, 0] += 1e-3
        frames[0].calc.atoms = frames[0].copy()
    elif what == "free atom":
        frames[-1].info["REF_energy"] += 0.1
    other = config.data.train.with_name("other.xyz")
    ase.io.write(other, frames)
    found = load_dataset(changed(config, data={"train": other, "valid": 3})).fingerprint
    assert (found == load_dataset(config).fingerprint) == (what == "nothing")


def test_a_run_with_an_older_configuration_resumes(config: TrainConfig) -> None:
    """Its config.yaml lacks what came later, which then is as it was: the default."""
    fit(config)
    path = config.output / "config.yaml"
    kept = yaml.safe_load(path.read_text())
    del kept["clip"], kept["loss"]["delta"]
    path.write_text(yaml.safe_dump(kept))
    longer = changed(config, max_epochs=config.max_epochs + 1)
    with pytest.raises(ValueError, match="other settings of clip than in"):
        fit(changed(longer, clip=1.0), resume=True)
    fit(longer, resume=True)
    assert len(rows(config)) == longer.max_epochs
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"cannot resume without .*config\.yaml"):
        fit(changed(config, max_epochs=longer.max_epochs + 1), resume=True)


def test_a_run_with_the_loss_of_an_older_version_resumes_with_it(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config.yaml has the weights that were the default; the user gave none."""
    older = {"energy": 1.0, "forces": 10.0, "stress": 0.0, "kind": "huber", "delta": 0.05}
    whole = weights(fit(changed(config, loss=older)))
    halved = changed(config, output=config.output.with_name("halved"))
    fit_two_epochs(changed(halved, loss=older), monkeypatch)
    resumed = weights(fit(halved, resume=True))
    assert all(torch.equal(whole[key], resumed[key]) for key in whole)
    with pytest.raises(ValueError, match="other settings of loss than in"):
        fit(changed(halved, loss={"energy": 2.0}), resume=True)


def test_checkpoints_of_earlier_versions_are_errors(config: TrainConfig) -> None:
    """Those of Lightning, of another format, and files that are none."""
    fit(config)
    path, longer = config.output / "last.ckpt", changed(config, max_epochs=5)
    state = torch.load(path, weights_only=True)
    for old, got in (
        ({"pytorch-lightning_version": "2.6.6", "state_dict": {}, "sikff": {}}, "earlier version"),
        ({**state, "format": "sikff training state, version 0"}, "got a sikff training state, ver"),
    ):
        torch.save(old, path)
        with pytest.raises(ValueError, match=rf"cannot resume from .*last\.ckpt.*{got}.*--from"):
            fit(longer, resume=True)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(ValueError, match=r"cannot read .*last\.ckpt"):
        fit(longer, resume=True)


def test_resuming_a_finished_run_changes_nothing(config: TrainConfig) -> None:
    """Whichever limit it has met."""
    timed = changed(config, max_epochs=None, max_minutes=1e-6)
    patient = changed(
        config, lr=1e-30, warm_up=0, max_epochs=9, patience=1, output=config.output / "other"
    )
    for each in (timed, patient):
        fit(each)
        before = rows(each), weights(each.output / "model.sikff")
        fit(each, resume=True)
        assert rows(each) == before[0]
        found = weights(each.output / "model.sikff")
        assert all(torch.equal(value, found[name]) for name, value in before[1].items())


def _run(config: TrainConfig) -> None:
    torch.set_num_threads(1)
    fit(config, resume=True)


@pytest.mark.slow
def test_killed_at_random_moments(config: TrainConfig) -> None:
    """Runs, each killed once while it reads, trains, writes or draws, and resumed."""
    context = multiprocessing.get_context("forkserver")  # imports once, forks fast
    drawing = ["matplotlib.figure", "matplotlib.backends.backend_agg"]
    context.set_forkserver_preload(["sikff.training.fitting.fit", *drawing])

    def started(config: TrainConfig) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=_run, args=(config,))
        process.start()
        return process

    def count_rows(config: TrainConfig) -> int:
        log = config.output / "log.csv"
        return len(log.read_text().splitlines()) - 1 if log.exists() else 0

    config = changed(config, max_epochs=KILLS - 1, schedule="plateau", plateau_patience=1, ema=0.9)
    started(config).join()
    whole, table = weights(config.output / "model.sikff"), rows(config)
    moments = random.Random(0)
    interrupted = 0
    for k in range(KILLS):
        again = changed(config, output=config.output.with_name(f"killed-{k}"))
        process = started(again)
        while process.is_alive() and count_rows(again) < k:
            time.sleep(0.001)
        time.sleep(moments.uniform(0.0, 0.1))
        with suppress(ProcessLookupError):
            process.kill()
        process.join()
        interrupted += process.exitcode == -signal.SIGKILL
        resumed = started(again)
        resumed.join()
        assert resumed.exitcode == 0
        found = weights(again.output / "model.sikff")
        assert all(torch.equal(whole[key], found[key]) for key in whole), k
        assert [[row[c] for c in COLUMNS] for row in rows(again)] == [
            [row[c] for c in COLUMNS] for row in table
        ]
        assert sorted(path.name for path in again.output.iterdir()) == sorted(
            path.name for path in config.output.iterdir()
        )
    assert interrupted >= KILLS // 2


def test_rows_of_epochs_that_run_again_are_removed(tmp_path) -> None:
    log = RunLog(tmp_path)
    for epoch in range(4):
        log.append({"epoch": epoch, "loss": 1 / (epoch + 1)})
    with log.path.open("a") as file:
        file.write("4,0.1")  # killed while it wrote
    log.rewind(2)
    assert log.path.read_text().split() == ["epoch,loss", "0,1.0", "1,0.5"]
    log.append({"epoch": 2, "loss": 0.3})
    assert log.path.read_text().split()[-1] == "2,0.3"
    log.rewind(0)
    assert not log.path.exists()
    log.rewind(0)


def test_unfinished_files_of_a_killed_run_are_removed(config: TrainConfig) -> None:
    fit(config)
    whole = sorted(path.name for path in config.output.iterdir())
    for name in whole:
        stem, _, suffix = name.rpartition(".")
        for killed in ("4194305", "4194305-0123abcd"):  # the largest id of a process is 4194304
            (config.output / f".{stem}.{killed}.{suffix}").write_bytes(b"half")
    (config.output / ".mine").write_bytes(b"kept")
    fit(changed(config, max_epochs=4), resume=True)
    assert sorted(path.name for path in config.output.iterdir()) == [".mine", *whole]
