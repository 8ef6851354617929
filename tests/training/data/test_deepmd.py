"""Folders of DeePMD: read into the structures and labels that were written, or refused."""

from pathlib import Path
from typing import Any

import ase
import numpy as np
import pytest

from same_labels import expect_equal, molecules
from sikff.training.data.reading import read_structures


def write_deepmd(
    folder: Path, frames: list[ase.Atoms], sets: int = 1, **arrays: np.ndarray | None
) -> None:
    """A system of DeePMD: the virial is -stress * volume."""
    folder.mkdir(parents=True)
    numbers = frames[0].numbers
    names = ["Cu", "Ni"]
    types = [names.index(s) for s in frames[0].symbols]
    (folder / "type.raw").write_text("\n".join(map(str, types)))
    (folder / "type_map.raw").write_text("\n".join(names) + "\n")
    assert all((atoms.numbers == numbers).all() for atoms in frames)
    usual: dict[str, Any] = {
        "coord": [a.positions.ravel() for a in frames],
        "box": [a.cell.array.ravel() for a in frames],
        "energy": [a.get_potential_energy() for a in frames],
        "force": [a.get_forces().ravel() for a in frames],
        "virial": [-a.get_stress(voigt=False).ravel() * abs(a.cell.volume) for a in frames],
    }
    for name, values in (usual | arrays).items():
        if values is None:
            continue
        for number, part in enumerate(np.array_split(np.array(values), sets)):
            (folder / f"set.{number:03d}").mkdir(exist_ok=True)
            np.save(folder / f"set.{number:03d}" / name, part)


def test_folders_of_deepmd(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    """One system in two sets, and several systems below one folder."""
    write_deepmd(tmp_path / "all" / "a", frames[::6], sets=2)
    write_deepmd(tmp_path / "all" / "b" / "c", frames[1::6])
    expect_equal(list(read_structures(tmp_path / "all" / "a").atoms), frames[::6])
    found = list(read_structures(tmp_path / "all").atoms)
    expect_equal(found, [*frames[::6], *frames[1::6]])


def test_folders_of_deepmd_with_types_of_each_structure(
    tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    """The mixed form, in which atoms of type -1 are padding."""
    types = np.array([[0, 1, 1, 0], [1, 0, 0, -1]])
    write_deepmd(tmp_path / "a", [frames[0], frames[0]], real_atom_types=types)
    first, second = read_structures(tmp_path / "a").atoms
    assert list(first.symbols) == ["Cu", "Ni", "Ni", "Cu"]
    assert list(second.symbols) == ["Ni", "Cu", "Cu"]
    np.testing.assert_allclose(second.get_forces(), frames[0].get_forces()[:3])


def test_molecules_of_deepmd(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    chosen = molecules(frames)
    write_deepmd(tmp_path / "a", chosen, box=None, virial=None)
    with pytest.raises(ValueError, match=r"has no box\.npy; expected it, or a file nopbc"):
        read_structures(tmp_path / "a")
    (tmp_path / "a" / "nopbc").touch()
    expect_equal(list(read_structures(tmp_path / "a").atoms), chosen, stress=False)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"coord": None}, r"set\.000 has no coord\.npy"),
        ({"energy": None, "force": None}, r"neither energy\.npy nor force\.npy"),
        ({"force": np.zeros((2, 9))}, r"force\.npy has shape \(2, 9\).*expected numbers \(2, 12\)"),
        ({"energy": np.zeros(3)}, r"energy\.npy has shape \(3,\)"),
        ({"energy": np.array(["a", "b"])}, r"energy\.npy has shape \(2,\) and type <U1"),
        ({"real_atom_types": np.full((2, 4), 2)}, r"type 2, and type_map\.raw has 2 elements"),
    ],
)
def test_wrong_folders_of_deepmd_raise(
    tmp_path: Path, frames: list[ase.Atoms], arrays: dict[str, Any], message: str
) -> None:
    write_deepmd(tmp_path / "a", frames[::6], **arrays)
    with pytest.raises(ValueError, match=rf"cannot read .*a': .*{message}"):
        read_structures(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("type_map.raw", None, r"has no type_map\.raw, so its types are of unknown elements"),
        ("type_map.raw", "Cu O-2", r"type_map\.raw: O-2; expected symbols"),
        ("type.raw", "a b", r"type\.raw is not a list of types"),
    ],
)
def test_wrong_types_of_deepmd_raise(
    tmp_path: Path, frames: list[ase.Atoms], name: str, text: str | None, message: str
) -> None:
    write_deepmd(tmp_path / "a", frames[::6])
    (tmp_path / "a" / name).unlink()
    if text is not None:
        (tmp_path / "a" / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_structures(tmp_path / "a")


def test_arrays_of_deepmd_that_are_not_read_are_named(
    tmp_path: Path, frames: list[ase.Atoms]
) -> None:
    write_deepmd(tmp_path / "a", frames[::6], dipole=np.zeros((2, 3)))
    with pytest.warns(UserWarning, match=r"dipole\.npy not read"):
        assert len(read_structures(tmp_path / "a")) == 2


def test_older_folders_of_deepmd_raise(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "type.raw").write_text("0")
    (folder / "type_map.raw").write_text("Cu")
    (folder / "coord.raw").write_text("0 0 0")
    with pytest.raises(ValueError, match=r"no folder set\.000 \(coord\.raw is of the older form"):
        read_structures(folder)
