"""Files that appear under their name only when they are complete."""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_in_progress: set[str] = set()  # names of the temporaries that this process is writing


@contextmanager
def complete(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path` to write to, which is renamed to `path` at the end.

    Missing folders are created. If the body raises, the temporary is removed and an earlier file
    at `path` stays. The content is on the disk before the rename, so that a power failure leaves
    one of the two files whole. Threads and processes may write the same path: the last one wins.

    Raises:
        OSError: naming `path`, if it cannot be written.
    """
    path = Path(path)
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.stem}.{unique}{path.suffix}")
    _in_progress.add(temporary.name)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _sync(temporary, os.O_RDWR)
        _rename(temporary, path)
        with suppress(OSError):  # some systems cannot sync folders; the file itself is complete
            _sync(path.parent, os.O_RDONLY)
    except OSError as error:
        raise _failure(error, path) from error
    finally:
        with suppress(
            OSError
        ):  # nearly always there is none; else the error of the body tells more
            temporary.unlink()
        _in_progress.discard(temporary.name)


def check_writable(path: str | Path) -> None:
    """Checks that :func:`complete` can write `path` at present: writes and removes a file there, in
    the first of its folders that exists.

    Raises:
        OSError: naming `path`, if it cannot be written.
    """
    path = Path(path).absolute()
    folder = next(folder for folder in path.parents if folder.exists())
    probe = folder / f".{path.stem}.{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    try:
        probe.write_bytes(b"\0")
    except OSError as error:
        raise _failure(error, path) from error
    finally:
        with suppress(OSError):
            probe.unlink()


def clear_unfinished(path: str | Path) -> None:
    """Removes temporaries of `path` that :func:`complete` left behind in killed processes.

    Those of processes that are alive, or may be, stay.
    """
    path = Path(path)
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    # the second part is missing in names of earlier versions
    name = re.compile(rf"\.{stem}\.(\d+)(-[0-9a-f]{{8}})?{suffix}")
    for temporary in path.parent.glob(".*"):
        match = name.fullmatch(temporary.name)
        if match and not _may_be_in_progress(temporary.name, int(match[1])):
            temporary.unlink(missing_ok=True)


def _may_be_in_progress(name: str, process: int) -> bool:
    """Whether a process with this id may still be writing the temporary of this name."""
    if process == os.getpid():  # ids repeat, in containers nearly always
        return name in _in_progress
    return may_be_alive(process)


def may_be_alive(process: int) -> bool:
    """Whether a process of this host has this id, or may have."""
    if os.name != "posix":  # elsewhere the signal 0 would end the process
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # of another user; no id of this system
        pass
    return True


def _rename(temporary: Path, path: Path) -> None:
    """Renames a file, replacing another one.

    A network file system whose reply was lost asks again, and reports that the file is missing
    which it has renamed.
    """
    renamed = temporary.stat()
    try:
        os.replace(temporary, path)
    except FileNotFoundError:
        if not (path.exists() and os.path.samestat(path.stat(), renamed)):
            raise


def _failure(error: OSError, path: Path) -> OSError:
    why = f"cannot write the file: {error.strerror or error}"
    return OSError(error.errno, why, str(path))


def _sync(path: Path, flags: int) -> None:
    """Waits until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
