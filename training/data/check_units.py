"""Checks that data are in Å, eV, eV/Å and eV/Å^3.

Functions called wrong_* describe an error in the data; None without clear evidence of one.
"""

from __future__ import annotations

from collections.abc import Mapping

import ase
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.units import Hartree

from sikff.graph import find_edges

from .check_strain import wrong_strain_work, wrong_stress
from .check_work import ENERGIES, LENGTHS, wrong_work
from .data_statistics import atomic_energies, compositions
from .structures import Structures

MOST_STRUCTURES = 50  # whose distances are measured
FURTHEST = 8.0  # Å
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}  # their neighbours are further than bonds are long
NO_RADIUS = covalent_radii[0]  # ASE's stand-in for an unknown radius
MOST_BINDING = 20.0  # eV per atom; no solid binds its atoms by more than 9


def check_units(structures: Structures, isolated: Mapping[str, float]) -> None:
    """Raises ValueError, with the units that fit, for labelled structures in other units.

    `isolated` are energies of free atoms, which are not among the structures.
    """
    complaints = (
        wrong_lengths(structures),
        wrong_totals(structures, isolated),
        wrong_isolated(structures, isolated),
        wrong_work(structures),
        wrong_stress(structures),
        wrong_strain_work(structures),
    )
    for complaint in filter(None, complaints):
        raise ValueError(
            f"{structures.source}: {complaint}; convert the data, or set "
            "data.check_units: false if they are right"
        )


def check_atomic_energies(structures: Structures, energies: Mapping[str, float]) -> None:
    """Raises ValueError for E0s that differ from the energies by more than any bonds."""
    complaint = wrong_isolated(structures, energies)
    if complaint is not None:
        raise ValueError(
            f"{structures.source}: {complaint}. Give the E0s of these data "
            "(model.atomic_energies), or set data.check_units: false"
        )


def wrong_lengths(structures: Structures) -> str | None:
    """Compares nearest neighbours with bonds: distances over sums of covalent radii.

    In Å the ratio is 0.7 to 1.3 for molecules, metals, salts and semiconductors alike. Noble gases,
    and pairs of atoms, which may be dissociated, are left out.
    """
    indices = [
        p for p, each in enumerate(structures) if len(each.numbers) > 2 or each.atoms.pbc.any()
    ]
    ratios = np.empty(0)
    for index in indices[:: max(1, len(indices) // MOST_STRUCTURES)]:
        with structures.naming(index):
            ratios = np.append(ratios, nearest_ratios(structures[index].atoms))
    if not ratios.size:
        return None
    low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9), method="nearest")
    if low > 1.35 and 1.5 < middle < 2.3 and high < 2.6:
        unit = "Bohr"
    elif low > 0.05 and high < 0.16:
        unit = "nm"
    else:
        return None
    return (
        f"atoms are {middle:.2g} bond lengths from their nearest neighbours, so positions seem to "
        f"be in {unit}; expected Å (1 {unit} = {LENGTHS[unit]:.6g} Å)"
    )


def nearest_ratios(atoms: ase.Atoms) -> np.ndarray:
    """Distance of each atom, noble gases left out, to its nearest neighbour, divided by the sum of
    their covalent radii; infinite without a neighbour."""
    radii = covalent_radii[atoms.numbers]
    ratios = np.full(len(atoms), np.inf)
    cutoff = 1.0
    while np.isfinite(ratios).mean() < 0.9 and cutoff <= FURTHEST:
        edges = find_edges(atoms, cutoff)  # grows: in nm, 8 Å would hold too many neighbours
        receiver, sender = edges.pairs
        np.minimum.at(ratios, receiver, edges.lengths / (radii[receiver] + radii[sender]))
        cutoff *= 2
    ignored = [s in NOBLE or r == NO_RADIUS for s, r in zip(atoms.symbols, radii, strict=True)]
    return ratios[~np.array(ignored)]


def wrong_totals(structures: Structures, isolated: Mapping[str, float]) -> str | None:
    """Compares energies with those of all electrons, by the Thomas-Fermi-Scott formula.

    It is good to about 1 % from boron on. Pseudopotentials, semi-empirical methods and binding
    energies give other totals, of which some, in eV, come near to Hartree or Rydberg: then the
    energy of each element must fit, unless the elements are so light that this cannot happen.
    """
    structures = structures.having("energy")
    if not len(structures):
        return None
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
    """Compares energies with those of isolated atoms; no bonds give as much as MOST_BINDING."""
    structures = structures.having("energy")
    elements = structures.elements
    if not len(structures) or not set(elements) <= set(isolated):
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
