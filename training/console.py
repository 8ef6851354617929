"""What subcommands say to the user, and what they do not do to his files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(*iterable: Any, **shown: Any) -> tqdm:
    """A bar that moves in a terminal; in a file, such as the log of a queue, it writes seldom."""
    from tqdm import tqdm  # commands start without it

    seldom = {} if sys.stderr.isatty() else {"mininterval": 30.0, "maxinterval": 60.0}
    return tqdm(*iterable, **{**seldom, **shown})


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings on one line each, without the line of code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"sikff: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def refuse_to_replace(paths: Sequence[Path], overwrite: bool, read: Sequence[Path] = ()) -> None:
    """Refuses names under which nothing can be written, or only in the place of something else.

    Files that the command reads are never replaced.
    """
    inputs = {path.resolve() for path in read}
    for path in paths:
        if path.is_dir():
            raise ValueError(f"{str(path)!r} is a folder; expected the name of a file")
        if path.resolve() in inputs:
            raise ValueError(f"{str(path)!r} is read by this command; choose another name for it")
        above = next(folder for folder in path.absolute().parents if folder.exists())
        if not above.is_dir():
            raise ValueError(f"{str(path)!r} cannot be: {str(above)!r} is a file and no folder")
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{', '.join(there)} exists; choose another name or add --overwrite")


def print_table(values: Mapping[str, object]) -> None:
    """Prints a name and its value on each line."""
    for key, value in values.items():
        print(f"{key:28s} {format(value, '.4g') if isinstance(value, float) else value}")
