"""Sizes of memory, and units of files that do not name them, as configurations give them."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict

SIZES = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class NpzUnits(BaseModel):
    """Units of archives of NumPy (.npz); forces are in energy / length.

    Attributes:
        energy, length: those of rMD17 and MD22 by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    energy: Literal["eV", "Hartree", "Rydberg", "kcal/mol", "kJ/mol"] = "kcal/mol"
    length: Literal["Å", "Bohr", "nm"] = "Å"


def bytes_of(size: str) -> float:
    """A size of memory in bytes, of text such as "4 GB".

    Raises:
        ValueError: for other text.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*([a-zA-Z]+)\s*", size)
    units = {unit.lower(): factor for unit, factor in SIZES.items()}
    if match is None or match[2].lower() not in units:
        raise ValueError(f"got {size!r}; expected a number and {', '.join(SIZES)}, such as 4 GB")
    return float(match[1]) * units[match[2].lower()]
