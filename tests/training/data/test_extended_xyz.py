"""Extended and plain XYZ as people and programs write it: read, or refused with the line."""

import bz2
import gzip
import lzma
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from sikff.training.data.extended_xyz import ISOTOPES
from sikff.training.data.reading import read_atoms, read_structures

FRAME = """2
Lattice="9 0 0 1 9 0 0 2 9" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 step={}
H 0.00000000 0.00000000 0.00000000 0.10000000 0.20000000 0.30000000
O 0.00000000 0.00000000 0.80000000 -0.10000000 -0.20000000 -0.30000000
"""
TWO = FRAME.format(0) + FRAME.format(1)
PLAIN = "2\n{}\nH 0 0 0\nO 0 0 0.8\n"


def read(folder: Path, text: str, encoding: str = "utf-8", name: str = "a.xyz") -> list[ase.Atoms]:
    (folder / name).write_bytes(text.encode(encoding))
    return read_structures(folder / name).atoms


def check_two(structures: list[ase.Atoms]) -> None:
    assert [int(atoms.info["step"]) for atoms in structures] == [0, 1]
    for atoms in structures:
        assert str(atoms.symbols) == "HO"
        assert atoms.pbc.all()
        assert atoms.cell.tolist() == [[9, 0, 0], [1, 9, 0], [0, 2, 9]]
        assert atoms.positions[1].tolist() == [0, 0, 0.8]
        assert atoms.get_forces()[1].tolist() == [-0.1, -0.2, -0.3]
        assert atoms.get_potential_energy() == -1.5


def test_frames_are_those_of_ase(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    """What ASE writes and reads itself is read as ASE does."""
    ase.io.write(tmp_path / "a.xyz", frames)
    expected = ase.io.read(tmp_path / "a.xyz", ":")
    for atoms, reference in zip(read_structures(tmp_path / "a.xyz").atoms, expected, strict=True):
        assert atoms == reference
        assert atoms.info == reference.info
        assert atoms.arrays.keys() == reference.arrays.keys()
        if reference.calc is not None:
            assert np.array_equal(atoms.get_forces(), reference.get_forces())


@pytest.mark.parametrize(
    "text",
    [
        FRAME.format(0) + "\n" + FRAME.format(1),
        FRAME.format(0) + " \n\t\n\n" + FRAME.format(1),
        "\n\n" + TWO + "\n \n",
        TWO.replace("\n", "\r\n"),
        "\n".join(f"{line}  " for line in TWO.splitlines()),
        TWO.replace(" 0.", "\t0."),
        "\ufeff" + TWO,
        TWO[:-1],
        TWO.replace("Lattice", "lattice").replace("Properties", "properties"),
        TWO.replace("Lattice", "LATTICE").replace("Properties", "PROPERTIES"),
        TWO.replace("energy", 'PBC="T T T" energy'),
        TWO.replace("species:", "Species:").replace(":pos:", ":Pos:"),
    ],
    ids=[
        "one",
        "more",
        "ends",
        "crlf",
        "trailing",
        "tabs",
        "bom",
        "cut",
        "low",
        "up",
        "PBC",
        "Pos",
    ],
)
def test_the_same_frames_in_other_hands(tmp_path: Path, text: str) -> None:
    check_two(read(tmp_path, text))
    assert read_atoms(tmp_path / "a.xyz", last=True)[0].info["step"] == 1


def test_encodings_and_compression(tmp_path: Path) -> None:
    check_two(read(tmp_path, TWO, "utf-16"))
    assert len(read(tmp_path, PLAIN.format("bond of 1 Å"), "latin-1")) == 1
    for module in (gzip, bz2, lzma):
        suffix = {"gzip": "gz", "bz2": "bz2", "lzma": "xz"}[module.__name__]
        path = tmp_path / f"a.xyz.{suffix}"
        path.write_bytes(module.compress(TWO.encode()))
        check_two(read_structures(path).atoms)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match=rf"cannot read .*a\.xyz\.{suffix}"):
            read_structures(path)


def test_names_that_look_like_addresses_are_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ASE would look for a server."""
    read(tmp_path, TWO)
    for name in ("postgres_slab.traj", "mysql.traj", "OUTCAR.xyz", "a@0.XYZ"):
        if name.endswith("traj"):
            ase.io.write(tmp_path / name, ase.io.read(tmp_path / "a.xyz", ":"))
        else:
            (tmp_path / name).write_text(TWO)
    monkeypatch.chdir(tmp_path)
    for name in ("postgres_slab.traj", "mysql.traj", "OUTCAR.xyz", "a@0.XYZ"):
        check_two(read_structures(name).atoms)


@pytest.mark.parametrize(
    "comment",
    [
        *("", "13966127", "it's \"not", "energy, pbc and stress of Lattice", "x" * 100_000, "水 é"),
        *("made by GAMESS", "Version 9 of ABINIT", "O   R   C   A", "{[(", "\\"),
    ],
)
def test_words_are_a_comment(tmp_path: Path, comment: str) -> None:
    (atoms,) = read(tmp_path, PLAIN.format(comment))
    assert atoms.info == ({"comment": comment} if comment else {})
    assert not atoms.pbc.any()
    assert atoms.calc is None


@pytest.mark.parametrize(
    ("properties", "rows"),
    [
        ("pos:R:3:species:S:1", ["0 0 0 H", "0 0 0.8 O"]),
        ("id:I:1:species:S:1:run_20240115:R:1:pos:R:3", ["1 H 7 0 0 0", "2 O 8 0 0 0.8"]),
        ("Z:I:1:pos:R:3:f-2:R:2", ["1 0 0 0 1 2", "8 0 0 0.8 3 4"]),
        ("species:S:1:positions:R:3", ["h 0 0 0", "O 0 0 0.8"]),
    ],
)
def test_columns_in_other_orders(tmp_path: Path, properties: str, rows: list[str]) -> None:
    text = "\n".join(["2", f"Properties={properties}", *rows, ""])
    (atoms,) = read(tmp_path, text)
    assert str(atoms.symbols) == "HO"
    assert atoms.positions.tolist() == [[0, 0, 0], [0, 0, 0.8]]


def test_integer_positions(tmp_path: Path) -> None:
    (atoms,) = read(tmp_path, "1\nProperties=species:S:1:pos:I:3\nH 1 2 3\n")
    assert atoms.positions.tolist() == [[1, 2, 3]]


def test_isotopes_are_hydrogen_of_their_mass(tmp_path: Path) -> None:
    text = PLAIN.format("").replace("H ", "D ").replace("2\n", "3\n", 1) + "t 0 0 3\n"
    (atoms,) = read(tmp_path, text)
    assert str(atoms.symbols) == "HOH"
    expected = [ISOTOPES["D"], ase.Atoms("O").get_masses()[0], ISOTOPES["T"]]
    assert atoms.get_masses().tolist() == expected
    (atoms,) = read(tmp_path, "1\nProperties=species:S:1:pos:R:3:masses:R:1\nD 0 0 0 5\n")
    assert atoms.get_masses().tolist() == [5]


def test_cell_vectors_after_the_atoms(tmp_path: Path) -> None:
    """With the labels of their comment."""
    frame = FRAME.replace('Lattice="9 0 0 1 9 0 0 2 9" ', "").format(0)
    (atoms,) = read(tmp_path, frame + "VEC1 9 0 0\nVEC2 0 8 0\n")
    assert atoms.cell.tolist() == [[9, 0, 0], [0, 8, 0], [0, 0, 0]]
    assert atoms.pbc.tolist() == [True, True, False]
    assert atoms.get_potential_energy() == -1.5
    for wrong in ("VEC2 9 0 0\n", "VEC1 9 0\n", "VEC1 1 0 0\n" * 2):
        with pytest.raises(ValueError, match=r"structure 0: .*VEC.*expected VEC1, VEC2"):
            read(tmp_path, frame + wrong)
    with pytest.raises(ValueError, match=r"Lattice .* and VEC lines"):
        read(tmp_path, FRAME.format(0) + "VEC1 9 0 0\n")


def test_columns_that_are_not_read_are_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"a\.xyz: columns after x, y, z are not read"):
        (atoms,) = read(tmp_path, PLAIN.format("").replace("0.8", "0.8 0.1 0.2 0.3"))
    assert str(atoms.symbols) == "HO"


BAD = {
    "line 2, structure 0: energy occurs twice": TWO.replace("energy", "energy=-2 energy"),
    "line 6, structure 1: ' is not closed": FRAME.format(0) + FRAME.format("1 note=it's"),
    'line 2, structure 0: " is not closed': TWO.replace("energy", 'note="a b energy'),
    "structure 0: 999 is no atomic number": "1\nProperties=Z:I:1:pos:R:3\n999 0 0 0\n",
    "structure 0: -1 is no atomic number": "1\nProperties=Z:I:1:pos:R:3\n-1 0 0 0\n",
    "'29' is no element.*LAMMPS": PLAIN.format("").replace("O", "29"),
    r"line 4, structure 0: 'Cu1' is no element.*is it Cu\?": PLAIN.format("").replace("O", "Cu1"),
    r"'O2-' is no element.*is it O\?": PLAIN.format("").replace("O", "O2-"),
    r"'H_pbe' is no element.*is it H\?": PLAIN.format("").replace("O", "H_pbe"),
    "'Xx' is no element; expected a symbol such as Cu$": PLAIN.format("").replace("O", "Xx"),
    r"atoms without an element \(X\)": PLAIN.format("").replace("O", "X"),
    "line 8, structure 1 ends with '-0.3000' and no newline": TWO[:-5],
    "line 8, structure 1 has 6 words": TWO[:-20],
    r"structure 1 \(line 5\) announces 2 atoms; the file ends after 1": TWO[:-100],
    "line 5, structure 0 has 1 words": TWO.replace("2\n", "3\n", 1),
    "line 4 is 'O .*; expected the number of atoms of structure 1; or structure 0 has more lines": (
        TWO.replace("2\n", "1\n", 1)
    ),
    "line 5 is 'garbage'; expected the number": FRAME.format(0) + "garbage\n" + FRAME.format(1),
    "line 5 is '-2'; expected the number": FRAME.format(0) + "-2\n\n",
    "line 3 is 'Lattice.*; expected the number": TWO.replace("2\n", "0\n\n", 1),
    "line 4, structure 0 has 0 words": TWO.replace("O 0.0", "\nO 0.0", 1),
    "line 4, structure 0 has 8 words.*expected 7, as Properties says": TWO.replace("80", "8 0", 1),
    "line 4, structure 0: positions is '0.8D0'; expected a number": (
        PLAIN.format("").replace("0.8", "0.8D0")
    ),
    "line 3, structure 0: id is '1.5'; expected an integer": (
        "1\nProperties=species:S:1:pos:R:3:id:I:1\nH 0 0 0 1.5\n"
    ),
    "line 3, structure 0: move_mask is '1'; expected T or F": (
        "1\nProperties=species:S:1:pos:R:3:move_mask:L:1\nH 0 0 0 1\n"
    ),
    "two columns are called positions": TWO.replace("forces", "pos"),
    "expected species:S:1 or Z:I:1": "1\nProperties=pos:R:3\n0 0 0\n",
    "expected positions, pos:R:3": TWO.replace("pos:", "place:"),
    "Properties is 'species:S'": TWO.replace("species:S:1:pos:R:3:forces:R:3", "species:S"),
    "both Lattice and lattice": TWO.replace("energy", 'lattice="1 0 0 0 1 0 0 0 1" energy'),
    "Lattice is .*; expected nine numbers": TWO.replace("Lattice", "lattice").replace(" 2 9", ""),
    "cell and no Lattice": TWO.replace("Lattice", "cell"),
    "pbc is 'F F no'; expected three of T and F": TWO.replace("energy", 'pbc="F F no" energy'),
    "pbc is .*expected three of T and F": TWO.replace("energy", 'Pbc="T T" energy'),
}  # fmt: skip


@pytest.mark.parametrize("where", ["step={}", "energy=-1.5", "Lattice"])
@pytest.mark.parametrize("empty", ["label=", 'label=""', "label=''"])
def test_keys_without_a_value_hide_no_other(tmp_path: Path, where: str, empty: str) -> None:
    """ASE writes a label that is empty as `label=`, and takes the next key for its value."""
    structures = read(tmp_path, TWO.replace(where.format(0), f"{empty} {where.format(0)}"))
    check_two(structures)
    assert "label" not in structures[0].info


def test_keys_without_a_value_at_the_end(tmp_path: Path) -> None:
    structures = read(tmp_path, "".join(FRAME.format(f"{k} config_type=") for k in range(2)))
    check_two(structures)
    assert not any("config_type" in atoms.info for atoms in structures)


@pytest.mark.parametrize(
    "value",
    [
        "C=C=C",
        "'a= b=1'",
        '"a= b=1 a=2"',
        "[1, 2]",
        '"_JSON {\\"a\\": \\"b=\\"}"',
        "it\\'s",
        "{a= a=}",
    ],
)
def test_values_with_equals_signs_and_quotes_are_values(tmp_path: Path, value: str) -> None:
    structures = read(tmp_path, TWO.replace("energy", f"smiles={value} energy"))
    check_two(structures)
    path = tmp_path / "a.xyz"
    expected = ase.io.read(path).info["smiles"]
    assert np.all(structures[0].info["smiles"] == expected)


@pytest.mark.parametrize("message", BAD)
def test_errors_name_the_place(tmp_path: Path, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        read(tmp_path, BAD[message])
    assert str(tmp_path / "a.xyz") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
