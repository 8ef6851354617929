"""Files of records: structures come back as they were, and files appear whole or not at all."""

from pathlib import Path

import ase
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms, FixedLine
from safetensors import safe_open

from sikff.training.data.on_disk.record_file import RecordFile, decode, encode, write_records


def rich() -> ase.Atoms:
    """A structure with everything that files of structures may have."""
    atoms = ase.Atoms("CuNiO", np.eye(3) / 3, cell=[4, 5, 6], pbc=(True, False, True))
    atoms.cell[0, 1] = 0.1
    atoms.set_constraint([FixAtoms([0]), FixedLine(2, (0, 0, 1))])
    atoms.info = {
        "config_type": "melt",
        "charge": -1,
        "electric_field": np.array([0.0, 0.1, 1 / 3]),
        "nested": {"a": [1, 2.5], "b": None, "c": np.float32(0.5)},
        "flag": True,
        "number": np.int64(3),
        "words": np.array(["a", "bc"]),
        "large": 1e300,
        "unknown": float("nan"),
    }
    atoms.arrays["forces_mask"] = np.array([True, False, True])
    atoms.arrays["kinds"] = np.array(["x", "yy", "z"])
    atoms.arrays["ones"] = np.ones((3, 2), np.float32)
    atoms.calc = SinglePointCalculator(
        atoms, energy=-1 / 3, forces=np.arange(9.0).reshape(3, 3) / 7, stress=np.arange(6.0)
    )
    return atoms


def test_structures_come_back_as_they_were() -> None:
    atoms = rich()
    found = decode(encode(atoms))
    assert found.numbers.tolist() == [29, 28, 8] and found.pbc.tolist() == atoms.pbc.tolist()
    assert np.array_equal(found.positions, atoms.positions)
    assert np.array_equal(found.cell.array, atoms.cell.array)
    assert found.arrays.keys() == atoms.arrays.keys()
    for name, array in atoms.arrays.items():
        assert found.arrays[name].dtype == array.dtype, name
        assert np.array_equal(found.arrays[name], array), name
    assert found.info.keys() == atoms.info.keys()
    for name in ("config_type", "charge", "flag", "number", "large"):
        assert found.info[name] == atoms.info[name] and type(found.info[name]) is not np.ndarray
    assert np.array_equal(found.info["electric_field"], atoms.info["electric_field"])
    assert found.info["nested"] == {"a": [1, 2.5], "b": None, "c": 0.5}
    assert found.info["words"].tolist() == ["a", "bc"] and np.isnan(found.info["unknown"])
    assert [str(each) for each in found.constraints] == [str(each) for each in atoms.constraints]
    assert found.calc.results["energy"] == -1 / 3
    for name in ("forces", "stress"):
        assert np.array_equal(found.calc.results[name], atoms.calc.results[name])
    found.positions += 1.0  # may be changed, as those of a file


def test_structures_without_anything_come_back() -> None:
    found = decode(encode(ase.Atoms("H")))
    assert found.calc is None and not found.info and not found.constraints
    assert [*found.arrays] == ["numbers", "positions"]


def test_a_file_is_one_of_safetensors(tmp_path: Path) -> None:
    structures = [rich(), ase.Atoms("H2", np.eye(2, 3)), rich()]
    write_records(tmp_path / "a.safetensors", iter(structures), {"x": 1})
    file = RecordFile(tmp_path / "a.safetensors")
    assert len(file) == 3 and file.metadata == {"x": 1}
    assert [len(file[index]) for index in (2, 0, 1)] == [3, 3, 2]
    assert np.array_equal(file[2].get_positions(), structures[2].positions)
    with safe_open(tmp_path / "a.safetensors", "numpy") as opened:
        assert {*opened.keys()} == {"records", "ends"}
        ends = opened.get_tensor("ends")
        second = opened.get_slice("records")[int(ends[0]) : int(ends[1])].tobytes()
    assert np.array_equal(decode(second).positions, structures[1].positions)


def test_what_cannot_be_stored_raises_and_leaves_no_file(tmp_path: Path) -> None:
    structures = [ase.Atoms("H"), ase.Atoms("H", info={"model": object()})]
    with pytest.raises(ValueError, match=r"structure 1: object <object .* cannot be stored"):
        write_records(tmp_path / "a.safetensors", structures, {})
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="bytes of metadata"):
        write_records(tmp_path / "a.safetensors", structures[:1], {"x": "a" * 70_000})
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("content", [b"", b"what is this", bytes(99_999)])
def test_other_files_raise(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match="is no file of records"):
        RecordFile(tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        RecordFile(tmp_path / "absent")


def test_a_file_that_is_cut_off_raises(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_records(path, [rich()] * 5, {})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="is no file of records"):
        RecordFile(path)
