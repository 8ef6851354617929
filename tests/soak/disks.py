"""Runs commands on disks that are full, broken or read-only, and while the clock jumps.

    python tests/soak/disks.py [--seed 0] [--every 1]

Each command is run once as it should be, and the renames, syncs and opened files are counted. Then
it is run again with a failure in each of these places, with full disks of growing size, and with a
clock that jumps. Right is: it ends with 0, or with 2 and one sentence; no temporary files are left;
each output is absent, that of before or readable; a training run that failed can be resumed, and
ends with the weights of the run that did not fail.
"""

from __future__ import annotations

import argparse
import builtins
import errno
import io
import os
import random
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import ase.io
import numpy as np
import yaml
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

sys.path.insert(0, str(Path(__file__).parents[1]))

from disk import full_disk
from sikff import load
from sikff.training.cli import main
from sikff.training.evaluation.plots import read_log

MODEL = str(Path(__file__).parents[1] / "data" / "format_1" / "O3.sikff")
CODES = (
    errno.ENOSPC,
    errno.EIO,
    errno.EROFS,
    errno.ESTALE,
    errno.EDQUOT,
    errno.EACCES,
    errno.ENOENT,
)
SIZES = (0, 100, 1000, 4000, 20_000, 100_000)  # bytes of a file on the full disk
COMMANDS = {
    "predict": f"predict {MODEL} start.xyz --output out.xyz --quiet --overwrite",
    "relax": f"relax {MODEL} start.xyz --output out.xyz --fmax 100 --quiet --overwrite",
    "md": f"md {MODEL} start.xyz --steps 3 --log md.csv --trajectory md.traj --quiet --overwrite",
    "evaluate": f"evaluate {MODEL} start.xyz --json e.json",
    "train": "train config.yaml --resume --quiet",
}


def write_inputs(folder: Path) -> None:
    """Labelled structures and the configuration of a short run."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(10):
        atoms = molecule("CH3OH")
        moved = 0.05 * rng.standard_normal(atoms.positions.shape)
        atoms.positions += moved
        energy = 10 * float((moved**2).sum()) - 5.0
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=-20 * moved)
        frames.append(atoms)
    ase.io.write(folder / "start.xyz", frames)
    config = {
        "data": {"train": "start.xyz", "valid": 2, "check_units": False},
        "model": {"cutoff": 3.0, "channels": 4},
        "max_epochs": 3,
        "output": "run",
        "device": "cpu",
        "threads": 1,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))


@contextmanager
def failing(turn: int, code: int) -> Iterator[Counter[str]]:
    """Counts renames, syncs and files opened to write; that of number `turn` fails."""
    counter: Counter[str] = Counter()

    def may_fail(name: str, do: Callable[..., Any], counts: Callable[..., bool]) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if counts(*args, **kwargs):
                counter[name] += 1
                if counter.total() == turn:
                    raise OSError(code, os.strerror(code), str(args[0]))
            return do(*args, **kwargs)

        return call

    def writes(file: Any, mode: str = "r", *_: Any, **__: Any) -> bool:
        return any(letter in mode for letter in "wax+")

    with (
        mock.patch.object(os, "replace", may_fail("rename", os.replace, lambda *_: True)),
        mock.patch.object(os, "fsync", may_fail("sync", os.fsync, lambda *_: True)),
        mock.patch.object(builtins, "open", may_fail("open", builtins.open, writes)),
        mock.patch.object(io, "open", may_fail("open", io.open, writes)),
    ):
        yield counter


@contextmanager
def jumping_clock(seed: int) -> Iterator[None]:
    """A clock that is set by up to a year at each look."""
    rng, real = random.Random(seed), time.time
    with mock.patch.object(time, "time", lambda: real() + rng.uniform(-3e7, 3e7)):
        yield


def run(command: str) -> tuple[int, str]:
    """The code and the complaint of a command."""
    output, complaint = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(complaint):
        code = main(command.split())
    lines = complaint.getvalue().splitlines()
    return code, "\n".join(line for line in lines if not line.startswith("sikff: warning: "))


def check_outcome(code: int, complaint: str) -> None:
    """Raises AssertionError for what is neither success nor one sentence, or half a file."""
    if code not in (0, 2) or (code == 2) != bool(complaint) or "\n" in complaint:
        raise AssertionError(f"code {code}: {complaint!r}")
    left = [str(path) for path in Path().rglob(".*")]
    if any(not path.endswith("lock") for path in left):
        raise AssertionError(f"left {left}")
    for path in Path().rglob("*"):
        if path.suffix in (".xyz", ".traj") and path.stat().st_size and path.stem != "md":
            ase.io.read(path, ":")
        if path.suffix == ".sikff":
            load(path)
        if path.suffix == ".csv" and path.stem != "md" and path.stat().st_size:
            read_log(path)


def weights() -> dict[str, Any]:
    return {name: value.clone() for name, value in load("run/model.sikff").state_dict().items()}


def check_resumed(expected: dict[str, Any]) -> None:
    """Resumes the run after its disk is well again, and compares the weights."""
    code, complaint = run(COMMANDS["train"])
    if code:
        raise AssertionError(f"cannot be resumed: {complaint}")
    found = weights()
    if any(not found[name].equal(value) for name, value in expected.items()):
        raise AssertionError("the resumed run has other weights")


def soak(seed: int, every: int) -> int:
    """Tries all failures; returns the number of faults."""
    faults: list[str] = []
    counts: Counter[str] = Counter()
    inputs = Path(tempfile.mkdtemp())
    write_inputs(inputs)
    for name, command in COMMANDS.items():
        expected: dict[str, Any] = {}

        def attempt(
            words: str, around: Any, name: str = name, command: str = command, expected: Any = None
        ) -> Any:
            with tempfile.TemporaryDirectory() as place:
                shutil.copytree(inputs, place, dirs_exist_ok=True)
                os.chdir(place)
                try:
                    with around as result:
                        code, complaint = run(command)
                    check_outcome(code, complaint)
                    if code and expected is None:
                        raise AssertionError(complaint)
                    counts[f"{name} {'failed' if code else 'done'}"] += 1
                    if name == "train" and expected:
                        check_resumed(expected)
                    elif name == "train":
                        result.weights = weights()
                except Exception as error:  # a fault is what this looks for
                    faults.append(f"{name}, {words}: {type(error).__name__}: {error}"[:500])
                    print(faults[-1], flush=True)
                    return None
                finally:
                    os.chdir(inputs)
                return result

        first = attempt("no failure", failing(-1, 0))
        if first is None:
            continue
        expected = getattr(first, "weights", {})
        print(f"{name}: {dict(first)}", flush=True)
        rng = random.Random(seed)
        for turn in range(1, first.total() + 1, every):
            code = rng.choice(CODES)
            attempt(f"{errno.errorcode[code]} at {turn}", failing(turn, code), expected=expected)
        for size in SIZES:
            attempt(f"full after {size} bytes", full_disk(size), expected=expected)
        for turn in range(3):
            attempt(f"clock {turn}", jumping_clock(seed + turn), expected=expected)
    print(f"{sum(counts.values())} runs: {dict(sorted(counts.items()))}; {len(faults)} faults")
    shutil.rmtree(inputs)
    return len(faults)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=1, help="failures in every so many places")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.exit(soak(options.seed, options.every) > 0)
