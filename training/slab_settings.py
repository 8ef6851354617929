"""Keys of ``model.environment`` in a training run that name a slab instead of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from .section import Positive

FOUND = ("plane_origin", "lattice", "wallpaper")  # what a slab stands for


class SlabConfig(BaseModel):
    """A crystal surface, given by the atoms of a slab.

    The keys stand for plane_origin, lattice and wallpaper in ``model.environment``, and for
    ``model.axis`` where the normal is not z. A run replaces them by these when it begins, and never
    reads the file again. The slab must be in the coordinates of the training data.

    Attributes:
        slab: file that ASE reads; of several structures the last. It holds the slab alone, with
            vacuum, periodic along the surface.
        slab_side: the surface above which the molecules are; the third cell vector points to the
            top.
        slab_tolerance: Å; atoms closer than this to the image of another one are the same.
        slab_depth: Å below the outermost atom that count for the symmetry. None: the whole slab.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slab: Path
    slab_side: Literal["top", "bottom"] = "top"
    slab_tolerance: Positive = 0.02
    slab_depth: Positive | None = None


def split_slab(model: Mapping[str, Any]) -> tuple[SlabConfig | None, dict[str, Any]]:
    """The slab of ``model.environment``, if any, and the other keys of the environment.

    Raises:
        ValueError: for keys of a slab without its file, or beside what it stands for.
    """
    environment = model.get("environment")
    if not isinstance(environment, dict):
        return None, {}
    names = SlabConfig.model_fields.keys()
    given = {key: value for key, value in environment.items() if key in names}
    others = {key: value for key, value in environment.items() if key not in names}
    if not given:
        return None, others
    if given.get("slab") is None:
        raise ValueError(
            f"model.environment has {', '.join(given)} without slab; set slab to a file, or leave "
            "out the rest"
        )
    twice = [key for key in FOUND if others.get(key) is not None]
    if twice:
        raise ValueError(
            f"model.environment has slab and {', '.join(twice)}, which the slab stands for; leave "
            "out either (`sikff surface FILE` prints what a slab stands for, to be changed and "
            "given instead)"
        )
    return SlabConfig.model_validate(given), others


def without_slab(model: dict[str, Any]) -> dict[str, Any]:
    """Settings with some surface in place of a slab, whose surface is not known yet.

    Its group, C1, allows all other settings.
    """
    slab, others = split_slab(model)
    if slab is None:
        return model
    surface = {"plane_origin": (0, 0, 0), "lattice": ((1, 0), (0, 1)), "wallpaper": "p1"}
    return {**model, "group": "C1", "axis": (0, 0, 1), "environment": {**others, **surface}}
