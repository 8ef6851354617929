"""Rates of hops along minimum-energy paths, by harmonic transition-state theory."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from ..evaluation.adsorbate import Adsorbate
from ..evaluation.hops import Hop
from ..evaluation.vibrations import harmonic_frequencies
from .rates import harmonic_rate

Array = np.ndarray

SAME = 0.1  # Å, largest displacement of an atom: two structures are one


def hop_rate(adsorbate: Adsorbate, hop: Hop, temperature: float) -> float:
    """The rate (1/ps) at which a molecule leaves a minimum over the saddles equivalent to a hop's.

    Args:
        hop: of ``find_hops``, from that minimum.
        temperature: K.

    Raises:
        ValueError: if the hop's ends are no minima, or its highest structure is no saddle point.
    """
    minimum = harmonic_frequencies(hop.path[0]).wavenumbers
    saddle = hop.vibrations.wavenumbers
    return harmonic_rate(hop.barrier, minimum, saddle, temperature, count_exits(adsorbate, hop))


def count_exits(adsorbate: Adsorbate, hop: Hop) -> int:
    """How many saddle points, equivalent to that of a hop, lead out of its minimum.

    These are its images under operations that map one end of the hop to the first one.
    """
    first, last, saddle = (
        adsorbate.positions(atoms) for atoms in (hop.path[0], hop.path[-1], hop.saddle)
    )
    surface, numbers = adsorbate.surface, adsorbate.free.numbers
    operations = range(len(surface.corrugated.operations))
    found: list[Array] = []
    for operation in operations:
        for end in (first, last):
            image = surface.images(end, operation, np.zeros(2))
            apart = surface.places(adsorbate.anchor(first)) - surface.places(
                adsorbate.anchor(image)
            )
            steps = np.round(apart)
            if not _is_same(numbers, surface.images(end, operation, steps), first):
                continue
            way = surface.images(saddle, operation, steps)
            if not any(_is_same(numbers, way, other) for other in found):
                found.append(way)
    return len(found)


def _is_same(numbers: Array, one: Array, other: Array) -> bool:
    """Whether two sets of positions [n, 3] are one but for which of like atoms is which."""
    apart = np.linalg.norm(one[:, None] - other, axis=-1)
    cost = np.where(numbers[:, None] == numbers, apart, 1e6)
    return bool(cost[linear_sum_assignment(cost)].max() < SAME)
