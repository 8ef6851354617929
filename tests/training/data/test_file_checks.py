"""Files that ASE reads in part or averages over: refused, never silently."""

import sqlite3
from contextlib import closing
from pathlib import Path

import ase
import ase.db
import ase.io
import pytest
from ase.build import bulk

from sikff.graph import AtomicGraph
from sikff.graph.occupancy import check_occupancy
from sikff.training.data.reading import read_atoms, read_structures
from sikff.training.simulation.structure_files import read_structure

CIF = """data_{name}
_cell_length_a 3.85
_cell_length_b 3.85
_cell_length_c 3.85
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
{sites}
"""
WHOLE = CIF.format(name="a", group="P 1", sites="Cu1 Cu 0 0 0 1.0")
NO_OCCUPANCY = CIF.replace("_atom_site_occupancy\n", "")


def read(folder: Path, text: str, name: str = "a.cif") -> list[ase.Atoms]:
    (folder / name).write_text(text)
    return read_structures(folder / name).atoms


@pytest.mark.parametrize(
    ("sites", "message"),
    [
        ("Cu1 Cu 0 0 0 0.5\nAu1 Au 0 0 0 0.5", "a site is occupied by 0.5 Cu and 0.5 Au"),
        ("Cu1 Cu 0 0 0 1\nAu1 Au 0 0 0 1", "one site holds|occupied by 1 Cu and 1 Au"),
        ("Cu1 Cu 0 0 0 0.5", "a site is occupied by 0.5 Cu"),
        ("Cu1 Cu 0 0 0 1\nAu1 Au 0.5 0.5 0.5 0", "a site is occupied by 0 Au"),
        ("Cu1 Cu 0 0 0 0.99(1)", "a site is occupied by 0.99 Cu"),
        ("Cu1 Cu 0 0 0 .5\nCu2 Cu 0.02 0 0 .5", "a site is occupied by 0.5 Cu"),
    ],
)
def test_partial_occupancies_of_cif_raise(tmp_path: Path, sites: str, message: str) -> None:
    with pytest.raises(ValueError, match=rf"cannot read .*{message}.*one whole atom on each site"):
        read(tmp_path, CIF.format(name="a", group="P 1", sites=sites))
    with pytest.raises(ValueError, match="one whole atom on each site"):
        read_structure(tmp_path / "a.cif")


@pytest.mark.parametrize("occupancy", ["1", "1.0", "1.000(2)", ".", "?"])
def test_full_occupancies_are_read(tmp_path: Path, occupancy: str) -> None:
    text = CIF.format(name="a", group="F m -3 m", sites=f"Cu1 Cu 0 0 0 {occupancy}")
    (atoms,) = read(tmp_path, text)
    assert str(atoms.symbols) == "Cu4"


def test_partial_occupancies_survive_no_other_format(tmp_path: Path) -> None:
    (tmp_path / "a.cif").write_text(CIF.format(name="a", group="P 1", sites="Cu1 Cu 0 0 0 0.5"))
    atoms = ase.io.read(tmp_path / "a.cif")
    with pytest.raises(ValueError, match=r"a site is occupied by 0\.5 Cu"):  # as in a calculator
        AtomicGraph.from_atoms(atoms, 3.0, ["Cu"])
    del atoms.info["spacegroup"]
    for name in ("a.xyz", "a.traj"):
        ase.io.write(tmp_path / name, atoms)
        with pytest.raises(ValueError, match=r"structure 0: a site is occupied by 0\.5 Cu"):
            read_structures(tmp_path / name)
    column = "1\nProperties=species:S:1:pos:R:3:occupancy:R:1\nCu 0 0 0 0.5\n"
    with pytest.raises(ValueError, match=r"atom 0 \(Cu\) has occupancy 0.5"):
        read(tmp_path, column, "b.xyz")
    for harmless in ({"occupancy": 0.25}, {"occupancy": "full"}, {}):
        atoms.info = harmless
        check_occupancy(atoms)


@pytest.mark.parametrize("group", ["P 1", "F m -3 m"])
def test_elements_that_share_a_site_raise(tmp_path: Path, group: str) -> None:
    """Without occupancies ASE keeps the first."""
    second = "0.5 0.5 0" if group != "P 1" else "0 0 0"
    text = NO_OCCUPANCY.format(name="a", group=group, sites=f"Cu1 Cu 0 0 0\nAu1 Au {second}")
    with pytest.warns(UserWarning), pytest.raises(ValueError, match="one site holds Au and Cu"):
        read(tmp_path, text)
    with pytest.warns(UserWarning, match="are equivalent"):
        (atoms,) = read(tmp_path, text.replace("Au", "Cu"))
    assert len(atoms) == (4 if group != "P 1" else 1)


def test_no_block_of_cif_is_skipped(tmp_path: Path) -> None:
    assert len(read(tmp_path, WHOLE + WHOLE.replace("data_a", "data_b"))) == 2
    assert len(read(tmp_path, "data_global\n_audit x\n" + WHOLE)) == 1
    with pytest.raises(ValueError, match="block 'a' has sites without positions or elements"):
        read(tmp_path, WHOLE + WHOLE.replace("Cu1 Cu", "? ?"))
    with pytest.raises(ValueError, match="block 'a' has no whole cell"):
        read(tmp_path, WHOLE.replace("_cell_length_c", "_cell_length_x"))
    with pytest.raises(ValueError, match="line 16: 'M' is no element"):
        read(tmp_path, WHOLE.replace("Cu1 Cu", "M1 M"))


PDB = """CRYST1    9.000    9.000    9.000  90.00  90.00  90.00 P 1
ATOM      1    H MOL     1       0.000   0.000   0.000  1.00  0.00           H
ATOM      2    O MOL     1       0.000   0.000   0.960  1.00  0.00           O
"""


def test_every_model_of_pdb_is_read_with_its_cell(tmp_path: Path) -> None:
    whole = f"MODEL 1\n{PDB}ENDMDL\n"
    structures = read(tmp_path, f"{whole}{whole}END\n", "a.pdb")
    assert [len(atoms) for atoms in structures] == [2, 2]
    assert all(atoms.pbc.all() for atoms in structures)
    with pytest.raises(ValueError, match="ASE does not read the cell"):
        read(tmp_path, whole + whole[whole.index("ATOM") :], "a.pdb")
    with pytest.raises(ValueError, match="ASE does not read all of the 4 atoms"):
        read(tmp_path, whole + PDB, "a.pdb")
    with pytest.raises(ValueError, match=r"atom 1 \(O\) has occupancy 0.5"):
        read(tmp_path, whole.replace("0.960  1.00", "0.960  0.50"), "a.pdb")
    assert len(read(tmp_path, whole.replace(" 1.00 ", " 0.00 "), "a.pdb")) == 1  # of no meaning


POSCAR = "Cu O\n1.0\n4 0 0\n0 4 0\n0 0 4\nCu O\n1 1\n{}Direct\n0 0 0 T T F\n0.5 0.5 0.5 F F F\n"


def test_poscar_with_more_lines_than_atoms_raises(tmp_path: Path) -> None:
    for mode in ("", "Selective dynamics\n"):
        text = POSCAR.format(mode)
        for rest in ("", "\n", "\n0 0 0\n0 0 0\n"):
            (atoms,) = read(tmp_path, text + rest, "POSCAR")
            assert str(atoms.symbols) == "CuO"
        with pytest.raises(ValueError, match="more than 2 lines of coordinates"):
            read(tmp_path, text + "0.1 0.1 0.1\n", "POSCAR")
    with pytest.raises(ValueError, match="line 6: 'D' is no element"):
        read(tmp_path, POSCAR.format("").replace("Cu O\n1 1", "Cu D\n1 1"), "POSCAR")


def test_a_dump_that_is_cut_off_raises(tmp_path: Path) -> None:
    frame = (
        "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n1\nITEM: BOX BOUNDS pp pp pp\n0 9\n0 9\n0 9\n"
        "ITEM: ATOMS id element x y z\n1 Cu 0 0 0\n"
    )
    two = frame.format(0) + frame.format(1)
    assert len(read(tmp_path, two, "a.lammpstrj")) == 2
    for end in (5, 12, 40, 90):
        with pytest.raises(ValueError, match="cannot read"):
            read(tmp_path, two[:-end], "a.lammpstrj")


def test_a_file_that_grows_while_it_is_read_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.xyz", "a.traj"):
        path = tmp_path / name
        ase.io.write(path, [bulk("Cu"), bulk("Cu")])
        assert len(read_structures(path)) == 2

        def grow(atoms: ase.Atoms, path: Path = path) -> None:
            with path.open("ab") as file:
                file.write(b"2")

        monkeypatch.setattr("sikff.training.data.reading.check_occupancy", grow)
        with pytest.raises(ValueError, match=rf"{name}' changed while it was read"):
            read_structures(path)
        monkeypatch.undo()


def test_databases_that_are_locked_or_cut_off_raise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sikff.training.data.reading.PATIENCE", 0.01)
    for name in ("a.db", "a.json"):
        with ase.db.connect(tmp_path / name) as rows:
            for _ in range(3):
                rows.write(bulk("Cu"), data={"energy": -1.0})
        assert len(read_structures(tmp_path / name)) == 3
        assert len(read_atoms(tmp_path / name, last=True)) == 1
    with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        with pytest.raises(ValueError, match=r"a\.db': OperationalError: database is locked"):
            read_structures(tmp_path / "a.db")
    whole = (tmp_path / "a.json").read_text()
    (tmp_path / "a.json").write_text(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read .*a\.json"):
        read_structures(tmp_path / "a.json")
