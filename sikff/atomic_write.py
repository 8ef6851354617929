"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def complete(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; it becomes `path` at the end.

    Missing folders are made. If the body raises, nothing is left behind and a file that was there
    before is kept.

    Raises:
        OSError: naming `path`, if it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        why = f"cannot write the file: {error.strerror or error}"
        raise OSError(error.errno, why, str(path)) from error
    finally:
        if temporary.exists():
            temporary.unlink()


def clear_unfinished(path: str | Path) -> None:
    """Removes what `complete` could not: temporaries of `path` from processes that were killed."""
    path = Path(path)
    for temporary in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        temporary.unlink()
