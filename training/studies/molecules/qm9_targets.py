"""The twelve properties of QM9 that are predicted, and their units."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import Hartree

MEV = 1000  # in an eV


@dataclass(frozen=True)
class Target:
    """A property as it is published, and as it is reported.

    Attributes:
        column: of gdb9.sdf.csv.
        unit: of values and predictions.
        factor: from the published number to that unit.
        error_unit: of errors.
        error_factor: from unit to error_unit.
        extensive: whether features of atoms are summed, not averaged.
        referenced: whether energies of elements are subtracted, see :func:`element_energies`.
    """

    column: str
    unit: str
    factor: float = 1.0
    error_unit: str = ""
    error_factor: float = 1.0
    extensive: bool = True
    referenced: bool = False

    def __post_init__(self) -> None:
        if not self.error_unit:
            object.__setattr__(self, "error_unit", self.unit)


def _energy(column: str, *, extensive: bool = True, referenced: bool = False) -> Target:
    return Target(column, "eV", Hartree, "meV", MEV, extensive, referenced)


TARGETS = {
    "mu": Target("mu", "D", extensive=False),
    "alpha": Target("alpha", "bohr^3"),
    "homo": _energy("homo", extensive=False),
    "lumo": _energy("lumo", extensive=False),
    "gap": _energy("gap", extensive=False),
    "r2": Target("r2", "bohr^2"),
    "zpve": _energy("zpve"),
    "u0": _energy("u0", referenced=True),
    "u": _energy("u298", referenced=True),
    "h": _energy("h298", referenced=True),
    "g": _energy("g298", referenced=True),
    "cv": Target("cv", "cal/(mol K)"),
}


def find_target(name: str) -> Target:
    """The target of that name; ValueError with all names if there is none."""
    if name not in TARGETS:
        raise ValueError(f"unknown target {name!r}; expected one of {', '.join(TARGETS)}")
    return TARGETS[name]


def element_energies(counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Least-squares energy of each element [n_elements] for values [B].

    Thermochemical energies are mostly sums of these; models learn the residuals. An element that
    does not occur has energy zero.

    Args:
        counts: atoms of each element, [B, n_elements].
        values: [B].
    """
    return np.linalg.lstsq(counts.astype(float), values, rcond=None)[0]
