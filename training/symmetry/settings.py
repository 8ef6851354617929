"""How to look for a symmetry."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sikff.groups.matrices import unit_vector

from .candidates import by_size

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Search:
    """How to look for a symmetry.

    Attributes:
        groups: names of the candidates; None: the usual ones. C1 is always among them.
        axis: of the axial and finite candidates, of any length; None: to be found.
        plane_origin: a point (Å) of a plane across the axis above which labelled structures are;
            models of groups that keep the axis are told the heights.
        minutes: for the training of each candidate on labelled structures; 0: no trainings.
        epochs: for the training of each candidate on moving particles; 0: no trainings.
        threshold: relative change that counts as none. Labels are not exact: DFT on a grid that
            does not turn with the molecule changes by up to 1e-3; a field of 0.1 V/Å changes
            methanol by 4e-3.
        seed: of everything random.

    Raises:
        ValueError: an unknown group, an axis that is none, or a number out of its range.
    """

    groups: tuple[str, ...] | None = None
    axis: Vector | None = None
    plane_origin: Vector | None = None
    minutes: float = 1.0
    epochs: int = 8
    threshold: float = 2e-3
    seed: int = 0

    def __post_init__(self) -> None:
        by_size(self.groups or ())
        if self.axis is not None:
            unit_vector(self.axis)
        for name in ("minutes", "epochs", "threshold", "seed"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be finite and not negative; got {value}")
