"""Files that appear when they are complete, also on full disks and in threads."""

import errno
import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier

import pytest

import sikff.atomic_write
from disk import full_disk, unprivileged
from sikff.atomic_write import check_writable, clear_unfinished, complete


def write(path: Path, text: str) -> None:
    with complete(path) as temporary:
        temporary.write_text(text)


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.txt"
    with complete(path) as temporary:
        temporary.write_text("all")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "all"
    write(path, "more")
    assert path.read_text() == "more"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    write(tmp_path / "a.txt", "old")
    with pytest.raises(error), complete(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "old")
    with full_disk(), pytest.raises(OSError, match=r"cannot write the file: File too .*a\.txt'"):
        write(tmp_path / "a.txt", "new" * 1000)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_threads_that_write_one_path_each_write_a_whole_file(tmp_path: Path) -> None:
    path, together = tmp_path / "a.txt", Barrier(2, timeout=10)

    def write_with_the_other(text: str) -> None:
        with complete(path) as temporary:
            temporary.write_text(text)
            together.wait()
            assert temporary.read_text() == text

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write_with_the_other, ["one", "other"]))
    assert path.read_text() in ("one", "other")
    assert os.listdir(tmp_path) == ["a.txt"]


WRITER = """
import runpy, sys
with runpy.run_path(sys.argv[1])["complete"](sys.argv[2]) as temporary:
    temporary.write_text("half")
    print(temporary, flush=True)
    sys.stdin.read()
"""


def test_temporaries_are_cleared_once_their_process_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    command = [sys.executable, "-c", WRITER, sikff.atomic_write.__file__, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        temporary = Path(process.stdout.readline().strip())
        clear_unfinished(path)
        assert temporary.read_text() == "half"
        process.kill()
    assert temporary.exists()
    clear_unfinished(tmp_path / "b.txt")
    assert temporary.exists()
    clear_unfinished(path)
    assert os.listdir(tmp_path) == []


def test_temporaries_of_this_process_are_cleared_unless_in_progress(tmp_path: Path) -> None:
    """A process that was killed may have had the same id, as in containers."""
    write(tmp_path / "a.txt", "old")
    with complete(tmp_path / "a.txt") as temporary, complete(tmp_path / "a.b.txt") as other:
        for each in (temporary, other):
            each.write_text("new")
        clear_unfinished(tmp_path / "a.txt")
        assert temporary.exists() and other.exists()
    for left in (temporary, other):
        left.write_text("left by a process that was killed")
    clear_unfinished(tmp_path / "a.txt")
    assert sorted(os.listdir(tmp_path)) == sorted([other.name, "a.b.txt", "a.txt"])


def test_files_reach_the_disk_before_their_name_and_folders_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str | int] = []
    fsync, replace = os.fsync, os.replace

    def recorded_fsync(descriptor: int) -> None:
        fsync(descriptor)
        events.append(os.fstat(descriptor).st_ino)

    def recorded_replace(source: Path, target: Path) -> None:
        replace(source, target)
        events.append("replace")

    monkeypatch.setattr(os, "fsync", recorded_fsync)
    monkeypatch.setattr(os, "replace", recorded_replace)
    write(tmp_path / "a.txt", "all")
    assert events == [(tmp_path / "a.txt").stat().st_ino, "replace", tmp_path.stat().st_ino]


def test_folders_that_cannot_be_synced_hold_complete_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_files(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError("not of folders")

    monkeypatch.setattr(os, "fsync", only_files)
    write(tmp_path / "a.txt", "all")
    assert (tmp_path / "a.txt").read_text() == "all"


def test_names_that_cannot_be_files_raise(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write the file: Is a dir.*folder'"):
        write(tmp_path / "folder", "")
    write(tmp_path / "a.txt", "")
    for name in ("a.txt/b", "a.txt/b/c"):
        with pytest.raises(OSError, match=f"cannot write the file: .*{name}'"):
            write(tmp_path / name, "")
    with pytest.raises(OSError, match=r"cannot write the file: File name too long.*/a+'"):
        write(tmp_path / ("a" * 300), "")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "folder"]


def test_folders_of_other_users_raise() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged(), pytest.raises(PermissionError, match=r"cannot write .*a\.txt'"):
            write(Path(folder, "a.txt"), "")
        Path(folder).chmod(0o755)


def test_what_can_be_written_is_found_out_without_a_trace(tmp_path: Path) -> None:
    for name in ("a.txt", "new/folder/a.txt"):
        check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == []
    write(tmp_path / "a.txt", "old")
    check_writable(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    for name in ("a.txt/b", "a.txt/b/c", "a" * 300):
        with pytest.raises(OSError, match=f"cannot write the file: .*{name}'"):
            check_writable(tmp_path / name)
    with full_disk(0), pytest.raises(OSError, match=r"cannot write the file: File too .*b\.txt'"):
        check_writable(tmp_path / "b.txt")
    assert os.listdir(tmp_path) == ["a.txt"]
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged(), pytest.raises(PermissionError, match=r"cannot write .*new.a\.txt'"):
            check_writable(Path(folder, "new", "a.txt"))
        Path(folder).chmod(0o755)


@pytest.mark.parametrize("done", [True, False])
def test_a_rename_whose_reply_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: bool
) -> None:
    """As on NFS: the server has renamed, is asked again and finds nothing to rename."""
    write(tmp_path / "a.txt", "old")
    replace = os.replace

    def lost(source: Path, target: Path) -> None:
        if done:
            replace(source, target)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "replace", lost)
    if done:
        write(tmp_path / "a.txt", "new")
    else:
        with pytest.raises(FileNotFoundError, match=r"cannot write the file: .*a\.txt'"):
            write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == ("new" if done else "old")
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["EBUSY", "ESTALE", "EIO", "EXDEV"])
def test_renames_that_fail_leave_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    write(tmp_path / "a.txt", "old")

    def fail(*_: object) -> None:
        raise OSError(getattr(errno, name), os.strerror(getattr(errno, name)))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"cannot write the file: .*a\.txt'"):
        write(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]
