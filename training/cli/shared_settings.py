"""Arguments that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from ..config import Count
from .arguments import CommandSettings, Metavar, Positional

if TYPE_CHECKING:
    from ..config import DataConfig

Key = Annotated[str | None, Metavar("KEY")]


class ModelFile(CommandSettings):
    """A force field."""

    model: Annotated[Path, Positional("MODEL")]
    """model file"""


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

    def data_config(self) -> DataConfig:
        """The data and the names of their labels."""
        from ..config import DataConfig

        return DataConfig(
            train=self.data,
            energy_key=self.energy_key,
            forces_key=self.forces_key,
            stress_key=self.stress_key,
        )


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


class Placement(CommandSettings):
    """Where and how precisely a force field is evaluated."""

    device: str = "auto"
    """auto, cpu or cuda"""
    dtype: Literal["float32", "float64"] | None = None
    """of the weights (default: as stored in MODEL)"""
