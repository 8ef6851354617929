"""Many processes and two users in one folder: one run is let in, and everybody reads whole files.

    python tests/soak/sharing.py --processes 8 --rounds 20

In each round all processes start one training in one output folder, half of them to resume it,
while others load the model and read the log. In every second round all are killed. Then somebody
resumes: another user, where this one is root.
"""

import argparse
import collections
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

import torch
from kills import run_command, table, write_data

from sikff import load
from sikff.training.cli import main

NOBODY = 65534
EXCUSES = ("is in use by process", "already holds a run")


def run_as(user: int, arguments: list[str], messages: str) -> None:
    me = os.geteuid()
    if user != me:
        spare = ["output=" + tempfile.mkdtemp() + "/run", "--quiet"]
        main([*arguments[:2], *spare])  # imports what the other user may not be able to read
    os.seteuid(user)
    try:
        run_command(arguments, messages)
    finally:
        os.seteuid(me)  # multiprocessing removes what it has made


def read_on(folder: str, ended: object) -> None:
    """Loads the model and reads the log until the end; each must be whole."""
    output, count = Path(folder), 0
    torch.set_num_threads(1)
    while not ended.is_set():
        if (output / "model.sikff").exists():
            load(output / "model.sikff")
            count += 1
        if (output / "log.csv").exists():
            lines = (output / "log.csv").read_text().split("\n")
            assert len({line.count(",") for line in lines[:-1]}) <= 1, lines
        time.sleep(0.01)
    sys.exit(0 if count else 3)


def share(folder: Path, processes: int, rounds: int) -> None:
    seen: collections.Counter = collections.Counter()
    train = ["train", str(folder / "config.yaml"), "--quiet"]

    def started(user: int, output: Path, *more: str) -> multiprocessing.process.BaseProcess:
        messages = str(folder / f"messages-{user}")
        arguments = [*train, f"output={output}", *more]
        process = CONTEXT.Process(target=run_as, args=(user, arguments, messages))
        process.start()
        return process

    whole = folder / "whole"
    started(os.geteuid(), whole).join()
    weights = load(whole / "model.sikff").state_dict()
    users = [os.geteuid()] * processes
    if os.geteuid() == 0:
        users[1] = NOBODY
        folder.chmod(0o777)
    for number in range(rounds):
        output = folder / f"run-{number}"
        output.mkdir()
        output.chmod(0o777)
        ended = CONTEXT.Event()
        readers = [CONTEXT.Process(target=read_on, args=(str(output), ended)) for _ in range(2)]
        for reader in readers:
            reader.start()
        many = [
            started(user, output, *(["--resume"] if k % 2 else [])) for k, user in enumerate(users)
        ]
        if number % 2:  # the one that is let in is killed, and somebody resumes
            time.sleep(2)
            for process in many:
                process.kill()
        for process in many:
            process.join()
            seen[f"exit status {process.exitcode}"] += 1
            assert process.exitcode in ((-9, 0, 2) if number % 2 else (0, 2)), process.exitcode
        last = started(users[1], output, "--resume")
        last.join()
        assert last.exitcode == 0, f"cannot resume {output}"
        ended.set()
        for reader in readers:
            reader.join()
            assert reader.exitcode == 0, f"a reader ended with {reader.exitcode}"
        found = load(output / "model.sikff").state_dict()
        assert all(torch.equal(weights[name], found[name]) for name in weights), output
        assert table(output) == table(whole), output
        names = [sorted(os.listdir(each)) for each in (output, whole)]
        assert names[0] == names[1], names
        shutil.rmtree(output)
    for user in set(users):
        for line in (folder / f"messages-{user}").read_text().splitlines():
            assert any(excuse in line for excuse in EXCUSES), line
    print(
        f"{rounds} rounds of {processes} processes of {len(set(users))} users: one run each, "
        f"exact. {dict(sorted(seen.items()))}"
    )


def soak() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sikff-sharing-"))
    write_data(folder)
    began = time.monotonic()
    share(folder, given.processes, given.rounds)
    shutil.rmtree(folder)
    print(f"{time.monotonic() - began:.0f} s")


CONTEXT = multiprocessing.get_context("forkserver")  # imports once, forks fast

if __name__ == "__main__":
    drawing = ["matplotlib.figure", "matplotlib.backends.backend_agg"]
    CONTEXT.set_forkserver_preload(["sikff.training.fitting.fit", *drawing])
    soak()
