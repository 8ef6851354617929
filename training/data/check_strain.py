"""Checks energies of strained crystals against the work of stresses and of forces together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from typing import NamedTuple

import numpy as np
from ase.units import GPa

from .check_work import ENERGIES, FIT, LARGEST_MOVE, RIGHT, explain_ratio, explain_work
from .structures import Structure, Structures

STRESSES = {"GPa": GPa, "kbar": GPa / 10}  # eV/Å^3
MOST_STRESS = 10.0  # eV/Å^3, or 1602 GPa
STRAINS = (1e-3, 0.05)  # largest component: between these the rule is good
NO_MOVE = 0.003  # Å, root mean square over the atoms: no forces are needed
MOST_CRYSTALS = 200  # of the same atoms, compared with each other
MOST_STRAINED_PAIRS = 2000
FEWEST_PAIRS = 10
LARGEST_ERROR = 0.25  # of a factor that counts, relative: one standard deviation
CLEAR = 2.5  # a factor of the work of the forces nearer to 1 may be that of large moves
LEAST_CHANGE = 1e-3  # eV; smaller ones may be rounding
SMOOTH = 0.03  # Å; moves much smaller than this are equally good
SHEARS = ("yz", "xz", "xy")
ORDERS = tuple(permutations(range(3)))  # of the shear components, the right one first


class StrainedPairs(NamedTuple):
    """Pairs of crystals that differ by a small strain, weighted by how exact the rule is."""

    by_stress: np.ndarray  # [6, P] work of the stress, for each of ORDERS
    by_forces: np.ndarray  # [P] work against the forces, of steps that are no strain
    change: np.ndarray  # [P] of the energy
    volumes: np.ndarray  # [P] Å^3
    atoms: np.ndarray  # [P] numbers of atoms
    freedom: np.ndarray  # [1] independent pairs


class Fit(NamedTuple):
    """Factors before the work of the stress and that against the forces, and their errors."""

    factors: np.ndarray  # [2]
    errors: np.ndarray  # [2], infinite if there is no such work
    residual: float

    def measured(self, which: int) -> float | None:
        """The factor; None if it is uncertain."""
        factor, error = float(self.factors[which]), float(self.errors[which])
        return factor if error < LARGEST_ERROR * abs(factor) else None


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

    For small strains the energy changes by the sum of the two. The factors before both that fit the
    changes best tell the signs and the units. Returns these in words; None for factors of 1 and for
    uncertain ones.
    """
    found = [*_strained_pairs(structures.having("energy", "stress"))]
    if sum(pairs.change.size for pairs in found) < FEWEST_PAIRS:
        return None
    pairs = StrainedPairs(*(np.concatenate(each, axis=-1) for each in zip(*found, strict=True)))
    fits = [_fit(pairs, work) for work in pairs.by_stress]
    order = int(np.argmin([fit.residual for fit in fits]))
    if 4 * fits[order].residual > fits[0].residual:
        order = 0  # others do not fit clearly better
    by_stress, by_forces = (fits[order].measured(which) for which in range(2))
    if by_forces is not None and not 1 / CLEAR < by_forces < CLEAR:
        return explain_work(by_forces, pairs.atoms)
    if not pairs.by_stress.any():
        least = max(
            0.5 * np.square(pairs.change).sum(), len(pairs.change) * (LEAST_CHANGE / SMOOTH**3) ** 2
        )
        what = "all stresses are zero, though energies change with the cell"
        return what if fits[0].residual > least else None
    if by_stress is None:
        return None
    error = float(fits[order].errors[0]) / abs(by_stress)
    reasons = [_wrong_unit(by_stress, max(FIT, 2.5 * error), pairs.volumes)]
    expected = "eV/Å^3 (1 eV/Å^3 = 160.218 GPa)"
    if order:
        shears = ", ".join(SHEARS[k] for k in np.argsort(ORDERS[order]))
        reasons.append(f"its components are in the order xx, yy, zz, {shears}")
        expected += ", xx, yy, zz, yz, xz, xy"
    if not any(reasons):
        return None
    return (
        f"energies change by {fits[0].factors[0]:.3g} times the work of the stress, so "
        f"{' and '.join(filter(None, reasons))}; expected {expected}"
    )


def _wrong_unit(ratio: float, fit: float, volumes: np.ndarray) -> str:
    """The units, as near as `fit`, and the sign that a ratio of energy to the work of the stress
    tells, in words."""
    if 1 / RIGHT < ratio < RIGHT:
        return ""
    sign = "its sign is wrong (tension is positive)" if ratio < 0 else ""
    units = {f"it is in {unit}": factor for unit, factor in STRESSES.items()}
    units["it is a virial, not divided by the volume"] = float(1 / np.median(volumes))
    units |= {f"energies are in {unit}": 1 / size for unit, size in ENERGIES.items() if size != 1}
    fits = explain_ratio(ratio, units, fit)
    if not (fits or 1 / RIGHT < -ratio < RIGHT):
        return ""
    return " and ".join(filter(None, (" or ".join(fits), sign)))


def _fit(pairs: StrainedPairs, by_stress: np.ndarray) -> Fit:
    """Least squares; errors are those of as many independent pairs as there are."""
    design = np.stack([by_stress, pairs.by_forces], axis=1)
    sizes = np.linalg.norm(design, axis=0)
    used = sizes > 1e-9 * np.linalg.norm(pairs.change)
    normed = design / np.where(used, sizes, np.inf)
    inverse = np.linalg.pinv(normed.T @ normed)
    factors = inverse @ (normed.T @ pairs.change)
    residual = float(np.square(pairs.change - normed @ factors).sum())
    freedom = max(float(pairs.freedom.sum()) - 2, 1.0)
    errors = np.where(used, np.sqrt(np.diag(inverse) * residual / freedom), np.inf)
    scale = np.where(used, sizes, 1.0)
    return Fit(factors / scale, errors / scale, residual)


def _strained_pairs(structures: Structures) -> Iterator[StrainedPairs]:
    """Of crystals of the same atoms; those whose forces are not all known only if no atom moves.

    The trapezoidal rule misses how much softer the crystal becomes when it expands, a change of the
    energy by the volume strain times the square of the moves: its share is taken out of all others
    where there are enough pairs (the theorem of Frisch, Waugh and Lovell).
    """
    periodic = structures.select(p for p, each in enumerate(structures.atoms) if each.pbc.all())
    for same_atoms in periodic.groups(lambda each: (each.numbers.tobytes(), _known(each))):
        crystals = same_atoms.select(range(min(len(same_atoms), MOST_CRYSTALS)))
        cells = np.array([atoms.cell.array for atoms in crystals.atoms])
        scaled = np.array([atoms.get_scaled_positions(wrap=False) for atoms in crystals.atoms])
        i, j, deformation = _chosen_pairs(cells, scaled, _known(crystals[0]))
        if not len(i):
            continue
        one = np.eye(3)
        strain = 2 * (deformation - one) @ np.linalg.inv(deformation + one)
        volumes = abs(np.linalg.det(cells))
        virials = volumes[:, None, None] * np.array(crystals.values("stress"))
        energies = np.array(crystals.values("energy"))
        by_stress = _work_of_stress(0.5 * (virials[i] + virials[j]), strain)
        steps = _steps(scaled, i, j) @ (0.5 * (cells[i] + cells[j]))
        forces = np.nan_to_num(crystals.values("forces"))  # where they are unknown, atoms stay
        by_forces = -0.5 * np.einsum("pna,pna->p", forces[i] + forces[j], steps)
        squares = np.square(steps).sum((1, 2))
        softening = np.trace(strain, axis1=1, axis2=2) * squares
        rows = np.vstack([by_stress, by_forces, energies[j] - energies[i], softening])
        rows /= (squares / len(crystals[0].atoms)) ** 1.5 + SMOOTH**3
        freedom = len(np.union1d(i, j)) - 1
        if softening.any() and len(i) >= FEWEST_PAIRS:
            rows -= np.outer(rows @ rows[-1], rows[-1]) / (rows[-1] @ rows[-1])
            freedom -= 1
        atoms = np.full(len(i), len(crystals[0].atoms))
        mean = 0.5 * (volumes[i] + volumes[j])
        yield StrainedPairs(rows[:6], rows[6], rows[7], mean, atoms, np.array([freedom]))


def _known(structure: Structure) -> bool:
    """Whether a structure has forces, on all atoms."""
    return bool(np.isfinite(structure.value("forces")).all())


def _work_of_stress(virials: np.ndarray, strain: np.ndarray) -> np.ndarray:
    """[6, P] virial : strain, with the shear components of the virial in each of ORDERS."""
    strain = 0.5 * (strain + strain.transpose(0, 2, 1))
    same, rows, columns = [0, 1, 2], [1, 0, 0], [2, 2, 1]
    normal = (virials[:, same, same] * strain[:, same, same]).sum(1)
    shear, angles = virials[:, rows, columns], 2 * strain[:, rows, columns]
    return np.stack([normal + (shear[:, order] * angles).sum(1) for order in ORDERS])


def _steps(scaled: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """From crystals i to the nearest images in j, in units of the cell, without a shift of all."""
    steps = scaled[j] - scaled[i]
    steps -= np.rint(steps)
    return steps - steps.mean(axis=1, keepdims=True)


def _chosen_pairs(
    cells: np.ndarray, scaled: np.ndarray, have_forces: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs (i, j) with small strains and moves, those where the rule is best, and C_i^-1 C_j."""
    i, j = np.triu_indices(len(cells), 1)
    deformation = np.linalg.solve(cells[i], cells[j])  # C_j = C_i A, vectors are rows
    strains = abs(deformation - np.eye(3)).max(axis=(1, 2), initial=0.0)
    from_first = _steps(scaled, np.zeros(len(cells), dtype=int), np.arange(len(cells)))
    flat = (from_first @ cells.mean(axis=0)).reshape(len(cells), -1)
    square = np.square(flat).sum(1)
    products = flat @ flat.T
    moves = square[i] + square[j] - 2 * products[i, j]
    moves = np.sqrt(np.maximum(moves, 0) / scaled.shape[1])
    near = moves < (LARGEST_MOVE if have_forces else NO_MOVE)
    chosen = np.flatnonzero(near & (strains > STRAINS[0]) & (strains < STRAINS[1]))
    quality = strains[chosen] / (moves[chosen] ** 3 + SMOOTH**3)
    chosen = chosen[np.argsort(-quality, kind="stable")[:MOST_STRAINED_PAIRS]]
    return i[chosen], j[chosen], deformation[chosen]
