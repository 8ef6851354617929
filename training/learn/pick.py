"""Which uncertain structures are worth a label: those far from all that have one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import ase
import numpy as np
from ase.neighborlist import neighbor_list

from .explore import Frame

REACH = 5.0  # Å
CENTRES = np.arange(0.7, REACH, 0.15)  # Å
WIDTH = 0.15  # Å
MOST = 400  # candidates that are compared


def describe(atoms: ase.Atoms, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """A histogram of the distances of each pair of elements, smooth, per atom.

    Atoms of one element may change places, and structures may turn. Atoms nearer to each other
    count more.

    Args:
        atoms: a structure.
        pairs: atomic numbers of the elements, the lower first.
    """
    first, second, lengths = neighbor_list("ijd", atoms, REACH)
    numbers = np.sort(np.stack([atoms.numbers[first], atoms.numbers[second]]), axis=0)
    weights = np.exp(-0.5 * ((lengths[:, None] - CENTRES) / WIDTH) ** 2) / CENTRES
    parts = [weights[(numbers == np.array(pair)[:, None]).all(0)].sum(0) for pair in pairs]
    return np.concatenate(parts) / np.sqrt(len(atoms))


def pick(
    candidates: Sequence[Frame],
    known: Sequence[ase.Atoms],
    count: int,
    whole: Callable[[ase.Atoms], ase.Atoms] = lambda atoms: atoms,
) -> list[Frame]:
    """Picks structures one by one, by the product of their deviation and their distance.

    Args:
        candidates: uncertain structures.
        known: structures with labels.
        count: how many.
        whole: returns a structure with all atoms that tell it from others, such as a slab.
    """
    candidates = sorted(candidates, key=lambda frame: -frame.deviation)[:MOST]
    if not candidates or count < 1:
        return []
    known = [whole(atoms) for atoms in known]
    elements = sorted({int(z) for atoms in known for z in atoms.numbers})
    pairs = [(a, b) for a in elements for b in elements if a <= b]
    places = np.array([describe(whole(frame.atoms), pairs) for frame in candidates])
    others = np.array([describe(atoms, pairs) for atoms in known])
    nearest = np.linalg.norm(places[:, None] - others[None], axis=-1).min(1)
    spread = np.array([frame.deviation for frame in candidates])
    chosen: list[Frame] = []
    for _ in range(min(count, len(candidates))):
        best = int(np.argmax(spread * nearest))
        if not spread[best] * nearest[best] > 0:
            break
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=1))
    return chosen
