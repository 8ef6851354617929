"""One molecule as it is stored in a file, and what all its readers need."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import NamedTuple, TextIO, cast

import numpy as np


class Molecule(NamedTuple):
    """One molecule as it is stored.

    Attributes:
        name: such as "gdb_1".
        numbers: atomic numbers [n].
        positions: [n, 3] Å.
        bonds: pairs of atoms, counted from 0, each pair once [m, 2]; None: not known.
        orders: 1 single, 2 double, 3 triple, 4 aromatic [m]; None: not known.
    """

    name: str
    numbers: np.ndarray
    positions: np.ndarray
    bonds: np.ndarray | None = None
    orders: np.ndarray | None = None


def open_text(path: Path) -> TextIO:
    """A text file, compressed or not.

    Raises:
        FileNotFoundError: there is none.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, "rt", encoding="utf-8"))
    return path.open(encoding="utf-8")


def read_number(path: Path, line: int, word: str) -> float:
    """A finite number, also one written as 1.2*^-6."""
    try:
        value = float(word.replace("*^", "e"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{str(path)!r}, line {line}: got {word!r}, expected a finite number")
    return value
