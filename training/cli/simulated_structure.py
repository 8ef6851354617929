"""What ``sikff md`` and others move: a structure in its environment, with a force field."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from ..section import Count
from .arguments import Metavar, Positional
from .shared_settings import Electrons, Models, Output

if TYPE_CHECKING:
    import ase

    from sikff.calculators.structure_evaluator import StructureEvaluator
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

        from ..simulation.structure_files import read_structure

        atoms = self.prepare([read_structure(self.structure)])[0]
        atoms.calc = SIKFFCalculator(self.models, **self._options)
        atoms.info |= self.conditions(atoms.calc.models[0].config)
        return atoms

    def prepare(self, structures: Sequence[ase.Atoms]) -> list[ase.Atoms]:
        """Copies of structures of the file without labels, with their constraints."""
        from ..data.labels import without_labels
        from ..data.structures import Structures
        from ..data.unread_keys import OF_ELECTRONS, unread_keys
        from ..simulation.constraints import add_constraints

        found = [without_labels(atoms) for atoms in structures]  # atoms move, labels would not
        for atoms in found:
            add_constraints(atoms, self.constraints)
        for note in unread_keys(Structures.of(found, str(self.structure)), OF_ELECTRONS):
            warnings.warn(note, stacklevel=2)
        return found

    @property
    def _options(self) -> dict[str, Any]:
        """Of the calculator."""
        given = {"device", "dtype", "compile", "skin"}
        return self.model_dump(include=given, exclude_unset=True)


class SimulatedStructures(SimulatedStructure):
    """One structure, or all of a file, which move in batches."""

    every_structure: bool = Field(False, alias="all")
    """all structures of START, not the last one alone: in batches, which takes less time"""
    batch_size: Count = 32
    """of --all: structures in a batch"""

    def read_all(self) -> tuple[StructureEvaluator, list[ase.Atoms]]:
        """What evaluates batches, and the structures with their constraints and environment."""
        from sikff.calculators.structure_evaluator import StructureEvaluator

        from ..data.reading import read_atoms

        structures = self.prepare(read_atoms(self.structure))
        evaluator = StructureEvaluator.of(self.models, **self._options)
        model: Any = evaluator.models[0]
        given = self.conditions(model.config)
        for atoms in structures:
            atoms.info |= given
        return evaluator, structures
