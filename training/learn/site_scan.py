"""What places do: a map of rigid molecules with the committee's deviations, and the error that a
model without places cannot get below."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase import units

from sikff.forcefield import ForceField
from sikff.graph.conditions import VACUUM

from ..evaluation.place_grid import PlaceGrid
from ..evaluation.predict import predict
from .bonds import count_broken
from .label_log import Label, LabelLog, Request
from .site_energies import Site, compare, largest_error
from .surface import SurfaceSystem

PLACES = 12  # of the map along each lattice vector; a multiple of 6 has all sites
LIFTS = (-0.2, 0.0, 0.2, 0.4, 0.6, 0.8)  # Å, from the height at the site where it was relaxed
SHIFTS = 6  # places along each lattice vector, of the floor
BATCH = 128


def judge_sites(
    system: SurfaceSystem,
    model: ForceField,
    committee: Sequence[ForceField],
    sites: Sequence[Site],
    log: LabelLog,
) -> dict[str, Any]:
    """What is known of places at the end of a run, for its report.

    Args:
        system: the molecules and their slab.
        model: the learned one.
        committee: whose deviations tell where it is uncertain.
        sites: molecules relaxed by the model, the first in vacuum.
        log: labels of the run; some of the sites may have one.

    Returns:
        more: rows of words; site_error: the largest of them, eV; map: of :func:`scan_sites`;
        flat_floor: meV/Å; broken: numbers of structures on the surface with broken bonds, and of
        all there.
    """
    found = [log.find(Request(site.atoms, "site", 0)) for site in sites]
    energies = [None if each is None else each.answer.energy for each in found]
    final = [label for label in log.labelled if label.request.use == "final"]
    last = [each for each in final if each.request.round == final[-1].request.round]
    above = [label.request.atoms for label in log.labelled]
    above = [atoms for atoms in above if atoms.info.get("surface") != VACUUM]
    return {
        "more": compare(sites, energies),
        "site_error": largest_error(sites, energies),
        "map": scan_sites(system, model, committee, sites),
        "flat_floor": flat_floor(system, model, last),
        "broken": count_broken(above, system.molecules),
    }


def scan_sites(
    system: SurfaceSystem,
    model: ForceField,
    committee: Sequence[ForceField],
    sites: Sequence[Site],
) -> dict[str, list[list[float]]]:
    """The lowest energy at each place, over the molecules as relaxed at the sites, their heights
    and their images; molecules stay rigid.

    Args:
        system: the molecule and its slab.
        model: whose energies they are.
        committee: whose deviations they are.
        sites: of which the first is vacuum.

    Returns:
        energies, from that of the molecule in vacuum, and deviations, both [n, n] (eV).
    """
    placement, wallpaper = system.placement, system.findings.found.wallpaper
    grid = PlaceGrid(wallpaper, PLACES)
    points = grid.places @ np.array(wallpaper.lattice) + placement.origin
    trials = []
    for site in sites[1:]:
        for lift in LIFTS:
            lifted = site.atoms.copy()
            lifted.positions += lift * placement.normal
            trials.append([placement.above(lifted, point) for point in points])
    energies = np.array([_energies(model, several) for several in trials])  # [trial, place]
    best = energies.argmin(0)
    at_place = energies[best, np.arange(len(points))]
    lowest = [
        min(np.flatnonzero(grid.first == place), key=lambda p: at_place[p])
        for place in grid.representatives
    ]
    chosen = [trials[best[place]][place] for place in lowest]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structures beyond the data: deviations tell
        spread = [atoms.info["energy_std"] for atoms in predict(committee, chosen, BATCH)]
    adsorbed = at_place[lowest] - sites[0].energy
    maps = {"energies": grid.unfolded(adsorbed), "deviations": grid.unfolded(np.array(spread))}
    return {name: values.tolist() for name, values in maps.items()}


def flat_floor(system: SurfaceSystem, model: ForceField, labels: Sequence[Label]) -> float | None:
    """Mean absolute force error (meV/Å) below which no model of heights and orientations gets.

    Each structure is put at places all over the cell, at the same heights and orientation. The best
    that a model without places can say is the mean of the forces there, weighted by
    exp(-E / kT); the error is their weighted mean absolute deviation from it. Energies and forces
    are those of the learned model.

    Args:
        system: the molecules and their slab.
        model: the learned one.
        labels: of structures of dynamics.

    Returns:
        The floor; None if no structure is above the surface.
    """
    wallpaper = system.findings.found.wallpaper
    shifts = PlaceGrid(wallpaper, SHIFTS).places @ np.array(wallpaper.lattice)
    errors = []
    for label in labels:
        atoms, kelvin = label.request.atoms, label.request.temperature
        if atoms.info.get("surface") == VACUUM or not kelvin:
            continue
        moved = []
        for shift in shifts:
            copy = atoms.copy()
            copy.positions += shift
            moved.append(copy)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of places that no dynamics reach: they weigh nothing
            found = predict(model, moved, BATCH)
        energies = np.array([each.get_potential_energy() for each in found])
        forces = np.array([each.get_forces() for each in found])
        weights = np.exp(-(energies - energies.min()) / (units.kB * kelvin))
        weights /= weights.sum()
        mean = np.tensordot(weights, forces, 1)
        errors.append(weights @ np.abs(forces - mean).mean((1, 2)))
    return 1000 * float(np.mean(errors)) if errors else None


def _energies(model: ForceField, structures: Sequence[ase.Atoms]) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structures beyond the data: the lowest are in them
        return [atoms.get_potential_energy() for atoms in predict(model, structures, BATCH)]
