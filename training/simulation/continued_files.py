"""Logs and trajectories to which a continued simulation appends."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from ase.io.trajectory import Trajectory

from sikff.atomic_write import complete

CSV: dict[str, Any] = {"newline": "", "encoding": "utf-8"}


def keep_rows(path: Path, count: int) -> list[dict[str, float]]:
    """Cuts a log after so many rows, and returns them.

    Raises:
        FileNotFoundError, ValueError: if it has fewer.
    """
    _keep_lines(path, count + 1, f"{count} rows")
    with path.open(**CSV) as file:
        rows = [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)]
    return [row | {"step": int(row["step"])} for row in rows]


def keep_frames(path: Path, count: int, n_atoms: int) -> None:
    """Cuts a trajectory after so many frames.

    Raises:
        FileNotFoundError, ValueError: if it has fewer.
    """
    if path.suffix != ".traj":
        _keep_lines(path, count * (n_atoms + 2), f"{count} frames")
        return
    _check_there(path)
    with Trajectory(path) as frames:
        if len(frames) < count:
            raise _too_short(path, f"{count} frames")
        if len(frames) == count:
            return
        with complete(path) as temporary, Trajectory(temporary, "w") as kept:
            for k in range(count):
                kept.write(frames[k])


def _keep_lines(path: Path, count: int, what: str) -> None:
    _check_there(path)
    with path.open("rb+") as file:
        for _ in range(count):
            if not file.readline().endswith(b"\n"):
                raise _too_short(path, what)
        file.truncate(file.tell())


def _check_there(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"no {str(path)!r} to append to; start the run without --continue")


def _too_short(path: Path, what: str) -> ValueError:
    return ValueError(
        f"{str(path)!r} has fewer than the {what} that its restart file knows of; start a new run"
    )
