"""The molecules that come with the examples, and a few of them as QM9 is published."""

from pathlib import Path

import pytest
from ase.data import chemical_symbols

from sikff.training.studies.molecules.qm9_dataset import Dataset, read_dataset

STAND_IN = Path(__file__).parents[3] / "examples" / "data" / "molecules.sdf.gz"


@pytest.fixture(scope="session")
def stand_in() -> Dataset:
    """All of them."""
    return read_dataset(STAND_IN)


@pytest.fixture
def sdf_folder(stand_in: Dataset, tmp_path: Path) -> Path:
    """The first of the molecules, as files."""
    blocks, rows = [], ["mol_id,homo,gap"]
    for k, molecule in enumerate(stand_in.molecules[:24]):
        n, m = len(molecule.numbers), len(molecule.bonds)
        lines = [molecule.name, "", "", f"{n:3d}{m:3d}  0  0  0  0  0  0  0  0999 V2000"]
        for number, (x, y, z) in zip(molecule.numbers, molecule.positions, strict=True):
            lines.append(f"{x:10.4f}{y:10.4f}{z:10.4f} {chemical_symbols[number]:3s} 0")
        for (i, j), order in zip(molecule.bonds, molecule.orders, strict=True):
            lines.append(f"{i + 1:3d}{j + 1:3d}{order:3d}")
        blocks.append("\n".join([*lines, "M  END", "$$$$\n"]))
        rows.append(f"{molecule.name},{stand_in.columns['homo'][k]},{stand_in.columns['gap'][k]}")
    (tmp_path / "few.sdf").write_text("".join(blocks))
    (tmp_path / "few.sdf.csv").write_text("\n".join(rows) + "\n")
    return tmp_path
