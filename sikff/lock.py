"""Locks on what a program writes, so that two programs do not write it at once."""

from __future__ import annotations

import datetime
import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from .atomic_write import may_be_alive

try:
    from fcntl import LOCK_EX, LOCK_NB, flock
except ImportError:  # on Windows
    flock = None  # type: ignore[assignment]

# What file systems without flock answer; the last one: some, if the file is open for reading.
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)

NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # one that leads nowhere is there for one call only


class Owner(NamedTuple):
    """The process that a lock names, and the date and time when it locked."""

    host: str
    process: int
    since: str

    def __str__(self) -> str:
        return f"process {self.process} on {self.host}, since {self.since}"

    def is_dead(self) -> bool:
        """Whether the process has certainly ended; nothing is known of other hosts."""
        return self.host == socket.gethostname() and not may_be_alive(self.process)


@contextmanager
def lock(path: Path, advice: str) -> Iterator[str]:
    """Locks a folder, or a file that need not exist yet, against programs that lock it as well.

    The lock is a file, `.lock` in the folder or `.NAME.lock` beside the file, on which the
    system's flock is held. That ends with the process, however it ends, so that no lock has to be
    removed by hand; network file systems tell other hosts. Where there is no flock, the host and
    process that the file names decide: the lock of a dead process of this host is taken over,
    any other stands until its file is removed. What is locked can still be read.

    Yields:
        "", or what to tell the user if a process was killed while it held the lock.

    Args:
        path: its folder is made if it is missing.
        advice: ends the message of a refusal.

    Raises:
        BlockingIOError: if another process, or another call in this one, holds the lock.
        OSError: if the file of the lock cannot be made.
    """
    if path.exists() and not (path.is_dir() or path.is_file()):  # /dev/null may have many writers
        yield ""
        return
    file = path / ".lock" if path.is_dir() else path.with_name(f".{path.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor, killed = _acquire(file, f"{str(path)!r} is in use by", advice)
    except OSError as error:
        if error.errno is None:  # the refusal
            raise
        why = f"cannot write there: {error.strerror}"
        where = file if os.path.lexists(file) else path  # a folder of that name, or a link
        raise OSError(error.errno, why, str(where)) from error
    try:
        yield f"{str(path)!r} was in use by {killed}, which was killed" if killed else ""
    finally:
        if _is_open_as(file, descriptor):  # not if somebody has removed the folder
            file.unlink()
        os.close(descriptor)


def _acquire(file: Path, refusal: str, advice: str) -> tuple[int, Owner | None]:
    """The open file with the lock on it, and the killed process that it named before."""
    killed = None
    while True:
        descriptor, new = _open(file)
        try:
            locked = _try_flock(descriptor)
            owner = None if new else _read_owner(file)
            remedy = ""
            if locked is None:
                locked = new or (owner is not None and owner.is_dead())
                remedy = f"; if that process has ended, remove {str(file)!r}"
            if not locked:
                raise BlockingIOError(f"{refusal} {owner or 'another process'}; {advice}{remedy}")
            # It is another file if the process that held the lock ended after the file was opened.
            if _is_open_as(file, descriptor):
                if new:
                    _write_owner(descriptor)
                    return descriptor, killed
                file.unlink()  # it may belong to another user: take a new one
                killed = owner
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(file: Path) -> tuple[int, bool]:
    """The open file, and whether it is new."""
    while True:
        with suppress(FileExistsError):
            return os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644), True
        with suppress(FileNotFoundError):  # its process has ended meanwhile
            try:
                return os.open(file, os.O_RDWR | NO_LINK), False
            except PermissionError:  # it belongs to another user
                return os.open(file, os.O_RDONLY | NO_LINK), False


def _try_flock(descriptor: int) -> bool | None:
    """Whether the lock is taken; None: it cannot be told, for there is no flock."""
    if flock is None:
        return None
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        raise
    return True


def _is_open_as(file: Path, descriptor: int) -> bool:
    """Whether a descriptor is of the file that has this name now."""
    try:
        return os.path.samestat(file.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_owner(descriptor: int) -> None:
    now = datetime.datetime.now().astimezone().isoformat(" ", "seconds")
    owner = Owner(socket.gethostname(), os.getpid(), now)
    os.write(descriptor, json.dumps(owner._asdict()).encode())


def _read_owner(file: Path) -> Owner | None:
    """The process that a lock names; None if that is not written yet."""
    try:
        return Owner(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
