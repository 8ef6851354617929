"""What subcommands say to the user, and what they do not do to his files."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Warnings on one line each, without the line of code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"sikff: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def refuse_to_replace(paths: Sequence[Path], overwrite: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{', '.join(there)} exists; choose another name or add --overwrite")


def print_table(values: Mapping[str, object]) -> None:
    for key, value in values.items():
        print(f"{key:28s} {format(value, '.4g') if isinstance(value, float) else value}")
