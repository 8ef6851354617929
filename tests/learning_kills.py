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


def kill_learning(folder: Path, kills: int, choice: random.Random, seconds: float = 0.02) -> int:
    """Kills one run so many times, if it lasts, and compares its end with one that was left alone.

    Returns:
        Labels that the calculator had computed when it was killed before they were written.
    """
    began = time.monotonic()
    whole = started(folder / "whole", seconds)
    whole.join()
    assert whole.exitcode == 0
    longest = 2 * (time.monotonic() - began) / (kills + 1)
    before: list[str] = []
    done = 0
    while done < kills:
        process = started(folder / "killed", seconds)
        process.join(choice.uniform(0.05, max(longest, 0.5)))
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        now = ids(folder / "killed")
        assert now[: len(before)] == before, "a label was lost"
        before, done = now, done + 1
        if process.exitcode == 0:
            break
    process = started(folder / "killed", seconds)
    process.join()
    assert process.exitcode == 0
    found = ids(folder / "killed")
    assert found == ids(folder / "whole")
    asked = (folder / "killed/asked").read_text().split()
    assert set(asked) == set(found) and len(set(found)) == len(found)
    twice = len(asked) - len(found)
    assert twice <= done, "more than a label was computed again after a kill"
    models = [load(folder / each / "learned/model.sikff") for each in ("whole", "killed")]
    weights = [model.state_dict() for model in models]
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    return twice
