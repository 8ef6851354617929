"""Several processes train like one, and none waits for another that has stopped."""

import multiprocessing
import os
import signal
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
from sikff.training.fitting.processes import Processes, run_processes
from tolerances import TOLERANCES


@pytest.mark.slow
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


@pytest.mark.slow
def test_patience_and_minutes_end_all_processes(config: TrainConfig) -> None:
    """The loss cannot fall when nothing is learnt: all stop after `patience` more epochs."""
    still = changed(config, lr=1e-30, devices=2, patience=2, max_epochs=50, threads=1)
    fit(still)
    assert [row["epoch"] for row in rows(still)] == [0, 1, 2]
    output = config.output.with_name("timed")
    timed = changed(config, devices=2, max_epochs=None, max_minutes=0.02, output=output, threads=1)
    fit(timed)
    assert rows(timed)[-1]["minutes"] >= 0.02


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="children are read from /proc")
def test_no_process_outlives_a_killed_parent(config: TrainConfig, tmp_path: Path) -> None:
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


def test_a_diverged_run_names_its_structures(config: TrainConfig) -> None:
    broken = changed(config, devices=2, lr=1e30, clip=1e30, warm_up=0, threads=1)
    with pytest.raises(
        FloatingPointError, match=r"^training diverged: .* in step \d.*, on .*train"
    ):
        fit(broken)


def act(processes: Processes, what: str) -> None:
    """What the processes of the next test do; the first one waits for the other."""
    tensor = torch.full((2,), float(processes.rank))
    processes.average([tensor])
    assert tensor.tolist() == [0.5, 0.5]
    assert processes.gather(("rank", processes.rank)) == [("rank", 0), ("rank", 1)]
    if processes.rank == 1 and what == "raise":
        raise LookupError("no such file: no colon is parsed")
    if processes.rank == 1 and what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    processes.gather(0)


def test_errors_keep_their_type_and_killed_processes_are_noticed() -> None:
    with pytest.raises(LookupError) as caught:
        run_processes(act, 2, False, ["raise"])
    assert str(caught.value) == "no such file: no colon is parsed"
    assert "in act" in caught.value.__notes__[0]
    with pytest.raises(RuntimeError, match=r"was killed \(exit code -9\).* lower devices"):
        run_processes(act, 2, False, ["die"])
    assert not multiprocessing.active_children()


@pytest.mark.slow
def test_ctrl_c_ends_all_processes(config: TrainConfig, tmp_path: Path) -> None:
    """In a terminal all processes get it; the command says how to continue."""
    endless = changed(config, devices=2, max_epochs=10**6, threads=1)
    settings = tmp_path / "config.yaml"
    settings.write_text(yaml.safe_dump(endless.model_dump(mode="json")))
    train = [sys.executable, "-m", "sikff.training", "train", str(settings), "--quiet"]
    with subprocess.Popen(train, stderr=subprocess.PIPE, start_new_session=True) as run:
        log = config.output / "log.csv"
        _wait(lambda: run.poll() is not None or (log.exists() and len(rows(endless)) > 0))
        os.killpg(run.pid, signal.SIGINT)
        error = run.communicate(timeout=120)[1].decode()
    assert run.returncode == 130
    assert error == "sikff: interrupted; --resume continues after the last whole epoch\n"


def test_one_device_ignores_variables_of_launchers(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single task in an allocation for several: it is alone, whatever the variables say."""
    fit(config)
    for name, value in {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "4",
        "GROUP_RANK": "1",
        "NODE_RANK": "1",
        "MASTER_ADDR": "192.0.2.1",
        "MASTER_PORT": "1",
        "TORCHELASTIC_RUN_ID": "none",
        "SLURM_JOB_ID": "1",
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "4",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "a,b",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "OMPI_COMM_WORLD_SIZE": "4",
        "OMPI_COMM_WORLD_RANK": "3",
        "PMI_SIZE": "4",
        "PMI_RANK": "3",
        "LSB_JOBID": "1",
        "LSB_DJOB_RANKFILE": "none",
        "JSM_NAMESPACE_SIZE": "4",
        "KUBERNETES_PORT": "1",
        "GROUP_WORLD_SIZE": "4",
    }.items():
        monkeypatch.setenv(name, value)
    other = changed(config, output=config.output.with_name("in an allocation"))
    first, second = weights(config.output / "model.sikff"), weights(fit(other))
    assert all(torch.equal(first[key], second[key]) for key in first)
