"""Structures on the surface of a force field, which does not move with them."""

from __future__ import annotations

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed

from sikff.forcefield import ForceField
from sikff.forcefield.environment import Environment
from sikff.graph.conditions import VACUUM, Conditions


class ThroughSurfaceError(CalculationFailed):
    """An atom is below the surface."""


def environments(atoms: ase.Atoms) -> list[Environment]:
    """Those of the models that have a surface for the structure; none in vacuum."""
    models = getattr(atoms.calc, "models", ())
    if not models or conditions_of(atoms).surface == VACUUM:
        return []
    return [m.environment for m in models if isinstance(m, ForceField) and m.environment.has_plane]


def heights_above_surface(atoms: ase.Atoms) -> np.ndarray:
    """Height (Å) of each atom above its surface, in a slit above the nearer one, [N].

    Raises:
        ValueError: if the structure has no surface.
    """
    for environment in environments(atoms):
        heights = environment.heights_of(atoms, conditions_of(atoms))
        if heights is not None:
            return heights.min(axis=1)
    raise ValueError("the structure has no surface; expected a model with a plane, not in vacuum")


def check_above_surface(atoms: ase.Atoms) -> None:
    """Raises ThroughSurfaceError if an atom is below the surface, and lower than in the data."""
    for environment in environments(atoms):
        heights = environment.heights_of(atoms, conditions_of(atoms))
        config = environment.config
        lowest = [] if config.height_min is None else config.lowest_of(environment.elements)
        limit = min(0.0, *lowest) if lowest else 0.0
        if heights is not None and heights.min() < limit:
            atom = int(heights.min(axis=1).argmin())
            raise ThroughSurfaceError(
                f"atom {atom} ({atoms.symbols[atom]}) is through the surface, at the height of "
                f"{heights.min():.3g} Å. Wrapped positions, too high an energy, or a model without "
                "a wall: training stores one (environment.height_min of each element)"
            )


def conditions_of(atoms: ase.Atoms) -> Conditions:
    """Field, surface, charge and spin of a structure with a calculator."""
    return Conditions.of(atoms.info, getattr(atoms.calc, "parameters", {}))
