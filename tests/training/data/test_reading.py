"""Files of structures: complete ones are read, all others raise errors of one line."""

from pathlib import Path

import ase
import ase.db
import ase.io
import pytest

from sikff.training.data.reading import read_structures


@pytest.mark.parametrize("name", ["a.xyz", "a.extxyz", "a.traj", "a.db", "a.json", "a"])
@pytest.mark.parametrize(
    "content", [b"", b"\n", bytes(range(256)) * 9, b"what\nis this\n"], ids=["0", "1", "2", "3"]
)
def test_files_without_structures_raise(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError, match=name) as caught:
        read_structures(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    assert path.read_bytes() == content


GOOD = """2
Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0 pbc="F F F"
H 0.0 0.0 0.0 0.1 0.2 0.3
H 0.0 0.0 0.8 0.1 0.2 0.3
"""


@pytest.mark.parametrize("lost", range(1, len(GOOD), 9))
def test_truncated_files(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "cut.xyz"
    path.write_text(2 * GOOD)
    assert len(read_structures(path).atoms) == 2
    text = (2 * GOOD)[:-lost]
    path.write_text(text)
    complete = lost == 1 or text.endswith(GOOD)  # the last newline, or complete structures
    if complete:
        assert read_structures(path).atoms[-1].get_forces()[-1, -1] == 0.3
    else:
        with pytest.raises(ValueError, match=r"cannot read .*cut\.xyz': .*line \d"):
            read_structures(path)


@pytest.mark.parametrize(
    ("old", "message"),
    [
        ("2\n", r"structure 1 \(line 5\) announces 9{15} atoms; the file ends after 2"),
        ("pos:R:3", "line 6, structure 1: Properties is .*expected name:kind:number"),
        ("forces:R:3", "line 6, structure 1: Properties is .*expected name:kind:number"),
    ],
)
def test_counts_beyond_the_size_of_the_file_raise(tmp_path: Path, old: str, message: str) -> None:
    """ASE would count."""
    path = tmp_path / "long.xyz"
    path.write_text(GOOD + GOOD.replace(old, old[:-1].rstrip("2") + "9" * 15 + old[-1:].strip("3")))
    with pytest.raises(ValueError, match=rf"long\.xyz.*{message}"):
        read_structures(path)
    path.write_text(GOOD.replace("energy", "at=12:30:123456789 energy"))
    assert len(read_structures(path)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "2\n20231205\nH 0.0 0.0 0.0\nH 0.0 0.0 0.8\n",
        GOOD.replace("forces:R:3", "run20231205:R:3"),
        GOOD.replace("energy", "id=Properties=20231205 energy"),
        GOOD.rstrip() + "\nVEC1 9 0 0\nVEC2 0 9 0\nVEC3 0 0 9\n" + GOOD,
    ],
    ids=["comment", "column", "value", "vectors"],
)
def test_large_numbers_that_are_not_counts_are_read(tmp_path: Path, text: str) -> None:
    """A date, for one, as the comment line of a plain XYZ file."""
    path = tmp_path / "dated.xyz"
    path.write_text(text)
    assert all(len(atoms) == 2 for atoms in read_structures(path).atoms)


def test_such_counts_after_the_first_structure_raise(tmp_path: Path) -> None:
    path = tmp_path / "long.xyz"
    path.write_text(GOOD.rstrip() + "\nVEC1 9 0 0\nVEC2 0 9 0\nVEC3 0 0 9\n" + "9" * 15 + "\n")
    with pytest.raises(ValueError, match=r"announces 9{15} atoms"):
        read_structures(path)


def test_databases_in_lmdb(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    pytest.importorskip("ase_db_backends", reason="extra lmdb")
    path = tmp_path / "a.aselmdb"
    with ase.db.connect(path) as database:
        for number, atoms in enumerate(frames):
            database.write(atoms, data={"REF_energy": float(number)})
    found = read_structures(path)
    assert [atoms.info["REF_energy"] for atoms in found.atoms] == list(range(12))
    for one, other in zip(found.atoms, frames, strict=True):
        assert abs(one.get_forces() - other.get_forces()).max() < 1e-9


def test_a_database_in_lmdb_needs_a_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.aselmdb").write_bytes(b"some database")
    monkeypatch.setattr("sikff.training.data.reading.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"a\.aselmdb': it needs ase-db-backends.*sikff\[lmdb\]"):
        read_structures(tmp_path / "a.aselmdb")


def test_missing_and_closed_files_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        read_structures(tmp_path / "absent.xyz")
    with pytest.raises(ValueError, match="is a folder; expected a file"):
        read_structures(tmp_path)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("sikff.training.data.extended_xyz.open_with_compression", refuse)
    monkeypatch.setattr(ase.io, "iread", refuse)
    for name in ("closed.xyz", "closed.traj"):
        (tmp_path / name).write_text(GOOD)
        with pytest.raises(ValueError, match=rf"{name}': PermissionError: .*Permission denied"):
            read_structures(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "0\n\n", "structure 1: no atoms"),
        (
            GOOD + GOOD.replace("0.8", "nan"),
            "structure 1: positions or cell hold NaN or infinity.*",
        ),
        (
            GOOD.replace("energy", 'electric_field="1 2" energy'),
            "structure 0: .*field is .* three .*",
        ),
    ],
)
def test_invalid_structures_raise(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.xyz").write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.xyz, {message}$"):
        read_structures(tmp_path / "bad.xyz")


def test_atoms_without_an_element_raise(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    frames[2].symbols[1] = "X"
    ase.io.write(tmp_path / "x@1.xyz", frames)
    with pytest.raises(ValueError, match=r"structure 2: atoms without an element \(X\)"):
        read_structures(tmp_path / "x@1.xyz")
