"""Records of files: written once, read again as long as the file stays, by one writer at a time."""

import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from sikff.lock import lock
from sikff.training.config import NpzUnits
from sikff.training.data.on_disk import record_cache
from sikff.training.data.on_disk.record_cache import open_records


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been read."""
    found: list[Path] = []
    iterate = record_cache.iterate_atoms

    def noted(path: Path, **options: object) -> Iterator[ase.Atoms]:
        found.append(path)
        yield from iterate(path, **options)

    monkeypatch.setattr(record_cache, "iterate_atoms", noted)
    return found


def test_a_file_is_read_once_until_it_changes(
    tmp_path: Path, frames: list[ase.Atoms], reads: list[Path]
) -> None:
    path, cache = tmp_path / "a.xyz", tmp_path / "cache"
    ase.io.write(path, frames)
    for _ in range(3):
        records = open_records(path, cache)
        assert len(records) == 12
        assert np.array_equal(records[5].positions, ase.io.read(path, 5).positions)
    assert reads == [path]
    state = path.stat()
    text = path.read_text()
    path.write_text(text.replace("energy=", "ENERGY=", 1))  # of the same size
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert "ENERGY" in open_records(path, cache)[0].info
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1000))
    open_records(path, cache)
    ase.io.write(path, frames[:5])
    assert len(open_records(path, cache)) == 5
    assert len(reads) == 4
    assert len([*cache.iterdir()]) == 1  # replaced, and no lock or temporary is left


def test_damaged_records_and_those_of_other_versions_are_written_again(
    tmp_path: Path, frames: list[ase.Atoms], reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "a.xyz", tmp_path / "cache"
    ase.io.write(path, frames)
    target = open_records(path, cache).path
    target.write_bytes(target.read_bytes()[:-100])
    assert len(open_records(path, cache)) == 12
    monkeypatch.setattr(record_cache, "FORMAT_VERSION", 99)
    assert len(open_records(path, cache)) == 12
    assert len(reads) == 3


def test_files_of_one_name_in_two_folders_do_not_mix(
    tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        ase.io.write(tmp_path / str(number) / "a.xyz", frames[:number])
    for number in (1, 2, 1):
        assert len(open_records(tmp_path / str(number) / "a.xyz", tmp_path / "cache")) == number


def test_a_file_that_cannot_be_read_leaves_no_records(
    tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    path, cache = tmp_path / "a.xyz", tmp_path / "cache"
    ase.io.write(path, frames)
    path.write_text(path.read_text()[:-50])
    with pytest.raises(ValueError, match=r"cannot read .*a\.xyz"):
        open_records(path, cache)
    assert not [*cache.iterdir()]
    with pytest.raises(FileNotFoundError, match="no data file"):
        open_records(tmp_path / "absent.xyz", cache)


def test_a_file_that_changes_while_it_is_read_leaves_no_records(
    tmp_path: Path, frames: list[ase.Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, cache = tmp_path / "a.xyz", tmp_path / "cache"
    ase.io.write(path, frames)

    def growing(path: Path, **_: object) -> Iterator[ase.Atoms]:
        yield frames[0]
        path.write_text(path.read_text() * 2)

    monkeypatch.setattr(record_cache, "iterate_atoms", growing)
    with pytest.raises(ValueError, match="changed while it was read"):
        open_records(path, cache)
    assert not [*cache.iterdir()]


def test_warnings_of_a_reader_are_given_every_time(
    tmp_path: Path, frames: list[ase.Atoms], reads: list[Path]
) -> None:
    path = tmp_path / "a.npz"
    positions = np.array([atoms.positions for atoms in frames[::6]])
    np.savez(path, z=frames[0].numbers, R=positions, E=np.zeros(2), F=np.zeros((2, 4, 3)))
    for _ in range(2):
        with pytest.warns(UserWarning, match="does not name its units"):
            open_records(path, tmp_path / "cache")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_records(path, tmp_path / "cache", NpzUnits())
    assert len(reads) == 2  # in other units it is another file


def test_a_second_writer_waits_for_the_first(
    tmp_path: Path, frames: list[ase.Atoms], reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then takes what the first has written."""
    path, cache = tmp_path / "a.xyz", tmp_path / "cache"
    ase.io.write(path, frames)
    target = open_records(path, cache).path
    content = target.read_bytes()
    target.unlink()
    waits = threading.Event()
    monkeypatch.setattr(record_cache.time, "sleep", lambda seconds: waits.set())
    found = []
    with lock(target, "the first"):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            second = threading.Thread(target=lambda: found.append(open_records(path, cache)))
            second.start()
            assert waits.wait(60)
            assert not found
        target.write_bytes(content)
    second.join(60)
    assert len(found[0]) == 12 and len(reads) == 1
    assert sum("waiting for it" in str(each.message) for each in caught) == 1


def test_a_folder_that_cannot_be_written_raises(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    path = tmp_path / "a.xyz"
    ase.io.write(path, frames)
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OSError, match=r"data\.cache: FOLDER chooses another place"):
        open_records(path, tmp_path / "cache")
