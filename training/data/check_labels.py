"""Data that cannot be what they are said to be, told from the data alone.

Every check stays silent unless the evidence is clear: what it refuses would waste a training run.
"""

from __future__ import annotations

from collections.abc import Mapping

import ase
import numpy as np
from ase.data import atomic_numbers, covalent_radii
from ase.units import Hartree

from sikff.forcefield import ForceFieldConfig
from sikff.graph import find_edges
from sikff.graph.conditions import FIELDS

from .baselines import atomic_energies, compositions
from .check_stress import wrong_strain_work
from .check_units import ENERGIES, LENGTHS, wrong_work
from .structures import Frames, Labels, elements_of, structure_key, systems

LOOKED_AT = 50  # frames whose distances are measured
FURTHEST = 8.0  # Å
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}  # they keep further apart than bonds are long
NO_RADIUS = covalent_radii[0]  # ASE's stand-in where there is no radius
MOST_BINDING = 20.0  # eV per atom
MOST_STRESS = 10.0  # eV/Å^3, or 1602 GPa


def check_labels(frames: Frames, labels: Labels) -> None:
    """Refuses labels that nobody computed.

    Raises:
        ValueError: if most structures have one energy although they differ, or all forces are zero
            although the energy changes with the positions.
    """
    energies = np.array(labels["energy"])
    values, counts = np.unique(energies, return_counts=True)
    most = values[counts.argmax()]
    same = [atoms for atoms, e in zip(frames.atoms, energies, strict=True) if e == most]
    if 2 * len(same) > len(energies) and len({structure_key(atoms) for atoms in same}) > 2:
        raise ValueError(
            f"{frames.source}: {len(same)} of {len(energies)} energies are {most:g} eV, though "
            "structures differ; expected the energy of each (is data.energy_key the right one, or "
            "was the label carried along from another structure?)"
        )
    if "forces" in labels and not any(each.any() for each in labels["forces"]):
        moved = [places for places in systems(frames) if np.ptp(energies[places]) > 1e-6]
        if moved:
            raise ValueError(
                f"{frames.source}: all forces are zero, though the energy changes with the "
                "positions; give the forces, or train on energies alone (loss.forces: 0)"
            )


def check_fields(frames: Frames, model: ForceFieldConfig) -> None:
    """Refuses labelled structures of which nobody said in which field the labels were computed.

    Raises:
        ValueError: naming the frames that have no electric field although the model reads it.
    """
    if model.environment.field:
        lacking = [p for p, a in enumerate(frames.atoms) if not a.info.keys() & set(FIELDS)]
        frames.refuse(lacking, "model.environment.field is true but there is no electric_field")


def check_units(frames: Frames, labels: Labels, isolated: Mapping[str, float]) -> None:
    """Refuses data that are clearly not in Å, eV, eV/Å and eV/Å^3.

    Args:
        frames, labels: what to check, without the isolated atoms.
        isolated: energies of free atoms.

    Raises:
        ValueError: naming the units that fit.
    """
    complaints = (
        wrong_lengths(frames),
        wrong_totals(frames, labels, isolated),
        wrong_isolated(frames, labels, isolated),
        wrong_work(frames, labels) if "forces" in labels else None,
        wrong_stress(labels) if "stress" in labels else None,
        wrong_strain_work(frames, labels) if "stress" in labels else None,
    )
    for complaint in complaints:
        if complaint is not None:
            raise ValueError(
                f"{frames.source}: {complaint}; convert the data, or set data.check_units: false "
                "if they are right"
            )


def check_atomic_energies(frames: Frames, labels: Labels, energies: Mapping[str, float]) -> None:
    """Refuses E0s that are not those of the data.

    Raises:
        ValueError: if they are further from the energies than any bonds.
    """
    complaint = wrong_isolated(frames, labels, energies)
    if complaint is not None:
        raise ValueError(
            f"{frames.source}: {complaint}. Give the E0s of these data (model.atomic_energies), or "
            "set data.check_units: false"
        )


def wrong_lengths(frames: Frames) -> str | None:
    """Compares nearest neighbours with bonds: distances over sums of covalent radii.

    In Å the ratio is 0.7 to 1.3 for molecules, metals, salts and semiconductors alike. Noble gases
    and pairs of atoms, which may be taken apart, do not count.
    """
    telling = [p for p, a in enumerate(frames.atoms) if a.pbc.any() or len(a) > 2]
    ratios = np.empty(0)
    for place in telling[:: max(1, len(telling) // LOOKED_AT)]:
        with frames.naming(place):
            ratios = np.append(ratios, nearest_ratios(frames.atoms[place]))
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
    their covalent radii; infinite where there is none."""
    radii = covalent_radii[atoms.numbers]
    ratios = np.full(len(atoms), np.inf)
    cutoff = 1.0
    while np.isfinite(ratios).mean() < 0.9 and cutoff <= FURTHEST:
        edges = find_edges(atoms, cutoff)  # grows, for it would be endless at once in nm
        receiver, sender = edges.pairs
        np.minimum.at(ratios, receiver, edges.lengths / (radii[receiver] + radii[sender]))
        cutoff *= 2
    silent = [s in NOBLE or r == NO_RADIUS for s, r in zip(atoms.symbols, radii, strict=True)]
    return ratios[~np.array(silent)]


def wrong_totals(frames: Frames, labels: Labels, isolated: Mapping[str, float]) -> str | None:
    """Compares energies with those of all electrons, by the Thomas-Fermi-Scott formula.

    It is good to about 1 % from boron on. Pseudopotentials, semi-empirical methods and binding
    energies give other totals, of which some, in eV, come near to Hartree or Rydberg: there the
    energy of each element must fit, unless the elements are so light that this cannot happen.
    """
    elements = elements_of(frames)
    numbers = np.array([atomic_numbers[element] for element in elements])
    counts = compositions(frames, elements)
    estimates = thomas_fermi(numbers)
    heavy = numbers >= 5
    totals = counts @ estimates
    if (counts[:, heavy] @ estimates[heavy] / totals < 0.9).any():
        return None
    ratios = np.array(labels["energy"]) / totals
    known = {e: energy for e, energy in isolated.items() if e in elements}
    for unit, size in ENERGIES.items():
        factor = Hartree / size
        if unit == "eV" or np.quantile(abs(ratios / factor - 1), 0.9) > 0.03:
            continue
        if unit == "Rydberg" or (unit == "Hartree" and numbers.max() > 10):
            fitted, unique = atomic_energies(counts, labels["energy"], elements, known)
            off = np.array(list(fitted.values()))[heavy] / (estimates[heavy] * factor) - 1
            if not unique or numbers.max() > 18 or abs(off).max() > 0.03:
                continue
        return (
            f"energies are those of all electrons in {unit} (within 3 %); expected eV "
            f"(1 {unit} = {size:.6g} eV)"
        )
    return None


def wrong_isolated(frames: Frames, labels: Labels, isolated: Mapping[str, float]) -> str | None:
    """Looks for energies that no bonds give: no solid holds its atoms by more than 9 eV each."""
    elements = elements_of(frames)
    if not set(elements) <= set(isolated):
        return None
    counts = compositions(frames, elements)
    binding = np.array(labels["energy"]) - counts @ np.array([isolated[e] for e in elements])
    middle = float(np.median(binding / counts.sum(1)))
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


def wrong_stress(labels: Labels) -> str | None:
    """Looks for stresses that no matter bears."""
    known = [each for each in labels["stress"] if np.isfinite(each).all()]
    size = float(np.sqrt(np.mean(np.square(known)))) if known else 0.0
    if size < MOST_STRESS:
        return None
    return (
        f"stress is {size:.3g} (root mean square), so it seems to be in GPa or kbar, or a virial "
        "in eV; expected eV/Å^3 (1 eV/Å^3 = 160.218 GPa)"
    )
