"""Files that appear when they are complete, and disks that do not let them."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from disk import full_disk, unprivileged
from sikff.atomic_write import complete


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


def test_names_that_cannot_be_files(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match=r"cannot write the file: Is a dir.*folder'"):
        write(tmp_path / "folder", "")
    write(tmp_path / "a.txt", "")
    for name in ("a.txt/b", "a.txt/b/c"):
        with pytest.raises(OSError, match=f"cannot write the file: .*{name}'"):
            write(tmp_path / name, "")
    with pytest.raises(OSError, match="name too long"):
        write(tmp_path / ("a" * 300), "")
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "folder"]


def test_folders_of_somebody_else() -> None:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with unprivileged(), pytest.raises(PermissionError, match=r"cannot write .*a\.txt'"):
            write(Path(folder, "a.txt"), "")
        Path(folder).chmod(0o755)
