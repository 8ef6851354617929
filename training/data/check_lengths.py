"""Nearest neighbours against bonds: are positions in Å?"""

from __future__ import annotations

import ase
import numpy as np
from ase.data import covalent_radii

from sikff.graph import find_edges

from .structures import Structures
from .units import LENGTHS

MOST_STRUCTURES = 50  # whose distances are measured
FURTHEST = 8.0  # Å
NOBLE = {"He", "Ne", "Ar", "Kr", "Xe", "Rn"}  # their neighbours are further than bonds are long
NO_RADIUS = covalent_radii[0]  # ASE's stand-in for an unknown radius


def wrong_lengths(structures: Structures) -> str | None:
    """Compares nearest neighbours with bonds: distances over sums of covalent radii.

    In Å the ratio is 0.7 to 1.3 for molecules, metals, salts and semiconductors alike. Noble gases
    and pairs of atoms, which may be taken apart, do not count.

    Returns:
        The unit that fits, in words; None if that is Å, or not clear.
    """
    places = [p for p, each in enumerate(structures) if each.atoms.pbc.any() or len(each.atoms) > 2]
    ratios = np.empty(0)
    for place in places[:: max(1, len(places) // MOST_STRUCTURES)]:
        with structures.naming(place):
            ratios = np.append(ratios, nearest_ratios(structures[place].atoms))
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
