"""Adsorption energies at the sites of a surface: by the model, and by the reference."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import ase
import numpy as np
from ase.constraints import FixedLine
from ase.optimize import BFGS

from sikff.calculators import SIKFFCalculator
from sikff.forcefield import ForceField
from sikff.graph.conditions import VACUUM
from sikff.surface import find_sites
from sikff.surface.layers import describe_place, find_layers

from .bonds import describe_broken
from .placement import random_orientation
from .surface import SurfaceSystem

ORIENTATIONS = 6
FMAX, STEPS = 0.03, 80  # of a relaxation, eV/Å
CONTACT = 1.0  # sum of covalent radii at which relaxations start


class Site(NamedTuple):
    """A molecule relaxed above a site, its lowest atom on the axis of the site.

    Attributes:
        name: what is there; "vacuum" far from the surface.
        atoms: the molecule.
        energy: of the model, eV.
        deviation: of the committee, eV.
    """

    name: str
    atoms: ase.Atoms
    energy: float
    deviation: float


def relax_at_sites(
    system: SurfaceSystem,
    model: ForceField,
    committee: Sequence[ForceField],
    rng: np.random.Generator,
) -> list[Site]:
    """Relaxes the first molecule in vacuum and at every site, from several orientations."""
    found, molecule = system.findings.found, system.molecules[0]
    calculator = SIKFFCalculator(model, device="cpu")
    spread = SIKFFCalculator(committee, device="cpu")
    layers = find_layers(found)
    starts: dict[str, list[ase.Atoms]] = {"vacuum": [molecule.copy()]}
    starts["vacuum"][0].info["surface"] = VACUUM
    for site in find_sites(found.wallpaper):
        point = site.positions[0]
        place = point @ np.array(found.wallpaper.lattice) + found.origin
        name = f"{describe_place(found, layers, point)} ({site.symmetry})"
        starts[name] = [_above(system, place, molecule, rng) for _ in range(ORIENTATIONS)]
    sites = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of structures beyond the data, on the way
        for name, several in starts.items():
            relaxed = [_relaxed(atoms, calculator) for atoms in several]
            energy, atoms = min(relaxed, key=lambda found: found[0])
            deviation = spread.get_deviations(atoms)["energy_std"]
            sites.append(Site(name, atoms, energy, deviation))
    return sites


def compare(sites: Sequence[Site], energies: Sequence[float | None]) -> list[tuple[str, str]]:
    """Adsorption energies for the report, relative to the molecule in vacuum.

    Args:
        sites: of which the first is vacuum.
        energies: of the reference for the same structures, eV; None: there is no label.
    """
    rows = []
    for site, energy in zip(sites[1:], energies[1:], strict=True):
        words = f"{1000 * (site.energy - sites[0].energy):.0f} meV"
        if energy is not None and energies[0] is not None:
            words += f"; the reference has {1000 * (energy - energies[0]):.0f} meV"
        words += f" (committee: {1000 * site.deviation:.0f} meV)"
        broken = describe_broken(site.atoms, sites[0].atoms)
        words += f"; {broken}" if broken else ""
        rows.append((f"adsorption: {site.name}", words))
    return rows


def largest_error(sites: Sequence[Site], energies: Sequence[float | None]) -> float | None:
    """The largest error (eV) of an adsorption energy of :func:`compare`; None without labels."""
    if energies[0] is None:
        return None
    errors = [
        abs((site.energy - sites[0].energy) - (energy - energies[0]))
        for site, energy in zip(sites[1:], energies[1:], strict=True)
        if energy is not None
    ]
    return max(errors, default=None)


def _above(
    system: SurfaceSystem, place: np.ndarray, molecule: ase.Atoms, rng: np.random.Generator
) -> ase.Atoms:
    """A molecule of random orientation whose lowest atom is above a point of the plane."""
    placement = system.placement
    turned = random_orientation(molecule, rng)
    lowest = int((turned.positions @ placement.normal).argmin())
    turned.positions += place - turned.positions[lowest]
    turned = placement.at_height(turned, placement.height_of(turned, CONTACT))
    placed = placement.empty_cell() + ase.Atoms(turned.numbers, positions=turned.positions)
    placed.set_constraint(FixedLine(lowest, placement.normal))
    return placed


def _relaxed(atoms: ase.Atoms, calculator: SIKFFCalculator) -> tuple[float, ase.Atoms]:
    """The energy (eV) of the relaxed structure, and a copy of it without constraints."""
    atoms.calc = calculator
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=STEPS)
    result = atoms.copy()
    result.set_constraint()
    return float(atoms.get_potential_energy()), result
