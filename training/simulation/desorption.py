"""How fast molecules leave a surface: from free energies along the height, and from dynamics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import ase
import numpy as np
from ase import units
from numpy.typing import ArrayLike
from scipy.spatial.transform import Rotation

from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph
from sikff.graph.conditions import SURFACE, VACUUM
from sikff.surface.lattice import as_lattice

from .rates import Rate, counted_rate, flux_rate

Array = np.ndarray

BATCH = 512  # structures


class HeightProfile(NamedTuple):
    """The free energy of a rigid molecule along its height.

    Attributes:
        heights: of the centre of mass, [k], Å.
        values: [k], eV, from that of the free molecule at the same density.
        errors: of the values, eV, from the spread of the samples.
    """

    heights: Array
    values: Array
    errors: Array


def height_profile(
    energies: Callable[[Array], Array],
    molecule: ase.Atoms,
    heights: ArrayLike,
    temperature: float,
    lattice: ArrayLike | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> HeightProfile:
    """The free energy -kT ln <exp(-E/kT)> over places in the cell and orientations.

    They are drawn at random, the same at all heights. A well that is many kT deep is found by few
    of them: look at the errors.

    Args:
        energies: [n] (eV) of molecules at positions [n, atoms, 3] above the plane z = 0, from that
            of the free molecule; see ``binding_energies``.
        molecule: rigid.
        heights: Å.
        temperature: K.
        lattice: two vectors of the surface, Å; None: it is flat.
        samples: at each height.
    """
    rng, kt = np.random.default_rng(seed), units.kB * temperature
    centred = molecule.positions - molecule.get_center_of_mass()
    turns = Rotation.from_quat(rng.normal(size=(samples, 4)))  # normalised: uniform
    turned = np.stack([turns.apply(position) for position in centred], axis=1)
    cell = np.zeros((2, 3)) if lattice is None else as_lattice(np.asarray(lattice))
    places = rng.random((samples, 2)) @ cell
    values, errors = [], []
    for height in np.asarray(heights, dtype=float):
        found = np.asarray(energies(turned + places[:, None] + [0, 0, height])) / -kt
        weights = np.exp(found - found.max())
        values.append(-kt * (np.log(weights.mean()) + found.max()))
        errors.append(kt * weights.std() / weights.mean() / samples**0.5)
    return HeightProfile(np.asarray(heights, dtype=float), np.array(values), np.array(errors))


def binding_energies(
    model: ForceField, molecule: ase.Atoms, surface: str | None = None
) -> Callable[[Array], Array]:
    """A function of positions [n, atoms, 3] (Å) that returns energies [n] (eV) of molecules above
    the surface of a force field, from those of the same ones in vacuum.

    Positions are from the model's ``plane_origin``, with its axis along z.

    Raises:
        ValueError: a model without a plane, or with another axis.
    """
    if not model.environment.has_plane or abs(model.environment.constants["normal"][2] - 1) > 1e-6:
        raise ValueError(
            "the model sees no surface whose normal is z; expected one with "
            "environment.plane_origin and the axis z"
        )
    origin = np.asarray(model.environment.config.plane_origin)

    def energies_in(positions: Array, name: str | None) -> Array:
        graphs = []
        for each in positions:
            atoms = ase.Atoms(molecule.numbers, each + origin, info={SURFACE: name} if name else {})
            graphs.append(
                AtomicGraph.from_atoms(atoms, model.cutoff, model.elements, surfaces=model.surfaces)
            )
        batch = AtomicGraph.batch_of(graphs)
        return model(batch, forces=False).energy.detach().double().cpu().numpy()

    def energies(positions: Array) -> Array:
        found = []
        for start in range(0, len(positions), BATCH):
            part = positions[start : start + BATCH]
            found.append(energies_in(part, surface) - energies_in(part, VACUUM))
        return np.concatenate(found)

    return energies


def desorption_rate(profile: HeightProfile, mass: float, temperature: float) -> float:
    """The rate (1/ps) of transition-state theory, through the highest of the heights.

    The flux there of molecules in equilibrium below it, an upper bound of what dynamics finds as
    long as few of them are in the gas: take the height where the well ends. (Nothing comes back
    from above, so that about half of the gas below it is missing among molecules that remain.)

    Args:
        profile: from where nothing is to where a molecule counts as gone.
        mass: of the molecule, u.
        temperature: K.

    Raises:
        ValueError: heights that do not rise.
    """
    heights, kt = profile.heights, units.kB * temperature
    if len(heights) < 2 or not (np.diff(heights) > 0).all():
        raise ValueError(f"heights are {heights.tolist()} Å; expected two or more, rising")
    weights = np.exp(-(profile.values - profile.values.min()) / kt)
    return flux_rate(float(weights[-1] / np.trapezoid(weights, heights)), mass, temperature)


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
