"""Checks energies against the work of forces and stresses: which units explain a disagreement?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import product

import ase
import numpy as np
from ase.geometry import find_mic
from ase.units import Bohr, GPa, Hartree, Rydberg, kcal, kJ, mol, nm

from .structures import Structures

ENERGIES = {
    "eV": 1.0,
    "Hartree": Hartree,
    "Rydberg": Rydberg,
    "kcal/mol": kcal / mol,
    "kJ/mol": kJ / mol,
}
LENGTHS = {"Å": 1.0, "Bohr": Bohr, "nm": nm}
STRESSES = {"GPa": GPa, "kbar": GPa / 10}  # eV/Å^3

RIGHT = 1.5  # a ratio of energy to work nearer to 1 than this factor is right
FIT = 0.15  # largest deviation of the logarithm of a ratio from that of a unit that explains it
MOST_STRUCTURES = 2000  # compared with each other, of all systems together
MOST_OF_SYSTEM = 400
MOST_NUMBERS = 2_000_000  # coordinates of the structures of one system
MOST_PAIRS = 100
STILL = 1e-6  # Å
LARGEST_MOVE = 0.3  # Å, root mean square over the atoms

MOST_STRESS = 10.0  # eV/Å^3, or 1602 GPa
MOST_CRYSTALS = 200  # of the same atoms, compared with each other
MOST_STRAINED_PAIRS = 2000
STRAINS = (1e-3, 0.05)  # largest component: between these the rule is good


def wrong_work(structures: Structures) -> str | None:
    """Compares changes of the energy with the work against the forces, -(F1 + F2) (x2 - x1) / 2.

    The rule is exact in a harmonic basin, so that for structures that lie close together the ratio
    is 1, or that of the units. Returns what fits, in words; None unless both are proportional.
    """
    pairs = np.hstack([np.empty((4, 0)), *_close_pairs(structures.having("energy", "forces"))])
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


def _close_pairs(structures: Structures) -> Iterator[np.ndarray]:
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
    return _explain(ratio, factors)[:2] or _explain(ratio, doubles)[:2]


def wrong_stress(structures: Structures) -> str | None:
    """Describes stresses that no material bears, with the units that explain them."""
    stresses = structures.having("stress").values("stress")
    size = float(np.sqrt(np.mean(np.square(stresses)))) if stresses else 0.0
    if size < MOST_STRESS:
        return None
    return (
        f"stress is {size:.3g} (root mean square), so it seems to be in GPa or kbar, or a virial "
        "in eV; expected eV/Å^3 (1 eV/Å^3 = 160.218 GPa)"
    )


def wrong_strain_work(structures: Structures) -> str | None:
    """Compares changes of the energy with the work of the stress and against the forces.

    For small strains the energy changes by the sum of the two, so the factor before the work of
    the stress that fits the changes best tells its sign and its unit. Returns these in words; None
    unless the fit is good and most of the change is not that of the forces.
    """
    pairs = np.hstack([np.empty((4, 0)), *_strained_pairs(structures.having("energy", "stress"))])
    work, by_forces, change, volumes = pairs
    if len(change) < 10:
        return None
    if np.linalg.norm(by_forces) > 0.5 * np.linalg.norm(change):
        return None  # atoms have moved so much that the rule for them decides
    change = change - by_forces
    ratio = float(work @ change / max(work @ work, np.finfo(float).tiny))
    residual = np.linalg.norm(change - ratio * work)
    if not ratio or residual > 0.25 * np.linalg.norm(change) or 1 / RIGHT < ratio < RIGHT:
        return None
    sign = "its sign is wrong (tension is positive)" if ratio < 0 else ""
    units = {f"it is in {unit}": factor for unit, factor in STRESSES.items()}
    units["it is a virial, not divided by the volume"] = float(1 / np.median(volumes))
    fits = _explain(ratio, units)
    if not (fits or 1 / RIGHT < -ratio < RIGHT):
        return None
    words = " and ".join(filter(None, (" or ".join(fits), sign)))
    return (
        f"energies change by {ratio:.3g} times the work of the stress, so {words}; "
        "expected eV/Å^3 (1 eV/Å^3 = 160.218 GPa)"
    )


def _strained_pairs(structures: Structures) -> Iterator[np.ndarray]:
    """Of pairs of crystals that differ by a small strain, [4, P]: work of the stress, V sigma :
    epsilon, by the trapezoidal rule; that against the forces, -F . (r2 - r1 strained); changes of
    the energy; volumes (Å^3)."""
    crystalline = [p for p, atoms in enumerate(structures.atoms) if atoms.pbc.all()]
    for same_atoms in structures.select(crystalline).groups(
        lambda each: each.atoms.numbers.tobytes()
    ):
        crystals = same_atoms.select(range(min(len(same_atoms), MOST_CRYSTALS)))
        if len(crystals) < 2:
            continue
        cells = np.array([atoms.cell.array for atoms in crystals.atoms])
        i, j = np.triu_indices(len(crystals), 1)
        deformation = np.linalg.solve(cells[i], cells[j])  # C_j = C_i A, vectors are rows
        one = np.eye(3)
        sizes = abs(deformation - one).max(axis=(1, 2), initial=0.0)
        order = np.argsort(sizes)
        chosen = order[(sizes[order] > STRAINS[0]) & (sizes[order] < STRAINS[1])][
            :MOST_STRAINED_PAIRS
        ]
        i, j, deformation = i[chosen], j[chosen], deformation[chosen]
        strain = 2 * (deformation - one) @ np.linalg.inv(deformation + one)
        volumes = abs(np.linalg.det(cells))
        virials = volumes[:, None, None] * np.array(crystals.values("stress"))
        energies = np.array(crystals.values("energy"))
        by_stress = 0.5 * np.einsum("pab,pab->p", virials[i] + virials[j], strain)
        by_forces = _work_against_forces(crystals, cells, i, j)
        mean_volumes = 0.5 * (volumes[i] + volumes[j])
        yield np.stack([by_stress, by_forces, energies[j] - energies[i], mean_volumes])


def _work_against_forces(
    crystals: Structures, cells: np.ndarray, i: np.ndarray, j: np.ndarray
) -> np.ndarray:
    """[P] from crystals i to j, of steps that are no strain; zero unless all forces are known."""
    if np.isnan(np.concatenate(crystals.values("forces"))).any():
        return np.zeros(len(i))
    scaled = np.array([atoms.get_scaled_positions(wrap=False) for atoms in crystals.atoms])
    steps = scaled[j] - scaled[i]
    steps -= np.rint(steps)  # to the nearest image
    steps -= steps.mean(axis=1, keepdims=True)
    forces = np.array(crystals.values("forces"))
    moved = steps @ (0.5 * (cells[i] + cells[j]))
    return -0.5 * np.einsum("pna,pna->p", forces[i] + forces[j], moved)


def _explain(ratio: float, factors: Mapping[str, float]) -> list[str]:
    """The texts whose factor is about the size of a ratio, the nearest first."""
    off = {text: abs(math.log(abs(ratio) / factor)) for text, factor in factors.items()}
    return sorted((text for text in off if off[text] < FIT), key=off.__getitem__)
