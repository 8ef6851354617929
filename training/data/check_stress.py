"""Energies against stresses: do the two belong together, and if not, what would mend it?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from ase.units import GPa

from .check_units import FIT, RIGHT
from .structures import Frames, Labels

UNITS = {"GPa": GPa, "kbar": GPa / 10}  # eV/Å^3
MOST_FRAMES = 200  # of one kind, compared with each other
MOST_PAIRS = 2000
STRAINS = (1e-3, 0.05)  # largest component: those between which the rule is good


class Strained(NamedTuple):
    """Pairs of crystals of the same atoms, one of which is the other, strained a little."""

    by_stress: np.ndarray  # [P] work of the stress, V sigma : epsilon, by the trapezoidal rule
    by_forces: np.ndarray  # [P] that against the forces, -F . (r2 - r1 strained)
    change: np.ndarray  # [P] of the energy
    volumes: np.ndarray  # [P] Å^3


def wrong_strain_work(frames: Frames, labels: Labels) -> str | None:
    """Compares changes of the energy with the work of the stress and against the forces.

    For small strains the energy changes by the sum of the two, so the factor before the work of
    the stress that fits the changes best tells its sign and its unit. Nothing is said unless the
    fit is good and most of the change is not that of the forces.

    Args:
        frames, labels: structures with energies, stresses (NaN where there is none) and perhaps
            forces.
    """
    parts = list(_strained(frames, labels))
    if not parts:
        return None
    pairs = Strained(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    if len(pairs.change) < 10:
        return None
    if np.linalg.norm(pairs.by_forces) > 0.5 * np.linalg.norm(pairs.change):
        return None  # atoms have moved so much that the rule for them decides
    change, work = pairs.change - pairs.by_forces, pairs.by_stress
    ratio = float(work @ change / max(work @ work, np.finfo(float).tiny))
    left = np.linalg.norm(change - ratio * work)
    if not ratio or left > 0.25 * np.linalg.norm(change) or 1 / RIGHT < ratio < RIGHT:
        return None
    sign = "its sign is wrong (tension is positive)" if ratio < 0 else ""
    units = {f"it is in {unit}": factor for unit, factor in UNITS.items()}
    units["it is a virial, not divided by the volume"] = float(1 / np.median(pairs.volumes))
    off = {text: abs(math.log(abs(ratio) / factor)) for text, factor in units.items()}
    fits = [text for text in sorted(off, key=off.__getitem__) if off[text] < FIT]
    if not (fits or 1 / RIGHT < -ratio < RIGHT):
        return None
    words = " and ".join(filter(None, (" or ".join(fits), sign)))
    return (
        f"energies change by {ratio:.3g} times the work of the stress, so {words}; "
        "expected eV/Å^3 (1 eV/Å^3 = 160.218 GPa)"
    )


def _strained(frames: Frames, labels: Labels) -> Iterator[Strained]:
    kinds: dict[bytes, list[int]] = {}
    for place, atoms in enumerate(frames.atoms):
        if atoms.pbc.all() and np.isfinite(labels["stress"][place]).all():
            kinds.setdefault(atoms.numbers.tobytes(), []).append(place)
    for places in kinds.values():
        places = places[:MOST_FRAMES]
        if len(places) < 2:
            continue
        cells = np.array([frames.atoms[p].cell.array for p in places])
        i, j = np.triu_indices(len(places), 1)
        turned = np.linalg.solve(cells[i], cells[j])  # C_j = C_i A, vectors are rows
        one = np.eye(3)
        sizes = abs(turned - one).max(axis=(1, 2), initial=0.0)
        order = np.argsort(sizes)
        chosen = order[(sizes[order] > STRAINS[0]) & (sizes[order] < STRAINS[1])][:MOST_PAIRS]
        i, j, turned = i[chosen], j[chosen], turned[chosen]
        strain = 2 * (turned - one) @ np.linalg.inv(turned + one)
        stresses = np.array([labels["stress"][p] for p in places])
        volumes = abs(np.linalg.det(cells))
        virials = volumes[:, None, None] * stresses
        energies = np.array([labels["energy"][p] for p in places])
        by_forces = np.zeros(len(chosen))
        if "forces" in labels:
            scaled = np.array([frames.atoms[p].get_scaled_positions(wrap=False) for p in places])
            steps = scaled[j] - scaled[i]
            steps -= np.rint(steps)
            steps -= steps.mean(axis=1, keepdims=True)
            forces = np.array([labels["forces"][p] for p in places])
            moved = steps @ (0.5 * (cells[i] + cells[j]))
            by_forces = -0.5 * np.einsum("pna,pna->p", forces[i] + forces[j], moved)
        yield Strained(
            0.5 * np.einsum("pab,pab->p", virials[i] + virials[j], strain),
            by_forces,
            energies[j] - energies[i],
            0.5 * (volumes[i] + volumes[j]),
        )
