"""Several processes: the same run as one, and none waits for another that has stopped."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from runs import changed, rows, weights
from sikff.training.config import TrainConfig
from sikff.training.data.reading import read_structures
from sikff.training.fitting.fit import fit
from tolerances import TOLERANCES


@pytest.mark.parametrize("dtype", ["float32"])
def test_two_processes_train_like_one(config: TrainConfig, dtype: str) -> None:
    """With crystals of different sizes, a last batch of one structure and one to validate on."""
    loss = {"energy": 1, "forces": 1, "stress": 1}
    data = {"train": config.data.train, "valid": 3}
    config = changed(config, max_epochs=3, dtype=dtype, loss=loss, data=data, threads=1)
    assert len(read_structures(config.data.train).atoms) - 2 - 3 == 9  # batches of 4, 4 and 1
    fit(config)
    both = changed(config, devices=2, output=config.output.with_name("two"))
    fit(both)
    limit = TOLERANCES[getattr(torch, dtype)].gradient
    for one, two in zip(rows(config), rows(both), strict=True):
        for key in one.keys() - {"minutes"}:
            assert two[key] == pytest.approx(one[key], rel=limit), key
    first, second = weights(config.output / "model.sikff"), weights(both.output / "model.sikff")
    for key, value in first.items():
        assert (second[key] - value).abs().max() <= limit * (1 + value.abs().max()), key


def test_early_stop_and_time_limit_end_all_processes(config: TrainConfig) -> None:
    """The loss cannot fall when nothing is learnt: all stop after `patience` more epochs."""
    still = changed(config, lr=1e-30, devices=2, patience=2, max_epochs=50, threads=1)
    fit(still)
    assert [row["epoch"] for row in rows(still)] == [0, 1, 2]
    output = config.output.with_name("timed")
    timed = changed(config, devices=2, max_epochs=None, max_minutes=0.02, output=output, threads=1)
    fit(timed)
    assert rows(timed)[-1]["minutes"] >= 0.02


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc")
def test_no_process_outlives_the_one_that_was_killed(config: TrainConfig, tmp_path: Path) -> None:
    """As in the background of a script, where interrupts, which torch sends then, are ignored."""
    endless = changed(config, devices=2, max_epochs=10**6, threads=1)
    settings = tmp_path / "config.yaml"
    settings.write_text(yaml.safe_dump(endless.model_dump(mode="json")))
    train = [sys.executable, "-m", "sikff.training", "train", str(settings), "--quiet"]
    with subprocess.Popen(["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *train]) as run:
        log = config.output / "log.csv"
        _wait(lambda: run.poll() is not None or (log.exists() and len(rows(endless)) > 0))
        assert run.poll() is None
        children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
        run.kill()
    assert len(children) >= 2
    _wait(lambda: not any(Path(f"/proc/{child}").exists() for child in children))


def _wait(until: Callable[[], bool], seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_an_error_in_one_process_ends_all_with_its_sentence(config: TrainConfig) -> None:
    broken = changed(config, devices=2, lr=1e30, clip=1e30, warm_up=0, threads=1)
    with pytest.raises(FloatingPointError, match=r"^training diverged: .* in step \d"):
        fit(broken)
