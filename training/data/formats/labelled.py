"""Structures with labels, as readers of files make them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.units import GPa

KBAR = 0.1 * GPa  # eV/Å^3


def with_results(
    atoms: ase.Atoms,
    energy: float | None = None,
    forces: np.ndarray | None = None,
    stress: np.ndarray | None = None,
) -> ase.Atoms:
    """The structure with results of a calculation, as readers of ASE give them.

    Args:
        energy: eV.
        forces: [N, 3] eV/Å.
        stress: [3, 3] eV/Å^3.
    """
    results: dict[str, Any] = {"energy": energy, "forces": forces, "stress": stress}
    results = {name: value for name, value in results.items() if value is not None}
    if "stress" in results:
        results["stress"] = results["stress"].ravel()[[0, 4, 8, 5, 2, 1]]
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def numbers_of(value: Any, shape: Sequence[int], what: str) -> np.ndarray:
    """An array of numbers of a shape, float64.

    Raises:
        ValueError: naming `what`, for anything else.
    """
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:  # words, lists of unequal lengths
        raise ValueError(f"{what} is not made of numbers; expected shape {tuple(shape)}") from error
    if array.shape != tuple(shape):
        raise ValueError(f"{what} has shape {array.shape}; expected {tuple(shape)}")
    return array
