"""Checks energies against the work of forces: which units explain a disagreement?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product

import ase
import numpy as np
from ase.geometry import find_mic
from ase.units import Bohr, Hartree, Rydberg, kcal, kJ, mol, nm

from .structures import Structures

ENERGIES = {
    "eV": 1.0,
    "Hartree": Hartree,
    "Rydberg": Rydberg,
    "kcal/mol": kcal / mol,
    "kJ/mol": kJ / mol,
}
LENGTHS = {"Å": 1.0, "Bohr": Bohr, "nm": nm}

RIGHT = 1.5  # a ratio of energy to work nearer to 1 than this factor is right
FIT = 0.15  # largest deviation of the logarithm of a ratio from that of a unit that explains it
MOST_STRUCTURES = 2000  # compared with each other, of all systems together
MOST_OF_SYSTEM = 400
MOST_NUMBERS = 2_000_000  # coordinates of the structures of one system
MOST_PAIRS = 100
STILL = 1e-6  # Å
LARGEST_MOVE = 0.3  # Å, root mean square over the atoms


def wrong_work(structures: Structures) -> str | None:
    """Compares changes of the energy with the work against the forces, -(F1 + F2) (x2 - x1) / 2.

    The rule is exact in a harmonic basin, so that for structures that lie close together the ratio
    is 1, or that of the units. Returns what fits, in words; None unless both are proportional.
    """
    pairs = np.hstack([np.empty((4, 0)), *close_pairs(structures.having("energy", "forces"))])
    moves, work, change, atoms = pairs[:, np.argsort(pairs[0])[:MOST_PAIRS]]
    near = (moves < LARGEST_MOVE) & (work != 0)
    work, change, atoms = work[near], change[near], atoms[near]
    if len(work) < 10 or not change.any():
        return None
    correlation = work @ change / math.sqrt((work @ work) * (change @ change))
    ratio = float(np.median(change / work))
    regression = work @ change / (work @ work)
    if abs(correlation) < 0.9 or not 1 / 1.4 < ratio / regression < 1.4:
        return None  # too far apart, or a few pairs decide
    return explain_work(ratio, atoms)


def explain_work(ratio: float, atoms: np.ndarray) -> str | None:
    """What a ratio of changes of the energy to the work against the forces tells, in words.

    None for a ratio near 1, or one that fits neither units nor a wrong sign. `atoms` are the
    numbers of atoms of the structures.
    """
    if 1 / RIGHT < ratio < RIGHT:
        return None
    fits = _fitting_units(ratio, atoms)
    sign = "forces look like gradients: their sign is wrong" if ratio < 0 else ""
    if 1 / RIGHT < -ratio < RIGHT or not fits:
        return sign or None
    return (
        f"energies change by {ratio:.3g} times the work against the forces"
        f"{', and ' if sign else ''}{sign}, which fits {' or '.join(fits)}; expected eV and eV/Å"
    )


def close_pairs(structures: Structures) -> Iterator[np.ndarray]:
    """Of pairs of structures of each system that lie close together, [4, P]: moves (Å, root mean
    square over the atoms), work against the forces, changes of the energy, numbers of atoms."""
    compared = 0
    for system in structures.groups(lambda structure: structure.system_key):
        first = system[0].atoms
        limit = min(MOST_OF_SYSTEM, MOST_NUMBERS // (3 * len(first)))
        system = system.select(range(min(limit, len(system))))
        if len(system) < 2:
            continue
        if compared > MOST_STRUCTURES:
            return
        compared += len(system)
        positions = np.array([atoms.positions for atoms in system.atoms])
        forces, energies = (np.array(system.values(name)) for name in ("forces", "energy"))
        positions, forces = _superposed(positions, forces, first)
        flat = positions.reshape(len(system), -1)
        square = (flat**2).sum(1)
        distances = square[:, None] + square - 2 * flat @ flat.T  # |a - b|^2 of all pairs
        i, j = np.triu_indices(len(system), 1)
        moves = np.sqrt(np.maximum(distances[i, j], 0) / len(first))
        order = np.argsort(moves)
        order = order[moves[order] > 1e-3][:MOST_PAIRS]
        i, j, moves = i[order], j[order], moves[order]
        step, force = positions[j] - positions[i], forces[j] + forces[i]
        unknown = np.isnan(force)  # these must not have moved: then they did no work
        known = ~(unknown & (abs(step) > STILL)).any(axis=(1, 2))
        work = -0.5 * np.einsum("pna,pna->p", np.where(unknown, 0.0, force), step)
        change, size = energies[j] - energies[i], np.full(len(order), len(first))
        yield np.stack([moves, work, change, size])[:, known]


def _superposed(
    positions: np.ndarray, forces: np.ndarray, first: ase.Atoms
) -> tuple[np.ndarray, np.ndarray]:
    """Moves structures [P, N, 3] of one system as near to the first as the energy allows."""
    held = np.isnan(forces).any()  # forces that are not known, such as those on frozen atoms
    if first.pbc.any():
        steps = (positions - positions[0]).reshape(-1, 3)
        steps = find_mic(steps, first.cell, first.pbc)[0].reshape(positions.shape)
        return steps if held else steps - steps.mean(1, keepdims=True), forces
    if held:
        return positions, forces
    centred = positions - positions.mean(1, keepdims=True)
    sizes = np.linalg.norm(forces, axis=2)
    net = np.linalg.norm(forces.sum(1), axis=1).sum()
    torque = np.linalg.norm(np.cross(centred, forces).sum(1), axis=1).sum()
    arms = np.linalg.norm(centred, axis=2)
    if net > 0.003 * sizes.sum() or torque > 0.003 * (arms * sizes).sum():
        return positions, forces  # an environment acts on them, such as a field
    # rotations onto the first structure by the algorithm of Kabsch
    left, _, right = np.linalg.svd(np.einsum("pna,nb->pab", centred, centred[0]))
    left[:, :, 2] *= np.sign(np.linalg.det(left @ right))[:, None]
    rotations = left @ right
    return centred @ rotations, forces @ rotations


def _fitting_units(ratio: float, atoms: np.ndarray) -> list[str]:
    """The mixtures of units that explain a ratio of energy to work: the simplest, at most two."""
    factors = {f"positions in {unit}": LENGTHS[unit] for unit in ("Bohr", "nm")}
    doubles: dict[str, float] = {}
    for energy, force, length in product(ENERGIES, ENERGIES, LENGTHS):
        text = f"energies in {energy} with forces in {force}/{length}"
        single = energy == "eV" or force + length == "eVÅ"
        factor = ENERGIES[force] / LENGTHS[length] / ENERGIES[energy]
        (factors if single else doubles)[text] = factor
    if np.ptp(atoms) == 0:
        factors["energies per atom"] = 1 / atoms[0]
    return explain_ratio(ratio, factors)[:2] or explain_ratio(ratio, doubles)[:2]


def explain_ratio(ratio: float, factors: Mapping[str, float], fit: float = FIT) -> list[str]:
    """The texts whose factor is about the size of a ratio, the nearest first."""
    off = {text: abs(math.log(abs(ratio) / factor)) for text, factor in factors.items()}
    return sorted((text for text in off if off[text] < fit), key=off.__getitem__)
