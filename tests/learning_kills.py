"""Kills of learning runs at random moments, with a slow calculator that notes what it was asked."""

import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import ase.io
import torch
from ase.calculators.emt import EMT
from ase.cluster import Octahedron

from sikff import load
from sikff.training.learn import sizes
from sikff.training.learn.config import LearnConfig
from sikff.training.learn.label_log import structure_id
from sikff.training.learn.learn import learn

MODEL = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 2, "cutoff": 4.0}
SHORT = {"LATER": 40, "ROUNDS": {1: 40}, "WARM": (10, 0), "SCRATCH": (20, 0), "LAST": (30, 0)}
SHORT |= {"WALKERS": 2, "STARTS": 6, "FINAL": 8}


class Slow(EMT):
    """Takes its time, and appends what it has computed to a file before it returns."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__()
        self.path, self.seconds = path, seconds

    def calculate(self, atoms: Any = None, *arguments: Any) -> None:
        time.sleep(self.seconds)
        super().calculate(atoms, *arguments)
        with self.path.open("a") as file:
            file.write(f"{structure_id(atoms)}\n")


def run(folder: Path, seconds: float) -> None:
    """What a process does: it begins or resumes a run."""
    torch.set_num_threads(1)
    for name, value in SHORT.items():
        setattr(sizes, name, value)
    config = LearnConfig.model_validate(
        {
            "structures": folder / "start.xyz",
            "temperatures": [300.0],
            "target": 0.1,
            "max_labels": 30,
            "model": MODEL,
            "output": folder / "learned",
        }
    )
    learn(config, Slow(folder / "asked", seconds), resume=True, report=lambda line: None)


def started(folder: Path, seconds: float) -> Any:
    folder.mkdir(exist_ok=True)
    ase.io.write(folder / "start.xyz", Octahedron("Cu", 2))
    process = multiprocessing.get_context("fork").Process(target=run, args=(folder, seconds))
    process.start()
    return process


def ids(folder: Path) -> list[str]:
    """Of the whole records in the log."""
    path = folder / "learned/labels.jsonl"
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    return [json.loads(line)["id"] for line in lines]


def kill_learning(
    folder: Path, kills: int, choice: random.Random, seconds: float = 0.02
) -> tuple[int, int]:
    """Kills runs so many times in all, each until it ends, and compares them with one left alone.

    Returns:
        Kills, and labels that the calculator had computed when it was killed before they were
        written.
    """
    began = time.monotonic()
    whole = started(folder / "whole", seconds)
    whole.join()
    assert whole.exitcode == 0
    longest = (time.monotonic() - began) / 4
    done = twice = 0
    while done < kills:
        run_folder = folder / f"killed {done}"
        found = kill_until_it_ends(run_folder, kills - done, choice, (seconds, longest))
        done, twice = done + found[0], twice + found[1]
        assert ids(run_folder) == ids(folder / "whole")
        models = [load(each / "learned/model.sikff") for each in (folder / "whole", run_folder)]
        weights = [model.state_dict() for model in models]
        assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    return done, twice


def kill_until_it_ends(
    folder: Path, kills: int, choice: random.Random, times: tuple[float, float]
) -> tuple[int, int]:
    """Kills one run at most so many times, at random moments; see :func:`kill_learning`.

    Args:
        times: seconds of a label, and between kills at most.
    """
    before: list[str] = []
    done = 0
    while True:
        process = started(folder, times[0])
        process.join(choice.uniform(0.05, times[1]) if done < kills else None)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            done += 1
        process.join()
        now = ids(folder)
        assert now[: len(before)] == before, "a label was lost"
        before = now
        if process.exitcode != -signal.SIGKILL:
            break
    assert process.exitcode == 0
    asked = (folder / "asked").read_text().split()
    assert set(asked) == set(now) and len(set(now)) == len(now)
    twice = len(asked) - len(now)
    assert twice <= done, "more than a label was computed again after a kill"
    return done, twice
