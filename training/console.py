"""Console output and overwrite protection of the command line."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sikff.atomic_write import check_writable

if TYPE_CHECKING:
    from tqdm import tqdm

# Signals that ask a command to end: Ctrl-C, a terminal that is closed, and what queues send some
# time before they kill (Slurm and SGE as they are told, LSF SIGUSR2). Windows has the first two.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
DELAY = 1e-3  # s until a bar may appear, at an update; with 0 it appears before the first


def progress_bar(*iterable: Any, **shown: Any) -> tqdm:
    """A tqdm bar that writes at most every 30 s if stderr is no terminal, as in a queue's log.

    It appears with its first progress, not before an error of the start.
    """
    from tqdm import tqdm  # commands start without it

    class Bar(tqdm):
        def close(self) -> None:
            if not self.disable and self.n > self.initial:
                self.delay = 0.0  # the end is shown, however soon it comes
            super().close()

    intervals = {} if sys.stderr.isatty() else {"mininterval": 30.0, "maxinterval": 60.0}
    return Bar(*iterable, **{"delay": DELAY, **intervals, **shown})


@contextmanager
def usable_streams() -> Iterator[None]:
    """Inside, what is printed to a closed stream is lost, and any character can be printed.

    Queues and services may close the streams of a program, or have an encoding without Å.
    """
    with ExitStack() as stack:
        if None in (sys.stdin, sys.stdout, sys.stderr):
            # Files that are opened later must not take the numbers of closed streams.
            while (null := os.open(os.devnull, os.O_RDWR)) <= 2:
                pass
            lost = stack.enter_context(os.fdopen(null, "w"))
            if sys.stdout is None:
                stack.enter_context(redirect_stdout(lost))
            if sys.stderr is None:
                stack.enter_context(redirect_stderr(lost))
        out = sys.stdout
        if isinstance(out, io.TextIOWrapper) and out.errors == "strict":
            out.reconfigure(errors="backslashreplace")  # as stderr does
            stack.callback(out.reconfigure, errors="strict")
        yield


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Prints warnings on one line each, without the line of code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"sikff: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def check_output_paths(
    outputs: Sequence[Path], overwrite: bool, inputs: Sequence[Path] = ()
) -> None:
    """Checks that files can be written, without replacing others.

    Raises:
        ValueError: if an output is a folder, lies below a file or is one of the inputs; without
            `overwrite` also if it exists.
        OSError: if its folder cannot be written to.
    """
    read = {path.resolve() for path in inputs}
    for path in outputs:
        if path.is_dir():
            raise ValueError(f"{str(path)!r} is a folder; expected the name of a file")
        if path.resolve() in read:
            raise ValueError(f"{str(path)!r} is read by this command; choose another name for it")
        parent = next(folder for folder in path.absolute().parents if folder.exists())
        if not parent.is_dir():
            raise ValueError(
                f"{str(path)!r} cannot be written: {str(parent)!r} is a file and no folder"
            )
    existing = [str(path) for path in outputs if path.exists()]
    if existing and not overwrite:
        raise ValueError(f"{', '.join(existing)} exists; choose another name or add --overwrite")
    for path in outputs:
        check_writable(path)


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 structure", "2 structures"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def print_table(values: Mapping[str, object]) -> None:
    """Prints a name and its value on each line."""
    for key, value in values.items():
        print(f"{key:28s} {format(value, '.4g') if isinstance(value, float) else value}")
