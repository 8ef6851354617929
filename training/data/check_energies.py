"""Energies against those of all electrons and of isolated atoms: are they in eV?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase.data import atomic_numbers
from ase.units import Hartree

from .baselines import atomic_energies, compositions
from .structures import Structures
from .units import ENERGIES

MOST_BINDING = 20.0  # eV per atom; no solid binds its atoms by more than 9


def wrong_totals(structures: Structures, isolated: Mapping[str, float]) -> str | None:
    """Compares energies with those of all electrons, by the Thomas-Fermi-Scott formula.

    It is good to about 1 % from boron on. Pseudopotentials, semi-empirical methods and binding
    energies give other totals, of which some, in eV, come near to Hartree or Rydberg: then the
    energy of each element must fit, unless the elements are so light that this cannot happen.

    Returns:
        The unit that fits, in words; None if that is eV, or not clear.
    """
    elements = structures.elements
    numbers = np.array([atomic_numbers[element] for element in elements])
    counts = compositions(structures, elements)
    estimates = thomas_fermi(numbers)
    heavy = numbers >= 5
    totals = counts @ estimates
    if (counts[:, heavy] @ estimates[heavy] / totals < 0.9).any():
        return None
    energies = structures.values("energy")
    ratios = np.array(energies) / totals
    known = {e: energy for e, energy in isolated.items() if e in elements}
    for unit, size in ENERGIES.items():
        factor = Hartree / size
        if unit == "eV" or np.quantile(abs(ratios / factor - 1), 0.9) > 0.03:
            continue
        if unit == "Rydberg" or (unit == "Hartree" and numbers.max() > 10):
            fitted, unique = atomic_energies(counts, energies, elements, known)
            off = np.array(list(fitted.values()))[heavy] / (estimates[heavy] * factor) - 1
            if not unique or numbers.max() > 18 or abs(off).max() > 0.03:
                continue
        return (
            f"energies are those of all electrons in {unit} (within 3 %); expected eV "
            f"(1 {unit} = {size:.6g} eV)"
        )
    return None


def wrong_isolated(structures: Structures, isolated: Mapping[str, float]) -> str | None:
    """Compares energies with those of isolated atoms: binding energies, in words if too large."""
    elements = structures.elements
    if not set(elements) <= set(isolated):
        return None
    counts = compositions(structures, elements)
    atomic = counts @ np.array([isolated[element] for element in elements])
    binding = (np.array(structures.values("energy")) - atomic) / counts.sum(1)
    middle = float(np.median(binding))
    if abs(middle) < MOST_BINDING:
        return None
    return (
        f"energies are {middle:.3g} eV per atom from those of isolated atoms (E0s); expected less "
        f"than {MOST_BINDING:g}, with both in eV and from one method"
    )


def thomas_fermi(numbers: np.ndarray) -> np.ndarray:
    """Energies of neutral atoms in Hartree, from their atomic numbers: the expansion
    -0.768745 Z^(7/3) + Z^2 / 2 - 0.269900 Z^(5/3) of Thomas and Fermi, Scott, and Schwinger."""
    z = numbers.astype(np.float64)
    return -0.768745 * z ** (7 / 3) + 0.5 * z**2 - 0.269900 * z ** (5 / 3)
