"""What ``sikff md`` and others move: a structure in its environment, with a force field."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator

from .arguments import Metavar, Positional
from .shared_settings import Electrons, Models, Output

if TYPE_CHECKING:
    import ase

    from sikff.forcefield import ForceFieldConfig

Vector = tuple[float, float, float]


def _direction(text: object) -> object:
    """[3] numbers of x, y, z or three numbers such as 1,2,2.

    Raises:
        ValueError: for any other text.
    """
    if not isinstance(text, str):
        return text
    if text in ("x", "y", "z"):
        return tuple(float(text == axis) for axis in "xyz")
    try:
        direction = tuple(float(number) for number in text.split(","))
    except ValueError:
        direction = ()
    if len(direction) != 3 or not 0 < math.hypot(*direction) < math.inf:
        raise ValueError(f"{text!r} is not x, y, z or three numbers such as 1,2,2")
    return direction


class InEnvironment(Electrons, Models):
    """What acts on a structure, and the model that says how."""

    field: Annotated[tuple[float, ...] | None, Metavar("E")] = None
    """uniform electric field, V/Å: three components, or one along the axis (default: as
    the structure says, or none)"""
    axis: Annotated[Vector | None, BeforeValidator(_direction), Metavar("AXIS")] = None
    """direction of --field E: x, y, z or three numbers such as 1,2,2; a model with an axis of its
    own accepts no other (default: that axis)"""
    surface_origin: Vector | None = None
    """a point of the surface, Å (default: as the structure says, or that of MODEL)"""
    surface: str | None = None
    """which of the surfaces of MODEL, or vacuum (default: as the structure says)"""

    def conditions(self, config: ForceFieldConfig) -> dict[str, Any]:
        """Those that are given, as in the info of a structure, for a model of that config."""
        given = {
            "electric_field": self._field_vector(config),
            "surface_origin": self.surface_origin and list(self.surface_origin),
            "surface": self.surface,
        }
        found = {key: value for key, value in given.items() if value is not None}
        return found | self.electrons

    def _field_vector(self, config: ForceFieldConfig) -> list[float] | None:
        """The electric field [3], V/Å; a single number is its component along the axis."""
        axis = self._field_axis(config)
        if self.field is None or len(self.field) == 3:
            return self.field and list(self.field)
        if len(self.field) != 1 or axis is None:
            raise ValueError(
                f"--field is {' '.join(map(str, self.field))}; expected three components, or one "
                "number with --axis, which only models with an axis of their own can do without"
            )
        size = math.hypot(*axis)
        return [self.field[0] * component / size for component in axis]

    def _field_axis(self, config: ForceFieldConfig) -> Sequence[float] | None:
        """--axis, or the axis of the model if it has one."""
        import numpy as np

        own = config.axis if config.symmetry_group.lie_dimension < 3 else None
        if own is None or self.axis is None:
            return self.axis or own
        sizes = np.linalg.norm(own) * np.linalg.norm(self.axis)
        if np.linalg.norm(np.cross(own, self.axis)) > 1e-6 * sizes:
            raise ValueError(
                f"--axis is {list(self.axis)}, but the axis of the model is {list(own)}; turn the "
                "structure, or take a model with this axis or of O(3)"
            )
        return self.axis


class SimulatedStructure(Output, InEnvironment):
    """A structure, its constraints, what acts on it and the model that moves it."""

    structure: Annotated[Path, Positional("START")]
    """a file; its last structure, with its momenta, is the start"""
    constraints: Annotated[tuple[str, ...], Metavar("SPEC")] = ()
    """fix=0-3,7 or fix=Pt: atoms that do not move, counted from 0; bonds=4-5,6-7: pairs that keep
    their distance; com: the centre of mass does not move. Those of START stay in force"""
    skin: float | None = None
    """neighbours are searched so far beyond the cutoff, Å; changes the speed only (default: the
    calculator's)"""
    compile: bool = False
    """use torch.compile: minutes at the start, then faster steps; needs a C++ compiler"""

    def read(self) -> ase.Atoms:
        """The structure with its constraints, its environment and the calculator."""
        from sikff.calculators import SIKFFCalculator

        from ..data.labels import without_labels
        from ..data.structures import Structures
        from ..data.unread_keys import OF_ELECTRONS, unread_keys
        from ..simulation.constraints import add_constraints
        from ..simulation.structure_files import read_structure

        atoms = without_labels(read_structure(self.structure))  # atoms move, labels would not
        add_constraints(atoms, self.constraints)
        options = self.model_dump(
            include={"device", "dtype", "compile", "skin"}, exclude_unset=True
        )
        atoms.calc = SIKFFCalculator(self.models, **options)
        atoms.info |= self.conditions(atoms.calc.models[0].config)
        for note in unread_keys(Structures.of([atoms], str(self.structure)), OF_ELECTRONS):
            warnings.warn(note, stacklevel=2)
        return atoms
