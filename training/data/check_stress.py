"""Checks energies against stresses: are the two consistent, and if not, what explains it?"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase.units import GPa

from .check_forces import RIGHT, explain
from .structures import Structures

STRESSES = {"GPa": GPa, "kbar": GPa / 10}  # eV/Å^3
MOST_STRESS = 10.0  # eV/Å^3, or 1602 GPa
MOST_STRUCTURES = 200  # of the same atoms, compared with each other
MOST_PAIRS = 2000
STRAINS = (1e-3, 0.05)  # largest component: between these the rule is good


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
    pairs = np.hstack([np.empty((4, 0)), *_strained_pairs(structures.having("stress"))])
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
    fits = explain(ratio, units)
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
    for same_atoms in structures.pick(crystalline).groups(
        lambda each: each.atoms.numbers.tobytes()
    ):
        crystals = same_atoms.pick(range(min(len(same_atoms), MOST_STRUCTURES)))
        if len(crystals) < 2:
            continue
        cells = np.array([atoms.cell.array for atoms in crystals.atoms])
        i, j = np.triu_indices(len(crystals), 1)
        deformation = np.linalg.solve(cells[i], cells[j])  # C_j = C_i A, vectors are rows
        one = np.eye(3)
        sizes = abs(deformation - one).max(axis=(1, 2), initial=0.0)
        order = np.argsort(sizes)
        chosen = order[(sizes[order] > STRAINS[0]) & (sizes[order] < STRAINS[1])][:MOST_PAIRS]
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
    """[P] from crystals i to j, of steps that are no strain; zero unless all have forces."""
    if len(crystals.having("forces")) < len(crystals):
        return np.zeros(len(i))
    scaled = np.array([atoms.get_scaled_positions(wrap=False) for atoms in crystals.atoms])
    steps = scaled[j] - scaled[i]
    steps -= np.rint(steps)  # to the nearest image
    steps -= steps.mean(axis=1, keepdims=True)
    forces = np.array(crystals.values("forces"))
    moved = steps @ (0.5 * (cells[i] + cells[j]))
    return -0.5 * np.einsum("pna,pna->p", forces[i] + forces[j], moved)
