"""Kills trainings and simulations at random moments: nothing that was written may be lost.

    python tests/soak/kills.py --trainings 200 --simulations 200

Half of the signals are SIGKILL, the others those of a terminal and of queues. A training is resumed
until it ends by itself, and then has the weights, the log and the files of one that was never
disturbed, bit for bit. Of a simulation the rows and frames so far are those of an undisturbed one,
and with --continue it becomes that one, bit for bit.
"""

import argparse
import collections
import multiprocessing
import multiprocessing.process
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import numpy as np
import torch
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sikff import load
from sikff.training.cli import main

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
EPOCHS, STEPS = 12, 200
EXACT = ("epoch", "step", "lr", "train_loss", "valid_loss")


def run_command(arguments: list[str], messages: str) -> None:
    """What a process does: a command, with its messages in a file."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a fork server ignores it
    torch.set_num_threads(1)
    with open(messages, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.exit(main(arguments))


def started(arguments: list[str], folder: Path) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=run_command, args=(arguments, str(folder / "messages")))
    process.start()
    return process


def interrupted(
    arguments: list[str],
    folder: Path,
    seconds: float,
    choice: random.Random,
    seen: collections.Counter,
) -> bool:
    """Whether a process was killed in a random moment, before it had ended."""
    process = started(arguments, folder)
    process.join(choice.uniform(0, seconds))
    number = SIGNALS[0] if choice.random() < 0.5 else choice.choice(SIGNALS[1:])
    if process.is_alive():
        os.kill(process.pid, number)
    process.join(60)
    code = process.exitcode
    # A signal that comes before the command has begun, or after its end, ends the process itself.
    assert code in (0, -number, 128 + number), f"{code} after {number.name}, see {folder}"
    seen[f"exit status {code}"] += 1
    return code != 0


def write_data(folder: Path) -> None:
    choice, frames = np.random.default_rng(0), []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True)
        atoms.positions += choice.normal(0, 0.1, atoms.positions.shape)
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        frames.append(atoms)
    ase.io.write(folder / "train.xyz", frames)
    sizes = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 2, "kernel_fields": 8}
    config = {
        "data": {"train": str(folder / "train.xyz"), "valid": 3},
        "model": {**sizes, "cutoff": 4.0},
        **{"batch_size": 4, "max_epochs": EPOCHS, "ema": 0.9, "schedule": "plateau", "threads": 1},
        **{"plateau_patience": 1, "dtype": "float64", "device": "cpu"},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


def table(folder: Path) -> list[tuple[str, ...]]:
    lines = [line.split(",") for line in (folder / "log.csv").read_text().splitlines()]
    return [tuple(line[lines[0].index(name)] for name in EXACT) for line in lines[1:]]


def kill_trainings(folder: Path, kills: int, choice: random.Random) -> None:
    seen: collections.Counter = collections.Counter()

    def train(output: Path) -> list[str]:
        given = [f"output={output}", "--resume", "--quiet"]
        return ["train", str(folder / "config.yaml"), *given]

    began = time.monotonic()
    whole = folder / "whole"
    process = started(train(whole), folder)
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - began
    weights, rows = load(whole / "model.sikff").state_dict(), table(whole)
    done = runs = 0
    while done < kills:
        output = folder / f"run-{runs}"
        runs += 1
        while done < kills and interrupted(train(output), folder, seconds, choice, seen):
            done += 1
        process = started(train(output), folder)
        process.join()
        assert process.exitcode == 0, f"cannot resume {output}, see {folder}"
        found = load(output / "model.sikff").state_dict()
        assert all(torch.equal(weights[name], found[name]) for name in weights), output
        assert table(output) == rows, output
        names = [sorted(os.listdir(each)) for each in (output, whole)]
        assert names[0] == names[1], names
        shutil.rmtree(output)
    print(f"{done} kills of {runs} trainings: all resumed exactly. {dict(sorted(seen.items()))}")


def kill_simulations(folder: Path, kills: int, choice: random.Random) -> None:
    seen: collections.Counter = collections.Counter()
    ase.io.write(folder / "start.xyz", ase.io.read(folder / "train.xyz", index=0))
    model = str(folder / "whole" / "model.sikff")

    def simulate(output: Path) -> list[str]:
        files = ["--log", str(output / "md.csv"), "--trajectory", str(output / "md.traj")]
        given = ["--steps", str(STEPS), "--every", "1", "--restart-every", "20"]
        given += ["--ensemble", "nvt", "--device", "cpu", "--quiet", "--overwrite"]
        return ["md", model, str(folder / "start.xyz"), *files, *given]

    began = time.monotonic()
    whole = folder / "md"
    process = started(simulate(whole), folder)
    process.join()
    assert process.exitcode == 0
    seconds = time.monotonic() - began
    rows = (whole / "md.csv").read_text().splitlines()
    positions = np.array([atoms.positions for atoms in ase.io.iread(whole / "md.traj", ":")])
    done = 0
    while done < kills:
        output = folder / f"md-{done}"
        if not interrupted(simulate(output), folder, seconds, choice, seen):
            continue
        done += 1
        if (output / "md.traj").exists() and (output / "md.traj").stat().st_size:
            found = (output / "md.csv").read_text().split("\n")[:-1]  # whole lines
            frames = ase.io.read(output / "md.traj", ":")
            assert found == rows[: len(found)], output
            assert len(frames) in (len(found) - 1, len(found) - 2), (len(frames), len(found))
            same = positions[: len(frames)]
            assert (np.array([atoms.positions for atoms in frames]) == same).all(), output
            seen["frames"] += len(frames)
            if (output / "md.restart").exists() and len(found) < len(rows):
                again = started([*simulate(output), "--continue"], folder)
                again.join()
                assert again.exitcode == 0, f"cannot go on from {output}, see {folder}"
                assert (output / "md.csv").read_text().splitlines() == rows, output
                found = np.array([a.positions for a in ase.io.iread(output / "md.traj", ":")])
                assert np.array_equal(found, positions), output
                seen["continued"] += 1
        shutil.rmtree(output, ignore_errors=True)
    print(
        f"{done} kills of simulations: no row or frame lost, all went on exactly. "
        f"{dict(sorted(seen.items()))}"
    )


def soak() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=200, help="kills of trainings")
    parser.add_argument("--simulations", type=int, default=200, help="kills of simulations")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    choice = random.Random(given.seed)
    folder = Path(tempfile.mkdtemp(prefix="sikff-kills-"))
    write_data(folder)
    began = time.monotonic()
    kill_trainings(folder, given.trainings, choice)
    kill_simulations(folder, given.simulations, choice)
    wrong = [line for line in (folder / "messages").read_text().splitlines() if "Traceback" in line]
    assert not wrong, f"{len(wrong)} tracebacks in {folder / 'messages'}"
    shutil.rmtree(folder)
    print(f"{time.monotonic() - began:.0f} s")


CONTEXT = multiprocessing.get_context("forkserver")  # imports once, forks fast

if __name__ == "__main__":
    modules = ["sikff.training.fitting.fit", "sikff.training.simulation.md", "sikff.calculators"]
    drawing = ["matplotlib.figure", "matplotlib.backends.backend_agg"]
    CONTEXT.set_forkserver_preload([*modules, *drawing, "sikff.training.fitting.launch"])
    soak()
