"""Rates of rare events: counted in dynamics, and by classical transition-state theory."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase import units
from numpy.typing import ArrayLike

SPEED_OF_LIGHT = units._c * 1e2 * 1e-12  # cm/ps: from wavenumbers to frequencies


class Rate(NamedTuple):
    """A rate from a number of events.

    Attributes:
        value: events of one molecule, 1/ps.
        error: its standard error if events are independent (Poisson), 1/ps; without any event the
            rate of one.
        events: how many were seen.
        time: during which they could have happened, of all molecules together, ps.
    """

    value: float
    error: float
    events: int
    time: float


def counted_rate(count: int, time: float) -> Rate:
    """The rate of events that were counted in a time (ps) of all molecules together.

    Raises:
        ValueError: no time.
    """
    if not time > 0:
        raise ValueError(f"the time is {time} ps; expected a longer trajectory of some molecules")
    return Rate(count / time, max(count, 1) ** 0.5 / time, count, time)


def harmonic_rate(
    barrier: float, minimum: ArrayLike, saddle: ArrayLike, temperature: float, paths: float = 1
) -> float:
    """The rate (1/ps) of harmonic transition-state theory (Vineyard, 1957).

        k = paths c (product of wavenumbers at the minimum / at the saddle) exp(-barrier / kT)

    Args:
        barrier: energy of the saddle above the minimum, eV.
        minimum: wavenumbers of all modes there, 1/cm.
        saddle: those at the saddle; negative ones are imaginary, of which there is one.
        temperature: K.
        paths: equivalent saddles that lead out of one minimum.

    Raises:
        ValueError: a mode at the minimum that is not bound, or another number of modes or of
            imaginary ones at the saddle.
    """
    stable, crossing = (np.sort(np.asarray(each, dtype=float)) for each in (minimum, saddle))
    if not (stable > 0).all():
        raise ValueError(
            f"the lowest wavenumber at the minimum is {stable[0]:g} 1/cm; expected positive ones: "
            "relax it further, and leave out modes that are free"
        )
    if len(crossing) != len(stable) or (crossing <= 0).sum() != 1:
        raise ValueError(
            f"the saddle has {len(crossing)} modes, {int((crossing <= 0).sum())} of them not "
            f"positive; expected {len(stable)} as at the minimum, one of them imaginary, given as "
            "a negative wavenumber"
        )
    attempts = SPEED_OF_LIGHT * np.exp(np.log(stable).sum() - np.log(crossing[1:]).sum())
    return float(paths * attempts * np.exp(-barrier / (units.kB * temperature)))


def flux_rate(density: float, mass: float, temperature: float) -> float:
    """The rate (1/ps) of transition-state theory through a dividing surface.

    That is the flux of molecules in equilibrium, sqrt(kT / 2 pi m) density, one way: what dynamics
    finds is less, by those that turn back before they have settled.

    Args:
        density: probability that a molecule inside is at the dividing surface, per Å normal to it.
        mass: that moves across it, u.
        temperature: K.
    """
    speed = np.sqrt(units.kB * temperature / (2 * np.pi * mass)) * 1000 * units.fs
    return float(speed * density)
