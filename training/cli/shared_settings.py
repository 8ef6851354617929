"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from sikff.graph.conditions import CHARGE, SPIN

from ..section import Count
from .arguments import CommandSettings, Metavar, Positional

if TYPE_CHECKING:
    from sikff.forcefield import ForceField

    from ..data.labels import LabelKeys

Key = Annotated[str | None, Metavar("KEY")]


class ModelFile(CommandSettings):
    """One force field."""

    model: Annotated[Path, Positional("MODEL")]
    """model file"""


class Models(ModelFile):
    """A force field or several, and how they are evaluated."""

    committee: Annotated[tuple[Path, ...], Metavar("MODEL")] = ()
    """more models: predictions are the mean over all, reported with their standard deviation"""
    device: str = "auto"
    """auto, cpu or cuda"""
    dtype: Literal["float32", "float64"] | None = None
    """of the weights (default: as stored in MODEL)"""

    @property
    def models(self) -> list[Path]:
        """The model and the committee."""
        return [self.model, *self.committee]

    def load(self) -> list[ForceField]:
        """The force fields, on the device."""
        from sikff.calculators.prepare_models import chosen_device
        from sikff.forcefield import load

        device = chosen_device(self.device)
        return [load(path, device, self.dtype) for path in self.models]


class LabelledData(CommandSettings):
    """Files of structures and the names of their labels."""

    data: Annotated[tuple[Path, ...], Positional("DATA")]
    """labelled structures, as ASE reads them"""
    energy_key: Key = None
    """name of the label (default: REF_energy, or else what ASE reads as energy)"""
    forces_key: Key = None
    """name of the label (default: REF_forces, or else what ASE reads as forces)"""
    stress_key: Key = None
    """name of the label (default: REF_stress, or else what ASE reads as stress)"""
    forces_weight_key: Key = None
    """name of weights, or a mask, of the forces on atoms (default: forces_weight, forces_mask)"""

    def label_keys(self) -> LabelKeys:
        """The names of the labels."""
        from ..data.labels import LabelKeys

        return LabelKeys(self.energy_key, self.forces_key, self.stress_key, self.forces_weight_key)


class Electrons(CommandSettings):
    """Total charge and spin of structures."""

    charge: int | None = None
    """total charge, e (default: the charge of each structure, or 0)"""
    spin: int | None = None
    """spin multiplicity 2S + 1 (default: the spin of each structure, or unspecified)"""

    @property
    def electrons(self) -> dict[str, int]:
        """The given of the two, as in the info of a structure."""
        given = {CHARGE: self.charge, SPIN: self.spin}
        return {key: value for key, value in given.items() if value is not None}


class Batches(CommandSettings):
    """How many structures are evaluated at once."""

    batch_size: Count = 16
    """structures at a time"""


class Output(CommandSettings):
    """What becomes of existing files, and progress."""

    overwrite: bool = False
    """replace files that exist"""
    quiet: bool = False
    """show no progress"""
