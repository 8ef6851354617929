"""What Ctrl-C and the signals of queues do to a command, and what they leave alone."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import ase.io
import pytest
import torch
import yaml

from runs import changed, rows, weights
from sikff.training.cli import main
from sikff.training.cli.interrupts import Interrupts
from sikff.training.config import TrainConfig
from sikff.training.evaluation.plots import read_log
from sikff.training.fitting.fit import fit

NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
ENDED = {name: 128 + getattr(signal, name) for name in NAMES}
SIKFF = [sys.executable, "-m", "sikff.training"]
O3 = str(Path(__file__).parents[2] / "data" / "format_1" / "O3.sikff")


def _heed() -> None:
    """Children of what a shell runs in the background ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen]:
    options = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    with subprocess.Popen([*SIKFF, *arguments], preexec_fn=_heed, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def wait(process: subprocess.Popen, until: Callable[[], bool]) -> None:
    while not until():
        assert process.poll() is None
        time.sleep(0.01)


def written(config: TrainConfig) -> str:
    path = config.output.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")))
    return str(path)


@pytest.mark.slow
def test_a_training_that_a_signal_ends_resumes_exactly(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also inside a job of Slurm: nothing is requeued, and no other checkpoint is written."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("PATH", str(config.output.parent), prepend=":")
    for program in ("scontrol", "srun"):
        path = config.output.with_name(program)
        path.write_text(f"#!/bin/sh\ntouch {config.output.with_name('called')}\n")
        path.chmod(0o755)
    steady = {"schedule": "plateau", "warm_up": 0, "threads": 1}  # whatever max_epochs is
    config = changed(config, max_epochs=10**6, **steady)
    with started("train", written(config), "--quiet") as run:
        wait(run, lambda: (config.output / "last.ckpt").exists())
        run.send_signal(signal.SIGUSR1)
        error = run.communicate(timeout=120)[1]
    assert error == "sikff: interrupted by SIGUSR1; --resume continues after the last whole epoch\n"
    assert run.returncode == 138
    assert not config.output.with_name("called").exists()
    assert sorted(path.name for path in config.output.iterdir()) == [
        "config.yaml",
        "last.ckpt",
        "log.csv",
        "model.sikff",
    ]
    done = len(rows(config))
    whole = changed(config, output=config.output.with_name("whole"), max_epochs=done + 1)
    first, second = (
        weights(fit(whole)),
        weights(fit(changed(config, max_epochs=done + 1), resume=True)),
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_a_queue_that_signals_all_processes_ends_them(config: TrainConfig) -> None:
    endless = changed(config, devices=2, max_epochs=10**6, threads=1)
    with started("train", written(endless), "--quiet") as run:
        wait(run, lambda: (config.output / "last.ckpt").exists())
        os.killpg(run.pid, signal.SIGTERM)
        error = run.communicate(timeout=120)[1]
    assert error == "sikff: interrupted by SIGTERM; --resume continues after the last whole epoch\n"
    assert run.returncode == 143


def test_a_simulation_that_a_signal_ends_leaves_whole_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ase.io.write("start.xyz", ase.Atoms("OH", [[0, 0, 0], [0, 0, 1]]))
    endless = ["--steps", "1000000000", "--timestep", "1e-4", "--every", "1", "--quiet"]
    with started(
        "md", O3, "start.xyz", *endless, "--trajectory", "a.xyz", "--device", "cpu"
    ) as run:
        wait(run, lambda: Path("a.xyz").exists() and Path("a.xyz").stat().st_size > 0)
        run.send_signal(signal.SIGTERM)
        error = run.communicate(timeout=120)[1]
    assert error == "sikff: interrupted by SIGTERM; what was written so far is kept\n"
    assert run.returncode == 143
    assert len(read_log("md.csv")["step"]) - len(ase.io.read("a.xyz", index=":")) in (0, 1)
    assert main(["md", O3, "a.xyz", "--steps", "1", "--log", "b.csv", "--quiet"]) == 0


@pytest.mark.parametrize("name", ENDED)
def test_the_exit_status_tells_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """Also if what fails first is something that the signal has ended as well."""

    def interrupted(path: object) -> None:
        try:
            signal.raise_signal(getattr(signal, name))
        except KeyboardInterrupt as interrupt:
            raise OSError("connection closed") from interrupt

    monkeypatch.setattr("sikff.forcefield.model_file.read_header", interrupted)
    assert main(["info", O3]) == ENDED[name]
    assert capsys.readouterr().err.startswith("sikff: interrupted")


def test_the_second_ctrl_c_ends_a_command_that_does_not_end() -> None:
    code = """
import time
from sikff.training.cli.interrupts import Interrupts
with Interrupts():
    try:
        print("ready", flush=True)
        time.sleep(60)
    finally:
        print("ending", flush=True)
        time.sleep(60)
"""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "preexec_fn": _heed}
    with subprocess.Popen([sys.executable, "-c", code], **options) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == b"ending\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGUSR1)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
        process.send_signal(signal.SIGINT)
        assert process.wait() == -signal.SIGINT


def interrupted_callback() -> None:
    ctypes.CFUNCTYPE(None)(partial(signal.raise_signal, signal.SIGTERM))()


class InterruptedAtItsEnd:
    def __del__(self) -> None:
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("drop", [InterruptedAtItsEnd, interrupted_callback], ids=["__del__", "C"])
def test_an_interrupt_that_python_drops_comes_again(drop: Callable[[], object]) -> None:
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        drop()
        time.sleep(60)
    assert interrupts.received is signal.SIGTERM


def test_an_interrupt_that_comes_again_too_soon_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a busy machine it may come while Python still drops the first one."""
    monkeypatch.setattr("sikff.training.cli.interrupts.SOON", 0.0)
    for _ in range(30):
        with Interrupts(), pytest.raises(KeyboardInterrupt):
            interrupted_callback()
            time.sleep(10)


def test_other_errors_that_python_drops_are_reported_as_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Faulty:
        def __del__(self) -> None:
            raise OSError("file is closed")

    reported = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: reported.append(str(error.exc_value)))
    hook = sys.unraisablehook
    with Interrupts():
        Faulty()
    assert reported == ["file is closed"]
    assert sys.unraisablehook is hook


def test_handlers_of_others_and_ignored_signals_stay() -> None:
    """As those of a notebook, a launcher, or the background of a script."""
    mine, names = (lambda number, frame: None), ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    before = [signal.getsignal(getattr(signal, name)) for name in names]
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        signal.signal(signal.SIGUSR1, mine)
        with Interrupts() as interrupts:
            signal.raise_signal(signal.SIGHUP)
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
            assert signal.getsignal(signal.SIGUSR1) is mine
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert interrupts.received is signal.SIGTERM
    finally:
        for name, handler in zip(names, before, strict=True):
            signal.signal(getattr(signal, name), handler)


def test_no_handler_stays_or_is_installed_in_python(config: TrainConfig) -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    fit(config, report=lambda line: seen.append(signal.getsignal(signal.SIGTERM)))
    assert seen and set(seen) == {before}
    done = []
    thread = threading.Thread(target=partial(lambda: done.append(main(["info", O3]))))
    thread.start()
    thread.join()
    assert done == [0] and main(["info", O3]) == 0
    assert signal.getsignal(signal.SIGTERM) == before
