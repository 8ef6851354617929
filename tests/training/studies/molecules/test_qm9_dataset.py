"""Reading QM9 as it is published: both layouts, what is left out, the split, bad files."""

import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sikff.training.studies.molecules.qm9_dataset import Dataset, read_dataset, split

METHANE = """gdb_1
  written by hand

  5  4  0  0  0  0  0  0  0  0999 V2000
   -0.0127    1.0858    0.0080 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.0022   -0.0060    0.0020 H   0  0  0  0  0  0  0  0  0  0  0  0
    1.0117    1.4638    0.0003 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.5408    1.4475   -0.8766 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.5238    1.4379    0.9064 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0  0  0  0
  1  3  1  0  0  0  0
  1  4  1  0  0  0  0
  1  5  1  0  0  0  0
M  END
$$$$
"""
CYANIDE = """gdb_5
  written by hand

  3  2  0  0  0  0  0  0  0  0999 V2000
   -0.0133    1.1325    0.0083 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.0023   -0.0192    0.0019 N   0  0  0  0  0  0  0  0  0  0  0  0
   -0.0278    2.1989    0.0142 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  3  0  0  0  0
  1  3  1  0  0  0  0
M  END
$$$$
"""
FORMALDEHYDE = """gdb_6
  written by hand

  4  3  0  0  0  0  0  0  0  0999 V2000
   -0.0140    1.1760    0.0080 C   0  0  0  0  0  0  0  0  0  0  0  0
    0.0020   -0.0060    0.0020 O   0  0  0  0  0  0  0  0  0  0  0  0
    0.9250    1.7560    0.0020 H   0  0  0  0  0  0  0  0  0  0  0  0
   -0.9600    1.7430    0.0220 H   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  2  0  0  0  0
  1  3  1  0  0  0  0
  1  4  1  0  0  0  0
M  END
$$$$
"""
SDF = METHANE + CYANIDE + FORMALDEHYDE
CSV = """mol_id,A,B,C,mu,alpha,homo,lumo,u0
gdb_1,157.7,157.7,157.7,0.0,13.21,-0.3877,0.1171,-40.47893
gdb_5,,44.6,44.6,2.8937,12.99,-0.3604,0.0191,-93.411888
gdb_6,285.5,38.98,34.3,2.1089,14.18,-0.267,-0.0406,-114.483613
"""
UNCHARACTERISED = """==================
Molecules that lost their bonds
==================
 Index   SMILES
     5   C#N                 a  b
    77   CC                  c  d
==================
2 compounds
"""
XYZ = (
    "3\n"
    "gdb 5\t0.\t44.59\t44.59\t2.8937\t12.99\t-0.3604\t0.0191\t0.3796\t48.7476\t0.016601\t-93.411888"
    "\t-93.40937\t-93.408425\t-93.431246\t6.278\t\n"
    "C\t-0.0133239314\t 1.1324657151\t 0.0082758861\t-0.049\n"
    "N\t 0.0023107217\t-0.0191585871\t 1.9287*^-3\t-0.153\n"
    "H\t-0.0278026991\t 2.1989492119\t 1.41537*^-2\t 0.202\n"
    "799.7\t799.7\t2198\t3490\n"
    "C#N\tC#N\n"
    "InChI=1S/CHN/c1-2/h1H\tInChI=1S/CHN/c1-2/h1H\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """gdb9.sdf and what belongs to it."""
    (tmp_path / "gdb9.sdf").write_text(SDF)
    (tmp_path / "gdb9.sdf.csv").write_text(CSV)
    (tmp_path / "uncharacterized.txt").write_text(UNCHARACTERISED)
    return tmp_path


def names(dataset: Dataset) -> list[str]:
    return [molecule.name for molecule in dataset.molecules]


def test_sdf_is_read(folder: Path) -> None:
    methane, cyanide, formaldehyde = read_dataset(folder, keep_uncharacterised=True).molecules
    assert methane.name == "gdb_1" and methane.numbers.tolist() == [6, 1, 1, 1, 1]
    assert methane.positions[3].tolist() == [-0.5408, 1.4475, -0.8766]
    assert methane.bonds.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4]]
    assert cyanide.numbers.tolist() == [6, 7, 1] and cyanide.orders.tolist() == [3, 1]
    assert formaldehyde.orders.tolist() == [2, 1, 1]


def test_sdf_columns_need_no_spaces_between_them(tmp_path: Path) -> None:
    """Columns are what counts: 100 atoms and 101 bonds leave no space between them."""
    atoms = "".join(f"{k:10.4f}{-1000.0:10.4f}{0:10.4f} F   0  0\n" for k in range(100))
    bonds = "".join(f"{k:3d}{k + 1:3d}  1\n" for k in range(1, 100))
    text = f"long\n\n\n100 99  0  0  0  0  0  0  0  0999 V2000\n{atoms}{bonds}M  END\n$$$$\n"
    (tmp_path / "long.sdf").write_text(text)
    (tmp_path / "long.sdf.csv").write_text("mol_id,mu\nlong,1.5\n")
    (long,) = read_dataset(tmp_path).molecules
    assert long.positions[99].tolist() == [99, -1000, 0] and long.bonds[98].tolist() == [98, 99]


def test_values_have_the_units_of_targets(folder: Path) -> None:
    """Energies of orbitals in eV: 27.2114 times those in Hartree."""
    dataset = read_dataset(folder)
    assert dataset.values("homo") == pytest.approx([-0.3877 * 27.2114, -0.267 * 27.2114], rel=1e-5)
    assert dataset.values("mu").tolist() == [0.0, 2.1089]
    assert dataset.values("alpha").tolist() == [13.21, 14.18]
    with pytest.raises(ValueError, match="has no zpve; it has mu, alpha, homo, lumo, u0"):
        dataset.values("zpve")
    with pytest.raises(ValueError, match="unknown target 'HOMO'; expected one of mu, alpha, homo"):
        dataset.values("HOMO")


def test_uncharacterised_molecules_are_left_out(folder: Path) -> None:
    """Of the file, lines that begin with a number count, the last one apart; 77 is not there."""
    assert names(read_dataset(folder)) == ["gdb_1", "gdb_6"]
    kept = read_dataset(folder, keep_uncharacterised=True)
    assert names(kept) == ["gdb_1", "gdb_5", "gdb_6"]
    (folder / "uncharacterized.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"uncharacterized.txt.*published at https://doi"):
        read_dataset(folder)
    assert names(read_dataset(folder, keep_uncharacterised=True)) == names(kept)
    (folder / "uncharacterized.txt").write_text("nothing\n")
    with pytest.raises(ValueError, match="lists 0 molecules; expected the file of QM9, with 3054"):
        read_dataset(folder)
    (folder / "uncharacterized.txt").write_text(UNCHARACTERISED.replace("    77   CC", "CC"))
    with pytest.raises(ValueError, match="says 2 compounds and lists 1 molecules"):
        read_dataset(folder)


def test_other_molecules_need_no_list_of_uncharacterised_ones(stand_in: Dataset) -> None:
    assert len(stand_in) == 2000 and set(stand_in.columns) == {"mu", "homo", "lumo", "gap"}
    gap = stand_in.values("lumo") - stand_in.values("homo")
    assert np.abs(gap - stand_in.values("gap")).max() < 1e-4
    assert {z for m in stand_in.molecules for z in m.numbers.tolist()} == {1, 6, 7, 8, 9}
    assert {k for m in stand_in.molecules for k in m.orders.tolist()} == {1, 2, 3}


def test_xyz_files_and_their_archive_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "xyz"
    folder.mkdir()
    (folder / "dsgdb9nsd_000006.xyz").write_text(XYZ.replace("gdb 5", "gdb 6"))
    (folder / "dsgdb9nsd_000005.xyz").write_text(XYZ)
    with tarfile.open(tmp_path / "dsgdb9nsd.xyz.tar.bz2", "w:bz2") as archive:
        for file in sorted(folder.iterdir(), reverse=True):
            archive.add(file, file.name)
    (tmp_path / "uncharacterized.txt").write_text(UNCHARACTERISED)
    (folder / "uncharacterized.txt").write_text(UNCHARACTERISED)
    for path in (folder, tmp_path / "dsgdb9nsd.xyz.tar.bz2", tmp_path):
        dataset = read_dataset(path, keep_uncharacterised=True)
        assert names(dataset) == ["gdb_5", "gdb_6"] and names(read_dataset(path)) == ["gdb_6"]
        cyanide = dataset.molecules[0]
        assert cyanide.numbers.tolist() == [6, 7, 1] and cyanide.bonds is None
        assert cyanide.positions[1].tolist() == [0.0023107217, -0.0191585871, 0.0019287]
        for target, value in (("mu", 2.8937), ("alpha", 12.99), ("r2", 48.7476), ("cv", 6.278)):
            assert dataset.values(target).tolist() == [value, value]
        energies = {"homo": -0.3604, "gap": 0.3796, "zpve": 0.016601, "g": -93.431246}
        for target, value in energies.items():
            assert dataset.values(target)[0] == pytest.approx(value * 27.211386, rel=1e-6)


def test_compressed_is_the_same(folder: Path, tmp_path: Path) -> None:
    plain = read_dataset(folder)
    for name in ("gdb9.sdf", "gdb9.sdf.csv"):
        with gzip.open(folder / f"{name}.gz", "wt") as file:
            file.write((folder / name).read_text())
        (folder / name).unlink()
    packed = read_dataset(folder / "gdb9.sdf.gz")
    assert names(packed) == names(plain)
    assert packed.values("mu").tolist() == plain.values("mu").tolist()


@pytest.mark.parametrize("name", ["gdb9.sdf.gz", "dsgdb9nsd.xyz.tar.gz"])
def test_a_truncated_archive_raises(folder: Path, name: str) -> None:
    whole = gzip.compress(SDF.encode() * 100)
    (folder / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot be unpacked; is it whole\?"):
        read_dataset(folder / name)


@pytest.mark.parametrize("n", [130_831, 2000, 26])
def test_split(n: int) -> None:
    train, valid, test = split(n, seed=3)
    sizes = {130_831: (110_000, 10_000, 10_831), 2000: (1692, 153, 155), 26: (22, 2, 2)}
    assert (len(train), len(valid), len(test)) == sizes[n]
    assert np.array_equal(np.sort(np.concatenate([train, valid, test])), np.arange(n))
    again, other = split(n, seed=3), split(n, seed=4)
    assert np.array_equal(again[0], train) and not np.array_equal(other[0], train)
    assert [len(part) for part in split(n, 0, n_train=10, n_valid=6)] == [10, 6, n - 16]


def test_a_split_without_test_molecules_raises() -> None:
    with pytest.raises(ValueError, match="100 molecules cannot be split into 90 for training, 10"):
        split(100, 0, n_train=90, n_valid=10)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("V2000", "V3000", r"line 4: got .*V3000'; expected a molecule in the format V2000"),
        ("  5  4  0  0", "  x  4  0  0", "line 4: .*expected the numbers of atoms and bonds"),
        ("0.0080 C ", "0.0080 Qq", "line 5: .*expected an atom: x, y, z and the symbol"),
        ("    1.0858", "    1.o858", "line 5: .*expected an atom"),
        ("  1  5  1  0", "  1  6  1  0", "line 13: .*two atoms of 1 to 5 and a bond type of 1 to"),
        ("  1  5  1  0", "  1  5  8  0", "line 13: .*two atoms of 1 to 5 and a bond type of 1 to"),
        ("  1  5  1  0", "  1  1  1  0", "line 13: .*two atoms of 1 to 5 and a bond type of 1 to"),
        ("  1  5  1  0  0  0  0\n", "", "line 13: got 'M  END'; expected a bond"),
        (FORMALDEHYDE[FORMALDEHYDE.index("  1  3") :], "", "line 36: got the end of the molecule"),
        (SDF, "\n", "holds no molecules; expected an SDF file"),
    ],
)
def test_malformed_sdf_raises(folder: Path, old: str, new: str, words: str) -> None:
    assert old in SDF
    (folder / "gdb9.sdf").write_text(SDF.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("gdb_5,", "gdb_4,", "line 3: got 'gdb_4,.*expected 9 columns for the molecule 'gdb_5'"),
        (",-40.47893", "", "line 2: got .*expected 9 columns for the molecule 'gdb_1'"),
        ("-0.267", "?", r"line 4: got '\?', expected a finite number"),
        ("-0.267", "nan", "line 4: got 'nan', expected a finite number"),
        (CSV[CSV.index("gdb_6") :], "", "has 2 rows for 3 molecules; expected one each"),
        ("mol_id", "id", "has no column mol_id; expected a table like gdb9.sdf.csv"),
    ],
)
def test_a_table_of_other_molecules_raises(folder: Path, old: str, new: str, words: str) -> None:
    assert old in CSV
    (folder / "gdb9.sdf.csv").write_text(CSV.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        read_dataset(folder)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("3\n", "three\n", "begins with 'three gdb 5.*expected the number of atoms, and"),
        ("\t6.278", "", "an index and 15 properties"),
        ("3\n", "9\n", "does not have 9 atoms; expected a symbol and x, y, z for each"),
        ("1.9287*^-3", "1.9287^-3", r"line 4: got '1.9287\^-3', expected a finite number"),
        (XYZ, "", "begins with ''; expected the number of atoms"),
    ],
)
def test_malformed_xyz_raises(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in XYZ
    (tmp_path / "dsgdb9nsd_000005.xyz").write_text(XYZ.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        read_dataset(tmp_path)


def test_missing_files_raise(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no file or folder .*QM9 is published at https"):
        read_dataset(tmp_path / "qm9")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no .sdf, .xyz or tar file"):
        read_dataset(empty)
    (folder / "other.sdf").write_text(SDF)
    with pytest.raises(ValueError, match=r"holds gdb9.sdf, other.sdf; name the one that is meant"):
        read_dataset(folder)
    with pytest.raises(FileNotFoundError, match=r"there is no file .*other.sdf.csv"):
        read_dataset(folder / "other.sdf")
    with tarfile.open(empty / "none.tar", "w"):
        pass
    with pytest.raises(ValueError, match=r"holds no .xyz files"):
        read_dataset(empty)
