"""The one frozen, validated description of a force field."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from ase.data import atomic_numbers, chemical_symbols
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    field_validator,
    model_validator,
)

from sikff.graph.conditions import NO_FIELD, VACUUM, Conditions
from sikff.groups import SymmetryGroup
from sikff.groups.aliasing import mistaken_for
from sikff.groups.group import unit_vector

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class EnvironmentConfig(BaseModel):
    """What stands outside the molecules and breaks their symmetry, for all structures of a model.

    What may differ between structures, :class:`~sikff.graph.conditions.Conditions`, comes with each
    of them: the strength of the field, the place of the surface, which surface it is.

    Attributes:
        plane_origin: a point (Å) of a plane whose normal is the group's axis. Each atom's height
            above it becomes an attribute, and energies depend on it. None: no plane.
        plane_range: height (Å) beyond which atoms no longer feel the plane.
        slit_width: distance (Å) to a second plane above the first, which faces it. None: none. The
            group may then turn the axis round, such as D_inf_h: two walls of one kind.
        surfaces: names of the surfaces that the plane may stand for. Empty: one, without a name,
            or in training those that the frames name.
        field: whether the model reads the uniform electric field of each structure (V/Å).
        field_least, field_limit: least and largest field (V/Å) in the training data, which says
            them: components along the direction that the model reads, or strengths if there are
            several. None: not known; one that is known alone holds for both signs.
        height_limit: lowest height (Å) in the training data, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plane_origin: Vector | None = None
    plane_range: Positive = 10.0
    slit_width: Positive | None = None
    surfaces: tuple[str, ...] = ()
    field: bool = False
    field_least: Annotated[float, Field(allow_inf_nan=False)] | None = None
    field_limit: Annotated[float, Field(allow_inf_nan=False)] | None = None
    height_limit: Annotated[float, Field(allow_inf_nan=False)] | None = None

    @field_validator("surfaces")
    @classmethod
    def _surfaces(cls, surfaces: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(surfaces)) < len(surfaces) or {VACUUM, ""} & set(surfaces):
            raise ValueError(
                f"got {list(surfaces)}; expected different names, without {VACUUM!r}, which "
                "structures may name anyway"
            )
        return surfaces

    @model_validator(mode="after")
    def _consistent(self) -> EnvironmentConfig:
        of_plane = ("plane_range", "slit_width", "surfaces", "height_limit")
        for needed, names in (
            ("plane_origin", of_plane),
            ("field", ("field_least", "field_limit")),
        ):
            given = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if given and not getattr(self, needed):
                raise ValueError(
                    f"got {', '.join(given)} without {needed}; set {needed}, or leave out the rest"
                )
        if self.field_limit is not None and self.field_limit < self.least_field:
            raise ValueError(
                f"field_limit is {self.field_limit}, less than field_least ({self.least_field}); "
                "expected the largest field of the training data"
            )
        return self

    @property
    def least_field(self) -> float:
        """field_least, or what it is if field_limit alone is known."""
        limit = math.inf if self.field_limit is None else self.field_limit
        return -limit if self.field_least is None else self.field_least

    def without_limits(self) -> EnvironmentConfig:
        """The same, but for the range of the training data."""
        return self.model_copy(update=dict.fromkeys(("field_least", "field_limit", "height_limit")))

    def seen(self, conditions: Conditions) -> Conditions:
        """The conditions, less those of a kind that the model does not read."""
        if not self.field:
            conditions = conditions._replace(field=NO_FIELD)
        return conditions if self.plane_origin is not None else Conditions(conditions.field)


class ForceFieldConfig(BaseModel):
    """All that defines a :class:`ForceField`, except its weights.

    Attributes:
        elements: chemical symbols the model knows, or atomic numbers for them.
        group: symmetry group by name; axis: direction of its principal axis, which is also the
            direction of heights and of the field an axial model reads.
        type_group: a larger group, whose irreps up to max_frequency the features have as far as
            ``group`` tells them apart: each irrep of ``group`` with all copies that are in them.
            Models that :meth:`ForceField.restrict` made have one. None: the group itself.
        environment: what acts from outside (plane, slit, field).
        vacuum_group: a larger group, usually O(3), for a second network that does not see the
            environment; the network of ``group`` then describes only what the environment
            changes. None: one network.
        cutoff: Å.
        layers: interaction layers.
        channels: copies of each irrep in features and messages.
        max_frequency: largest frequency of the harmonics (of which there are at least those of
            degree 1), the summed messages and the products.
        feature_frequency: largest frequency of the node features passed between layers, as far as
            max_frequency allows it.
        correlation: highest power of the messages in the many-body update: 1, 2 or 3 (body order
            up to 4 in a layer).
        kernel_fields, kernel_layers, kernel_width: size of the implicit kernel.
        radial_functions: number of radial basis functions.
        species_channels: size of the species embedding seen by the kernel.
        readout_width: hidden width of the readouts.
        atomic_energies: E0 of each element, eV (missing: 0), by symbol or atomic number.
        energy_scale: eV; multiplies what the network returns.
        average_neighbours: mean over the atoms of the training data of sum_j u(r_ij)^2, u the
            envelope of the cutoff: the number of neighbours, far ones counting less. Training says
            at least 1.
        zbl: add the Ziegler-Biersack-Littmark repulsion at short range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: tuple[str, ...]
    group: str = "O(3)"
    axis: Vector = (0.0, 0.0, 1.0)
    type_group: str | None = None
    environment: EnvironmentConfig = EnvironmentConfig()
    vacuum_group: str | None = None
    cutoff: Positive = 5.0
    layers: Count = 2
    channels: Count = 32
    max_frequency: Annotated[int, Field(ge=0, le=6)] = 3
    feature_frequency: Annotated[int, Field(ge=0, le=6)] = 2
    correlation: Annotated[int, Field(ge=1, le=3)] = 3
    kernel_fields: Count = 4
    kernel_layers: Count = 3
    kernel_width: Count = 32
    radial_functions: Count = 8
    species_channels: Count = 4
    readout_width: Count = 16
    atomic_energies: dict[str, FiniteFloat] = {}
    energy_scale: Positive = 1.0
    average_neighbours: Positive = 1.0
    zbl: bool = False

    @field_validator("elements", mode="before")
    @classmethod
    def _symbols(cls, elements: Any) -> Any:
        if isinstance(elements, Sequence) and not isinstance(elements, str):
            return tuple(map(_symbol, elements))
        return elements

    @field_validator("atomic_energies", mode="before")
    @classmethod
    def _by_symbol(cls, energies: Any) -> Any:
        if isinstance(energies, Mapping):
            found = {_symbol(element): energy for element, energy in energies.items()}
            if len(found) < len(energies):
                raise ValueError(f"got {list(energies)}; expected each element once")
            return found
        return energies

    @field_validator("elements")
    @classmethod
    def _elements(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [e for e in elements if atomic_numbers.get(e, 0) < 1]
        if unknown or not elements or len(set(elements)) < len(elements):
            raise ValueError(
                f"elements must be distinct chemical symbols, such as [H, C, O]; got {elements}"
            )
        return elements

    @model_validator(mode="after")
    def _consistent(self) -> ForceFieldConfig:
        group = SymmetryGroup(self.group, self.axis)
        foreign = sorted(set(self.atomic_energies) - set(self.elements))
        if foreign:
            raise ValueError(
                f"atomic_energies name {', '.join(foreign)}, which elements do not list"
            )
        if not group <= self.symmetry_group_of_types:
            raise ValueError(
                f"type_group ({self.symmetry_group_of_types}) must contain group ({group}); leave "
                "it out, or name a larger group"
            )
        continuous = mistaken_for(group, self.max_frequency)
        if continuous is not None:
            raise ValueError(
                f"a network of {group} with max_frequency {self.max_frequency} is one of "
                f"{continuous}: products of such low frequencies do not tell them apart. Take "
                f"{continuous.name}, or raise max_frequency"
            )
        n = unit_vector(self.axis)
        if self.environment.plane_origin is not None:
            turned = group.generators @ n
            kept = abs(turned - n).max(axis=1) < 1e-8
            if self.environment.slit_width is not None:  # the two planes may change places
                kept |= abs(turned + n).max(axis=1) < 1e-8
            if not kept.all():
                raise ValueError(
                    f"a plane needs a group that keeps its normal, such as C_inf_v, SO(2) or Cnv, "
                    f"a slit one that keeps it or turns it round, such as D_inf_h; {group} does "
                    "not. Remove environment.plane_origin or choose another group"
                )
        if self.vacuum_group is not None:
            larger = SymmetryGroup(self.vacuum_group, self.axis)
            plane = self.environment.plane_origin is not None
            field = self.environment.field and len(group.kept_vectors) > 0
            if not group <= larger or not (plane or field):
                raise ValueError(
                    f"vacuum_group ({larger}) must contain group ({group}) and needs an "
                    "environment: a plane, or a field along a direction that the group keeps. Set "
                    "environment, or "
                    "remove vacuum_group"
                )
        return self

    @property
    def symmetry_group(self) -> SymmetryGroup:
        """The symmetry group G."""
        return SymmetryGroup(self.group, self.axis)

    @property
    def symmetry_group_of_types(self) -> SymmetryGroup:
        """The group whose irreps the features are made of: G itself, or a larger one."""
        return SymmetryGroup(self.type_group or self.group, self.axis)


def _symbol(element: Any) -> Any:
    """The chemical symbol of an atomic number; anything else as it is, numbers as text."""
    number = int(element) if str(element).isdecimal() else 0
    if 1 <= number < len(chemical_symbols):
        return chemical_symbols[number]
    return str(element) if isinstance(element, int) else element
