"""Locks end with their process, tell who holds them, and never stop anybody from reading."""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import sikff.lock
from disk import unprivileged
from sikff.lock import lock

HOLD = """
import sys, time
from pathlib import Path
from sikff.lock import lock

with lock(Path(sys.argv[1]), "wait"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"locked\n"
        yield process
        process.kill()


def test_a_folder_or_a_file_is_locked_while_it_is_written(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "new" / "md.csv"):
        with lock(path, "wait") as note:
            assert note == ""
            refused = pytest.raises(BlockingIOError, match=rf"^'{path}' is in use by .*; wait$")
            with refused, lock(path, "wait"):
                pass
        with lock(path, "wait") as note:
            assert note == ""
    assert [*tmp_path.glob("**/*lock")] == []


def test_devices_are_not_locked() -> None:
    with lock(Path(os.devnull), ""), lock(Path(os.devnull), ""):
        assert not Path(os.devnull).with_name(".null.lock").exists()


def test_two_files_in_one_folder_are_locked_apart(tmp_path: Path) -> None:
    with lock(tmp_path / "a.csv", ""), lock(tmp_path / "b.csv", ""), lock(tmp_path, ""):
        assert len(os.listdir(tmp_path)) == 3


@pytest.mark.parametrize("supported", [True, False])
def test_a_refusal_names_the_process_and_a_killed_one_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supported: bool
) -> None:
    """With flock, and on file systems that do not offer it."""
    if not supported:
        monkeypatch.setattr(sikff.lock, "flock", without_flock)
    with holder(tmp_path) as other:
        who = rf"process {other.pid} on {socket.gethostname()}, since 20\d\d-.*; choose another"
        for _ in range(2):
            with pytest.raises(BlockingIOError, match=who), lock(tmp_path, "choose another"):
                pass
        other.kill()
        other.wait()
        with lock(tmp_path, "") as note:
            assert f"in use by process {other.pid} " in note
            assert note.endswith(", which was killed")
    assert os.listdir(tmp_path) == []


def without_flock(descriptor: int, operation: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


def test_without_flock_the_lock_of_another_host_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = {"host": "elsewhere", "process": 1, "since": "2026-01-01 00:00:00+00:00"}
    (tmp_path / ".lock").write_text(json.dumps(owner))
    with monkeypatch.context() as patch:
        patch.setattr(sikff.lock, "flock", without_flock)
        message = r"on elsewhere.*has ended, remove '.*\.lock'$"
        with pytest.raises(BlockingIOError, match=message), lock(tmp_path, ""):
            pass
    with lock(tmp_path, "") as note:  # with flock it is known to be free
        assert "process 1 on elsewhere" in note
    (tmp_path / ".lock").write_text("{")  # half of it, by a process that was killed
    with lock(tmp_path, "") as note:
        assert note == ""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that other users reach, unlike tmp_path."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_the_lock_of_another_user_is_respected_and_taken_over(shared: Path) -> None:
    with holder(shared) as other:
        refused = pytest.raises(BlockingIOError, match=f"process {other.pid} ")
        with unprivileged(), refused, lock(shared, ""):
            pass
        other.kill()
        other.wait()
        with unprivileged(), lock(shared, "") as note:
            assert f"process {other.pid} " in note


def test_a_folder_that_cannot_be_written_is_an_error(shared: Path) -> None:
    shared.chmod(0o555)
    message = rf"cannot write there: Permission denied: '{shared}'"
    with unprivileged(), pytest.raises(PermissionError, match=message), lock(shared, ""):
        pass


def test_a_lock_goes_with_its_folder(tmp_path: Path) -> None:
    """Whoever makes the folder anew has a lock of his own, which the first one leaves alone."""
    folder = tmp_path / "run"
    folder.mkdir()
    with lock(folder, ""):
        folder.rename(tmp_path / "moved")
        folder.mkdir()
        with lock(folder, ""):
            assert os.listdir(folder) == [".lock"]
    assert os.listdir(folder) == []


def test_of_many_that_start_together_one_is_let_in(tmp_path: Path) -> None:
    """Each lets itself in as often as it can; two at a time would find the file of the other."""

    def enter_often(_: int) -> int:
        entered = 0
        while entered < 50:
            with suppress(BlockingIOError), lock(tmp_path, ""):
                os.close(os.open(tmp_path / "inside", os.O_CREAT | os.O_EXCL))
                (tmp_path / "inside").unlink()
                entered += 1
        return entered

    with ThreadPoolExecutor(4) as many:
        assert [*many.map(enter_often, range(4))] == [50] * 4
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("target", ["nowhere", "victim"])
def test_a_link_in_place_of_the_lock_is_refused(tmp_path: Path, target: str) -> None:
    """One that leads nowhere exists for whoever makes it, and is missing for whoever opens it."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / target)
    with pytest.raises(OSError, match=r"cannot write there: .*\.lock'"), lock(tmp_path, "wait"):
        pass
    assert (tmp_path / "victim").read_text() == "mine"
    assert (tmp_path / ".lock").is_symlink()
