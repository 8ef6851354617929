"""QM9 as it is published, or any data in its layout: molecules and their properties.

Two layouts are read. ``gdb9.sdf`` with ``gdb9.sdf.csv`` beside it has bonds; the original
``dsgdb9nsd_000001.xyz``, ..., in a folder or in their tar file, has none. Nothing is downloaded.
"""

from __future__ import annotations

import csv
import gzip
import tarfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .molecule_files import TAR, Molecule, open_text, read_number, read_sdf, read_xyz
from .qm9_targets import TARGETS, find_target

SOURCE = "https://doi.org/10.6084/m9.figshare.c.978904"
UNCHARACTERISED = "uncharacterized.txt"  # as it is spelt there
QM9_NAME = "gdb_"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Molecules with their properties.

    Attributes:
        name: of the file or folder.
        molecules: B of them.
        columns: published numbers [B] by the column of gdb9.sdf.csv, in its units.
    """

    name: str
    molecules: list[Molecule]
    columns: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.molecules)

    def values(self, target: str) -> np.ndarray:
        """A property [B] in the unit of its target.

        Raises:
            ValueError: an unknown target, or one that these data do not have.
        """
        chosen = find_target(target)
        if chosen.column not in self.columns:
            there = [name for name, each in TARGETS.items() if each.column in self.columns]
            raise ValueError(f"{self.name} has no {target}; it has {', '.join(there) or 'nothing'}")
        return self.columns[chosen.column] * chosen.factor

    def select(self, chosen: Sequence[int] | np.ndarray) -> Dataset:
        """Some of them."""
        molecules = [self.molecules[k] for k in chosen]
        return Dataset(self.name, molecules, {n: v[chosen] for n, v in self.columns.items()})


def read_dataset(path: str | Path, *, keep_uncharacterised: bool = False) -> Dataset:
    """Molecules and properties of one of the two layouts.

    Of QM9's molecules, whose names begin with gdb_, those that ``uncharacterized.txt`` in the same
    folder lists are left out.

    Args:
        path: an SDF file, a tar file of XYZ files, or a folder with either, or with XYZ files.
        keep_uncharacterised: keep them, without reading that file.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is malformed.
    """
    file = _find(Path(path))
    try:
        dataset = _read(file)
    except (EOFError, gzip.BadGzipFile, tarfile.ReadError, zlib.error) as error:
        raise ValueError(f"{str(file)!r} cannot be unpacked; is it whole?") from error
    published = any(molecule.name.startswith(QM9_NAME) for molecule in dataset.molecules)
    if keep_uncharacterised or not published:
        return dataset
    folder = file if file.is_dir() else file.parent
    left_out = _read_uncharacterised(folder / UNCHARACTERISED)
    kept = [k for k, molecule in enumerate(dataset.molecules) if molecule.name not in left_out]
    return dataset.select(kept)


def split(
    n: int, seed: int, n_train: int | None = None, n_valid: int | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random indices of n molecules for training, validation and test.

    By default 11/13 are for training and 1/13 for validation, at most 110000 and 10000, as usual
    for the 130831 of QM9.

    Raises:
        ValueError: one of the three would be empty.
    """
    n_train = min(110_000, 11 * n // 13) if n_train is None else n_train
    n_valid = min(10_000, n // 13) if n_valid is None else n_valid
    if min(n_train, n_valid, n - n_train - n_valid) < 1:
        raise ValueError(
            f"{n} molecules cannot be split into {n_train} for training, {n_valid} for validation "
            "and some for the test; each needs 1 at least"
        )
    order = np.random.default_rng(seed).permutation(n)
    train, valid, test = np.split(order, [n_train, n_train + n_valid])
    return train, valid, test


def _read(file: Path) -> Dataset:
    """All molecules of a file, or of a folder of XYZ files."""
    if file.is_dir() or file.name.endswith(TAR):
        return Dataset(file.name, *read_xyz(file))
    molecules = read_sdf(file)
    table = file.with_name(file.name.removesuffix(".gz") + ".csv")
    packed = table.with_name(f"{table.name}.gz")
    if packed.is_file() and not table.is_file():
        table = packed
    return Dataset(file.name, molecules, _read_table(table, molecules))


def _find(path: Path) -> Path:
    """The file to read, or the folder of XYZ files."""
    if not path.exists():
        raise FileNotFoundError(
            f"there is no file or folder {str(path)!r}; QM9 is published at {SOURCE}"
        )
    if not path.is_dir():
        return path
    files = sorted(p for p in path.iterdir() if p.name.endswith((".sdf", ".sdf.gz", *TAR)))
    if len(files) > 1:
        names = ", ".join(p.name for p in files)
        raise ValueError(f"{str(path)!r} holds {names}; name the one that is meant")
    if files:
        return files[0]
    if any(path.glob("*.xyz")):
        return path
    raise FileNotFoundError(
        f"the folder {str(path)!r} holds no .sdf, .xyz or tar file; QM9 is published at {SOURCE}"
    )


def _read_table(path: Path, molecules: list[Molecule]) -> dict[str, np.ndarray]:
    """The columns of targets, a row for each molecule."""
    with open_text(path) as file:
        rows = list(csv.reader(file))
    if not rows or "mol_id" not in rows[0]:
        raise ValueError(f"{str(path)!r} has no column mol_id; expected a table like gdb9.sdf.csv")
    head, rows = rows[0], rows[1:]
    if len(rows) != len(molecules):
        raise ValueError(
            f"{str(path)!r} has {len(rows)} rows for {len(molecules)} molecules; expected one each"
        )
    name_column = head.index("mol_id")
    for number, (row, molecule) in enumerate(zip(rows, molecules, strict=True), start=2):
        if len(row) != len(head) or row[name_column] != molecule.name:
            raise ValueError(
                f"{str(path)!r}, line {number}: got {','.join(row)!r}; expected {len(head)} "
                f"columns for the molecule {molecule.name!r}"
            )
    columns = {target.column for target in TARGETS.values()}
    return {
        name: np.array([read_number(path, k, row[column]) for k, row in enumerate(rows, start=2)])
        for column, name in enumerate(head)
        if name in columns
    }


def _read_uncharacterised(path: Path) -> set[str]:
    """Names of molecules, from lines that begin with their index; "3054 compounds" is the count."""
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {str(path)!r}, which lists the 3054 molecules of QM9 that did not "
            f"keep their bonds; it is published at {SOURCE}, or keep them (--keep-uncharacterised)"
        )
    lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    numbered = [words for words in lines if words and words[0].isdigit()]
    names = {f"{QM9_NAME}{int(words[0])}" for words in numbered if words[1:] != ["compounds"]}
    counts = [int(words[0]) for words in numbered if words[1:] == ["compounds"]]
    if not names or counts not in ([], [len(names)]):
        counted = f"says {counts[0]} compounds and lists" if counts else "lists"
        raise ValueError(
            f"{str(path)!r} {counted} {len(names)} molecules; expected the file of QM9, with 3054"
        )
    return names
