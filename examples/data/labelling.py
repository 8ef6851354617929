"""Label many frames by an electronic-structure code, in parallel; an interrupted run continues.

The generators of this folder share it. They sample frames in an order fixed by a seed, and
:func:`generate` labels them in that order: what is to be labelled is in ``<output>.snapshots``,
what has been labelled in ``<output>.partial``. Both are removed when the run has finished.
"""

from __future__ import annotations

import io
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
from ase import Atoms

SAVE_EVERY = 20.0  # s


def write_text(path: Path, text: str) -> None:
    """Write ``text`` to ``path``, all or nothing."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)


def write(path: Path, frames: list[Atoms]) -> None:
    """Write ``frames`` to ``path`` as extended XYZ, all or nothing."""
    text = io.StringIO()
    ase.io.write(text, frames, format="extxyz")
    write_text(path, text.getvalue())


def read(path: Path) -> list[Atoms]:
    """All frames of ``path``."""
    return list(ase.io.iread(path, index=":", format="extxyz"))


def generate(
    output: Path,
    sample: Callable[[], list[Atoms]],
    label: Callable[[Atoms], Atoms],
    count: int,
    workers: int,
) -> None:
    """Write the labelled frames to ``output``, continuing an interrupted run.

    Args:
        output: the data set, extended XYZ.
        sample: gives the frames to label; called only where no run was interrupted.
        label: gives a labelled copy of a frame; must be importable by the worker processes.
        count: number of frames that ``sample`` gives.
        workers: frames labelled at a time.

    Raises SystemExit where the interrupted run was another one.
    """
    snapshots = output.with_name(output.name + ".snapshots")
    partial = output.with_name(output.name + ".partial")
    if not snapshots.exists():
        write(snapshots, sample())
    todo = read(snapshots)
    if len(todo) != count:
        raise SystemExit(f"{snapshots} is of a run with another --count: delete it or go back")
    done = read(partial) if partial.exists() else []
    for old, new in zip(done, todo, strict=False):
        if (old.positions != new.positions).any():
            raise SystemExit(f"{partial} does not belong to {snapshots}: delete one of them")
    print(f"{len(done)} of {len(todo)} frames are there", flush=True)

    start, before = time.perf_counter(), len(done)
    saved = start
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for frame in pool.imap(label, todo[before:]):
            done.append(frame)
            now = time.perf_counter()
            if now - saved > SAVE_EVERY or len(done) == len(todo):
                write(partial, done)
                saved = now
                pace = (now - start) / (len(done) - before)
                print(f"{len(done)} of {len(todo)} frames, {pace:.2f} s each", flush=True)
    write(output, done)
    partial.unlink(missing_ok=True)
    snapshots.unlink()
