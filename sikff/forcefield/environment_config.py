"""The frozen, validated description of the environment of a force field."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, field_validator, model_validator

from sikff.graph.conditions import NO_FIELD, VACUUM, Conditions
from sikff.surface import Wallpaper, fewest_stars

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Vector = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
PlaneVector = Vector | tuple[FiniteFloat, FiniteFloat]  # of two components: z = 0
Lattice = tuple[PlaneVector, PlaneVector]
Group = str | tuple[str, ...]  # its name, or operations that generate it
# What training finds in its data.
LIMITS = (
    "field_min",
    "field_max",
    "height_min",
    "charge_min",
    "charge_max",
    "spin_min",
    "spin_max",
)
RENAMED_LIMITS = {  # older names, in configurations and in model files of format 2
    "field_least": "field_min",
    "field_limit": "field_max",
    "height_limit": "height_min",
}


class EnvironmentConfig(BaseModel):
    """What acts on molecules from outside, and whether a model reads their charge and spin.

    What may differ between structures comes with each of them, as its
    :class:`~sikff.graph.conditions.Conditions`: the field, the place of the surface, which surface
    it is, total charge and spin multiplicity.

    Attributes:
        plane_origin: a point (Å) of a plane whose normal is the group's axis. Each atom's height
            above it becomes an attribute, and energies depend on it. None: no plane.
        plane_range: height (Å) beyond which energies do not depend on the plane.
        slit_width: distance (Å) to a second plane above the first, which faces it. None: no slit.
            The group may then reverse the axis, such as D_inf_h: two walls of one kind.
        surfaces: names of the surfaces that the plane may stand for. Empty: one, without a name,
            or in training those that the structures name.
        lattice: two vectors (Å) in the plane, by which a crystal surface repeats, with its origin
            at the plane's. The place of an atom in the cell becomes an attribute. By name of the
            surface, if there are several. None: flat surfaces.
        wallpaper: wallpaper group of the lattice by name, such as p4mm or pg, or operations that
            generate it, such as ["-x, -y", "-x+1/2, y"]; see :class:`~sikff.surface.Wallpaper`. By
            name of the surface, where the lattice is.
        stars: number of stars of reciprocal vectors, whose plane waves describe the place. None:
            the fewest that tell all places apart, which were the most accurate for water on NaCl.
        field: whether the model reads the uniform electric field of each structure (V/Å).
        kernels_read_field: whether a field that the group turns is an attribute of edges, as in
            older models, instead of atoms, which is faster and more accurate.
        field_min, field_max: least and largest field (V/Å) in the training data, set by
            training: components along the direction that the model reads, or magnitudes if it
            reads several. None: not known; field_max alone holds for both signs.
        height_min: lowest height (Å) of the atoms of each element in the training data, likewise.
            Atoms below are repelled. One number, as in older models: they are not.
        charge: whether the model reads the total charge of each structure.
        spin: whether the model reads the spin multiplicity of each structure.
        charge_min, charge_max, spin_min, spin_max: smallest and largest total charge (e) and
            multiplicity (1 where it is not specified) in the training data, likewise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    plane_origin: Vector | None = None
    plane_range: Positive = 10.0
    slit_width: Positive | None = None
    surfaces: tuple[str, ...] = ()
    lattice: Lattice | dict[str, Lattice] | None = None
    wallpaper: Group | dict[str, Group] | None = None
    stars: Annotated[int, Field(ge=1, le=20)] | None = None
    field: bool = False
    kernels_read_field: bool = False
    field_min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    field_max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    height_min: FiniteFloat | dict[str, FiniteFloat] | None = None
    charge: bool = False
    spin: bool = False
    charge_min: int | None = None
    charge_max: int | None = None
    spin_min: int | None = None
    spin_max: int | None = None

    @field_validator("surfaces")
    @classmethod
    def _check_surfaces(cls, surfaces: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(surfaces)) < len(surfaces) or {VACUUM, ""} & set(surfaces):
            raise ValueError(
                f"got {list(surfaces)}; expected different names, without {VACUUM!r}, which "
                "structures may name anyway"
            )
        return surfaces

    @model_validator(mode="before")
    @classmethod
    def _named_surfaces(cls, values: Any) -> Any:
        lattice = values.get("lattice") if isinstance(values, dict) else None
        if isinstance(lattice, dict) and not values.get("surfaces"):
            return {**values, "surfaces": tuple(lattice)}
        return values

    @model_validator(mode="after")
    def _check_consistency(self) -> EnvironmentConfig:
        of_plane = ("plane_range", "slit_width", "surfaces", "lattice", "height_min")
        for needed, names in (
            ("plane_origin", of_plane),
            ("lattice", ("wallpaper", "stars")),
            ("field", ("field_min", "field_max")),
            ("charge", ("charge_min", "charge_max")),
            ("spin", ("spin_min", "spin_max")),
        ):
            given = [n for n in names if getattr(self, n) != type(self).model_fields[n].default]
            if given and not getattr(self, needed):
                raise ValueError(
                    f"got {', '.join(given)} without {needed}; set {needed}, or leave out the rest"
                )
        self._check_lattice()
        if self.field_max is not None and self.field_max < self.least_field:
            raise ValueError(
                f"field_max is {self.field_max}, less than field_min ({self.least_field}); "
                "expected the largest field of the training data"
            )
        for smallest, largest in (("charge_min", "charge_max"), ("spin_min", "spin_max")):
            low, high = getattr(self, smallest), getattr(self, largest)
            if low is not None and high is not None and low > high:
                raise ValueError(f"{smallest} is {low}, more than {largest} ({high})")
        return self

    def _check_lattice(self) -> None:
        if self.lattice is None:
            return
        if self.wallpaper is None:
            raise ValueError(
                "got lattice without wallpaper; expected the wallpaper group of the surface, such "
                "as p4mm for NaCl(001) or p6mm for graphene (p1: translations alone)"
            )
        for key, given in (("lattice", self.lattice), ("wallpaper", self.wallpaper)):
            if isinstance(given, dict) and set(given) != set(self.surfaces):
                raise ValueError(
                    f"{key} is given for {', '.join(given)}, surfaces are "
                    f"{', '.join(self.surfaces) or 'not named'}; expected one for each surface"
                )
        first, *others = self.wallpapers  # raises ValueError for a lattice that does not fit
        for name, other in zip(self.surfaces[1:], others, strict=True):
            if other.point_group != first.point_group:
                raise ValueError(
                    f"the wallpaper groups of the surfaces {self.surfaces[0]} and {name} have the "
                    f"point groups {first.point_group} and {other.point_group}, or their mirrors "
                    "differ in direction; expected the same: give the common subgroup of both, "
                    "turn a lattice, or train a model for each surface"
                )

    @property
    def wallpapers(self) -> tuple[Wallpaper, ...]:
        """The wallpaper group of each surface; none if they are flat."""
        if self.lattice is None or self.wallpaper is None:
            return ()
        lattice, group = self.lattice, self.wallpaper
        return tuple(
            _wallpaper(
                group[name] if isinstance(group, dict) else group,
                lattice[name] if isinstance(lattice, dict) else lattice,
            )
            for name in self.surfaces or ("",)
        )

    @property
    def n_stars(self) -> int:
        """stars, or by default the fewest that tell all places of each surface apart."""
        return self.stars or max(map(fewest_stars, self.wallpapers), default=0)

    @property
    def least_field(self) -> float:
        """field_min, or -field_max if that alone is known, or -inf."""
        limit = math.inf if self.field_max is None else self.field_max
        return -limit if self.field_min is None else self.field_min

    @property
    def totals(self) -> tuple[str, ...]:
        """Which of "charge" and "unpaired" of a graph the model reads."""
        read = {"charge": self.charge, "unpaired": self.spin}
        return tuple(name for name, is_read in read.items() if is_read)

    def lowest_of(self, elements: Sequence[str]) -> list[float]:
        """height_min of each element; of one that is not in the data that of the lowest."""
        if not isinstance(self.height_min, dict):
            return [-math.inf if self.height_min is None else self.height_min] * len(elements)
        least = min(self.height_min.values(), default=-math.inf)
        return [self.height_min.get(element, least) for element in elements]

    def without_limits(self) -> EnvironmentConfig:
        """A copy in which the range of the training data is not known."""
        return self.model_copy(update=dict.fromkeys(LIMITS))

    def without_electrons(self) -> EnvironmentConfig:
        """A copy that reads neither charge nor spin, without limits: what acts from outside."""
        return self.without_limits().model_copy(update={"charge": False, "spin": False})

    def seen(self, conditions: Conditions) -> Conditions:
        """The conditions without fields and surfaces that the model does not read."""
        if not self.field:
            conditions = conditions._replace(field=NO_FIELD)
        if self.plane_origin is None:
            conditions = conditions._replace(origin=None, surface=None)
        return conditions


@lru_cache(maxsize=64)
def _wallpaper(group: Group, lattice: Lattice) -> Wallpaper:
    if isinstance(group, str):
        return Wallpaper(group, lattice)
    return Wallpaper.from_generators(lattice, group)
