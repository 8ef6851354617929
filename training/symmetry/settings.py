"""Settings of the search for a symmetry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sikff.groups.matrices import unit_vector

from ..section import NonNegative
from .candidates import sort_by_size

Vector = tuple[float, float, float]


class SearchSettings(BaseModel):
    """Settings of the search for a symmetry."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    groups: tuple[str, ...] | None = None
    """names of candidate groups, to which C1 is added (default: the usual ones)"""
    axis: Vector | None = None
    """axis of the candidate groups (default: to be found)"""
    plane_origin: Vector | None = None
    """a point of a plane across the axis that holds the structures, Å (default: found in the forces
    of molecules above a surface)"""
    slab: Path | None = None
    """file with a slab, whose crystal surface is below the structures"""
    minutes: NonNegative = 1.0
    """training time of each candidate on structures, minutes; 0: no trainings"""
    epochs: Annotated[int, Field(ge=0)] = 8
    """epochs of each training on moving particles; 0: no trainings"""
    threshold: NonNegative = 2e-3
    """relative change that counts as none, for labels are not exact: on its grid DFT changes by up
    to 1e-3 when a molecule is rotated; a field of 0.1 V/Å changes methanol by 4e-3"""
    seed: Annotated[int, Field(ge=0)] = 0
    """random seed"""

    @model_validator(mode="after")
    def _known(self) -> SearchSettings:
        sort_by_size(self.groups or ())
        if self.axis is not None:
            unit_vector(self.axis)
        if self.slab is not None and (self.axis or self.plane_origin):
            raise ValueError(
                "got slab beside axis or plane_origin; leave these out, which the slab determines"
            )
        return self
