"""How fast molecules leave a surface: from free energies along the height, and from dynamics."""

from __future__ import annotations

import numpy as np
from ase import units
from numpy.typing import ArrayLike

from .rates import Rate, counted_rate, flux_rate

Array = np.ndarray


def desorption_rate(
    heights: ArrayLike,
    free_energies: ArrayLike,
    mass: float,
    temperature: float,
    vacuum: float | None = None,
) -> float:
    """The rate (1/ps) of transition-state theory: the flux through the highest of the heights.

    That is the flux of molecules in equilibrium below it, an upper bound of what dynamics finds as
    long as few of them are in the gas: take the height where the well ends. (Nothing comes back
    from above, so that about half of the gas below it is missing among molecules that remain.)

    Args:
        heights: rising, from where no molecule is, Å; of a ``MeanForce``, for one.
        free_energies: along them, eV, from any zero; NaN where no molecule is.
        mass: of the molecule, u.
        temperature: K.
        vacuum: the free energy far from the surface, if the highest height is there and the last
            of the free energies has a statistical error.

    Raises:
        ValueError: heights that do not rise, or no free energy at the last one.
    """
    h, f, kt = np.asarray(heights, float), np.array(free_energies, float), units.kB * temperature
    if len(h) < 2 or h.shape != f.shape or not (np.diff(h) > 0).all():
        raise ValueError(
            f"got {len(h)} heights with {len(f)} free energies; expected as many, two or more, at "
            "heights that rise"
        )
    last = f[-1] if vacuum is None else vacuum
    if not np.isfinite(last):
        raise ValueError(
            f"the free energy at {h[-1]:g} Å is {last}; expected a number: give that in vacuum, or "
            "sample more"
        )
    lowest = np.nanmin(f)
    weights = np.nan_to_num(np.exp(-(f - lowest) / kt))
    density = np.exp(-(last - lowest) / kt) / np.trapezoid(weights, h)
    return flux_rate(float(density), mass, temperature)


def escape_rate(heights: Array, interval: float, gone: float) -> Rate:
    """The rate at which molecules in a trajectory first get above a height.

    Args:
        heights: of molecules, [frames, molecules], Å; all start below.
        interval: time between frames, fs.
        gone: Å.

    Raises:
        ValueError: molecules that start above, or one frame.
    """
    above = np.asarray(heights) > gone
    if above[:1].any():
        raise ValueError(
            f"{int(above[0].sum())} of {above.shape[1]} molecules start above {gone:g} Å; expected "
            "all below"
        )
    left = np.logical_or.accumulate(above, axis=0)
    time = float((~left[:-1]).sum() * interval / 1000)
    return counted_rate(int(left[-1].sum()), time)


def desorption_curve(
    rates: ArrayLike, temperatures: ArrayLike, heating: float
) -> tuple[Array, Array]:
    """Thermal desorption of first order: what is left, and how fast it goes, as the surface warms.

        d(theta)/dT = -k(T) theta / heating

    Args:
        rates: k, 1/ps, [n] at the temperatures.
        temperatures: K, [n], rising.
        heating: K/s.

    Returns:
        coverage theta [n], from 1, and the signal -d(theta)/dT [n], 1/K.

    Raises:
        ValueError: temperatures that do not rise, or no heating.
    """
    t = np.asarray(temperatures, dtype=float)
    if not heating > 0 or not (np.diff(t) > 0).all():
        raise ValueError(
            f"heating is {heating:g} K/s from {t[0]:g} to {t[-1]:g} K; expected temperatures that "
            "rise, and heating above 0"
        )
    per_kelvin = np.asarray(rates, dtype=float) * 1e12 / heating
    means = (per_kelvin[1:] + per_kelvin[:-1]) / 2
    coverage = np.exp(-np.concatenate([[0.0], np.cumsum(means * np.diff(t))]))
    return coverage, per_kelvin * coverage
