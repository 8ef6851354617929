"""The surface below labelled structures, as a flat plane or as that of a slab, with places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.find_plane import Plane, find_plane
from ..data.slab import find_surface, surface_settings
from ..data.structures import Structures
from ..slab_settings import SlabConfig
from .lie import NEAR, Z, angle_between
from .settings import SearchSettings

Array = np.ndarray


@dataclass(frozen=True)
class Surface:
    """A surface that acts on structures.

    Attributes:
        plane: found in their forces.
        threshold: lateral net forces, relative to the forces on atoms, from which it is corrugated.
        slab: axis and environment of a crystal surface, as under ``model``; None: flat.
        point_group: of the slab's wallpaper group.
        slab_notes: on the slab.
    """

    plane: Plane
    threshold: float
    slab: dict[str, Any] | None = None
    point_group: str | None = None
    slab_notes: tuple[str, ...] = ()

    @property
    def is_corrugated(self) -> bool:
        return self.plane.corrugation >= self.threshold

    @property
    def environment(self) -> dict[str, Any]:
        """As in ``model.environment``."""
        return self.plane.environment | (self.slab["environment"] if self.slab else {})

    @property
    def notes(self) -> list[str]:
        """What was found, in words."""
        plane, of_slab = self.plane, self.slab is not None
        shown = ", ".join(f"{x:.4g}" for x in plane.normal)
        found = (
            f"forces do not sum to zero ({plane.net_force:.1e} of their size), but to a net force "
            f"along [{shown}] that decays with height: of a surface that is not among the atoms"
        )
        lowest = plane.lowest.min()
        origin = f"the lowest atom is {lowest:.3g} Å above plane_origin"
        if not of_slab:
            origin += "; where the first layer of the surface is elsewhere, put it there"
        notes = [found, origin]
        highest = plane.lowest[np.isfinite(plane.lowest)].max()
        if not plane.vanishes:
            notes.append(
                f"net forces have not vanished {highest:.3g} Å above the plane, where the data "
                f"end: the plane_range of {plane.reach:g} Å is a guess"
            )
        if self.is_corrugated and not of_slab:
            notes.append(
                f"the surface is corrugated: lateral net forces are {plane.corrugation:.1e} of the "
                "forces, so no flat model has a smaller mean absolute force error than "
                f"{plane.floor:.2g} meV/Å, and the floor may be several times higher. Where that "
                "matters, give a file with the slab (--slab): its group and the place of each atom "
                "then replace the flat plane"
            )
        return [*notes, *self.slab_notes]


def find_surface_of(
    structures: Structures, field_directions: Sequence[Array] | Array, search: SearchSettings
) -> Surface | None:
    """The surface below structures, if their net forces show one.

    Raises:
        FileNotFoundError, ValueError: a slab that is none, has no symmetry, or is not below the
            structures; a slab for structures that no surface acts on.
    """
    if search.slab is None:
        plane = find_plane(structures, search.axis, search.plane_origin)
        if plane is None:
            return None
        for direction in field_directions:
            if angle_between(plane.normal, direction) >= NEAR:
                return None
        return Surface(plane, search.threshold)
    found = find_surface(SlabConfig(slab=search.slab))
    settings = surface_settings(found.found)
    environment = settings["environment"]
    plane = find_plane(structures, settings.get("axis", Z.tolist()), environment["plane_origin"])
    if plane is None:
        raise ValueError(
            f"{structures.source}: forces show no surface with the normal of {str(search.slab)!r}, "
            f"{settings.get('axis', Z.tolist())}: they sum to zero, or the net force does not "
            "decay with height; expected molecules above the slab, without the atoms of the slab"
        )
    wallpaper = found.found.wallpaper
    notes = (f"surface of {str(search.slab)!r}: {wallpaper.name}", *found.lines)
    return Surface(plane, search.threshold, settings, wallpaper.point_group.name, notes)
