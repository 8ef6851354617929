"""Checks that structures on a surface see it, whole, and that its own energy is taken off.

Checks of data raise only on clear evidence, for data that would waste a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
from ase.data import covalent_radii

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import ACROSS, Environment
from sikff.graph import find_edges
from sikff.graph.conditions import VACUUM
from sikff.groups.matrices import unit_vector

from .structures import Structure, Structures

Array = np.ndarray

BOND = 1.25  # times the sum of covalent radii
EMPTY = 5.0  # Å, between atoms at the top and at the bottom of a cell
WARM = 0.15  # eV per atom, of molecules at 1200 K above those at rest
BOUND = 10.0  # eV per atom; no solid binds its atoms by more than 9
UNBOUND_FROM = 5.0  # Å; from here on nothing is bound to a surface chemically
ATTRACTION = 1.0  # eV, the most from there on, without charges
COULOMB = 14.4  # eV Å / e^2; an image charge attracts by a quarter of it
SHARE = 0.1  # of the structures, that count as the highest if none is beyond the range
FEWEST = 3  # structures at a surface that are evidence


def check_surface(structures: Structures, model: ForceFieldConfig) -> None:
    """Checks training structures for a model with a plane; other models need no check.

    Raises:
        ValueError: if no atom is where the plane is seen; if molecules are wrapped through the cell
            along the normal.
    """
    if model.environment.plane_origin is not None:
        check_unwrapped(structures, unit_vector(model.axis))
        check_seen(structures, model)


def heights_above_plane(structure: Structure, environment: Environment) -> Array:
    """Heights [N] (Å) of atoms above the plane, the nearer one in a slit; infinite in vacuum."""
    heights = environment.heights_of(structure.atoms, structure.conditions)
    return np.full(len(structure.atoms), np.inf) if heights is None else heights.min(axis=-1)


def check_seen(structures: Structures, model: ForceFieldConfig) -> None:
    """Raises ValueError for a surface that no atom is above and within its range."""
    config, environment = model.environment, Environment(model)
    by_surface: dict[int, list[Array]] = {}
    for number, structure in enumerate(structures):
        with structures.naming(number):
            index = structure.conditions.surface_index(config.surfaces)
        if index >= 0:
            by_surface.setdefault(index, []).append(heights_above_plane(structure, environment))
    if not by_surface:
        raise ValueError(
            f"{structures.source}: all structures are in vacuum; expected some on the surface of "
            "model.environment.plane_origin, or a model without one"
        )
    for index, found in by_surface.items():
        heights = np.concatenate(found)
        if ((heights >= 0) & (heights < config.plane_range)).any():
            continue
        name = f" {config.surfaces[index]}" if config.surfaces else ""
        below = " If it is that of a slab, choose the other side (slab_side)."
        raise ValueError(
            f"{structures.source}: no atom sees the surface{name}: heights above the plane are "
            f"{heights.min():.3g} to {heights.max():.3g} Å, and it is seen from 0 to "
            f"{config.plane_range:g} Å.{below if heights.max() < 0 else ''} Expected the plane "
            "below the atoms, the lowest of them 1 to 3 Å above it: move "
            "model.environment.plane_origin (or surface_origin of the structures) along model.axis "
            f"{[*model.axis]}, turn the axis, or raise plane_range"
        )


def check_unwrapped(structures: Structures, normal: Array) -> None:
    """Raises ValueError for bonds through the boundary of a cell that is periodic along a normal.

    That direction is open above a surface, where an atom is as high as its position says.
    """
    wrapped = [
        index
        for index, each in enumerate(structures)
        if each.conditions.surface != VACUUM and has_bonds_along(each.atoms, normal)
    ]
    structures.raise_for(
        wrapped,
        "molecules are wrapped through the cell along the normal of the surface",
        ": some atoms are at the top of the cell, others at its bottom, and the height of an atom "
        "is that of its position as it stands. Make the molecules whole above the surface",
    )


def has_bonds_along(atoms: ase.Atoms, normal: Array) -> bool:
    """Whether bonds cross the boundary of a cell along a normal, and its middle is empty."""
    across = atoms.pbc & (abs(atoms.cell.array @ normal) > ACROSS)
    gaps = np.diff(np.sort(atoms.positions @ normal))
    if not across.any() or gaps.max(initial=0.0) < EMPTY:
        return False
    radii = covalent_radii[atoms.numbers]
    edges = find_edges(atoms, 2 * BOND * float(radii.max()))
    receiver, sender = edges.pairs
    bonded = edges.lengths < BOND * (radii[receiver] + radii[sender])
    return bool((bonded & (edges.shifts[:, across] != 0).any(axis=1)).any())


@dataclass(frozen=True)
class Far:
    """Energies of structures of one kind that feel a surface little, or are in vacuum.

    Attributes:
        name: of the surface, or vacuum.
        height: of the lowest atom of all of them, Å.
        allowance: eV, by which the surface may change an energy.
    """

    name: str
    structures: Structures
    height: float
    allowance: float

    @property
    def energies(self) -> Array:
        return np.array([float(each.value("energy")) for each in self.structures])


def check_zero_of_energy(structures: Structures, model: ForceFieldConfig) -> None:
    """The check of :func:`check_zero` for the plane of a model, if it has one."""
    environment = Environment(model)
    if environment.has_plane:
        lowest = [float(heights_above_plane(each, environment).min()) for each in structures]
        check_zero(structures, lowest, environment.range)


def check_zero(
    structures: Structures, heights: Sequence[float], plane_range: float | None = None
) -> None:
    """Checks that energies far from each surface are those of the same atoms in vacuum, or far from
    another surface, as they are if the energy of the bare surface is taken off.

    Args:
        heights: of the lowest atom of each structure above its surface (Å).
        plane_range: height (Å) beyond which energies do not depend on the surface; None: unknown.

    Raises:
        ValueError: saying by how much they differ.
    """
    height_of = {id(each): height for each, height in zip(structures, heights, strict=True)}
    for same in structures.having("energy").groups(_kind):
        found = []
        for group in same.groups(lambda each: _surface(each, height_of[id(each)], plane_range)):
            name = _surface(group[0], height_of[id(group[0])], plane_range)
            if name != VACUUM and len(group) < FEWEST:
                continue
            of_group = [height_of[id(each)] for each in group]
            found.append(_far(name, group, of_group, plane_range))
        found.sort(key=lambda far: (far.name != VACUUM, far.name))
        for other in found[1:]:
            _compare(found[0], other)


def _kind(structure: Structure) -> tuple[object, ...]:
    """Equal for structures of one composition, charge and spin in one field."""
    conditions = structure.conditions
    formula = structure.atoms.get_chemical_formula()
    return (formula, conditions.charge, conditions.unpaired, conditions.field)


def _surface(structure: Structure, height: float, plane_range: float | None) -> str:
    """Name of the surface; without one, structures far beyond the range are in vacuum."""
    if structure.conditions.surface is not None:
        return structure.conditions.surface
    return VACUUM if plane_range is not None and height > 1.5 * plane_range else ""


def _far(
    name: str, structures: Structures, heights: Sequence[float], plane_range: float | None
) -> Far:
    """The structures at a surface that feel it least."""
    if name == VACUUM:
        return Far(name, structures, np.inf, 0.0)
    beyond = [p for p, h in enumerate(heights) if plane_range is not None and h >= plane_range]
    highest = np.argsort(heights)[-max(FEWEST, round(SHARE * len(heights))) :]
    chosen = beyond if len(beyond) >= FEWEST else highest.tolist()
    height = float(min(heights[p] for p in chosen))
    allowance = 0.0
    if len(beyond) < FEWEST:
        bound = BOUND * len(structures[0].atoms)
        allowance = ATTRACTION if height >= UNBOUND_FROM else max(bound, ATTRACTION)
    charge = structures[0].conditions.charge
    allowance += COULOMB * charge**2 / max(height, 1.0)
    return Far(name, structures.select(chosen), height, allowance)


def _compare(one: Far, other: Far) -> None:
    """Raises ValueError if nearly all energies of one are above nearly all of the other by more
    than warmth, the surfaces and their spread explain."""
    (low, middle, high), (low_2, middle_2, high_2) = (
        np.quantile(each.energies, (0.1, 0.5, 0.9)) for each in (one, other)
    )
    gap = max(low - high_2, low_2 - high)
    n_atoms = len(one.structures[0].atoms)
    spread = max(high - low, high_2 - low_2)
    if gap <= WARM * n_atoms + spread + one.allowance + other.allowance:
        return
    far, near = other.structures, one.structures
    where = f"the surface {other.name}" if other.name else "the surface"
    reference = "vacuum" if one.name == VACUUM else f"{one.height:.3g} Å above {one.name}"
    raise ValueError(
        f"{far.source}: {far[0].atoms.get_chemical_formula()} {other.height:.3g} Å and more above "
        f"{where} has energies around {middle_2:.6g} eV ({far.names(range(len(far)))}), but "
        f"{middle:.6g} eV in {reference} ({near.names(range(len(near)))}): "
        f"{middle_2 - middle:+.4g} eV per structure. Expected the same far from a surface, whose "
        "atoms are not in the structures: subtract the energy of the bare surface, in the same "
        "cell, from all energies above it; or train with data.check_units: false if they are right"
    )
