"""The frozen, validated description of a force field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from ase.data import atomic_numbers, chemical_symbols
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)

from sikff.forcefield.environment_config import EnvironmentConfig, Positive, Vector
from sikff.groups import SymmetryGroup
from sikff.groups.aliasing import continuous_equivalent
from sikff.groups.group import named_group
from sikff.groups.matrices import unit_vector
from sikff.groups.names import generators, parse

Count = Annotated[int, Field(ge=1)]


class ForceFieldConfig(BaseModel):
    """All that defines a :class:`ForceField`, except its weights.

    Attributes:
        elements: chemical symbols of the atoms it takes, or their atomic numbers.
        group: symmetry group by name (default: O(3), above crystal surfaces their point group);
            axis: direction of its principal axis, which is also the direction of heights and of the
            field an axial model reads.
        type_group: a larger group; features are of its irreps up to max_frequency, restricted to
            ``group``, so that an irrep of ``group`` has as many copies as these contain. Set in
            models that :meth:`ForceField.restrict` made. None: the group itself.
        place_group: a larger group within the surface's, likewise of the features of places; set in
            models restricted from one with places. None: the group itself.
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
        start_channels: scalar features that atoms begin with. Set in models whose elements were
            changed. None: one for each element, at most ``channels``.
        readout_width: hidden width of the readouts.
        atomic_energies: E0 of each element, eV (missing: 0), by symbol or atomic number.
        energy_scale: eV; multiplies what the network returns.
        average_neighbours: mean over the atoms of the training data of sum_j u(r_ij)^2, u the
            envelope of the cutoff: the number of neighbours, far ones counting less. Training sets
            it to at least 1.
        zbl: add the Ziegler-Biersack-Littmark repulsion at short range.
        distances_seen: intervals of the distances (Å) within the cutoff in the training data, by
            pair of elements, such as {H-O: [[0.87, 1.13]], O-O: []}; set by training. At others
            pairs repel or fade, see :class:`~sikff.forcefield.trained_distances.TrainedDistances`.
            None: not known, as in older models.
        usual_contacts: how near common elements come to others, as a fraction of the sum of
            covalent radii; set by training if there are many elements. Pairs of two of them count
            as seen from there on, see the same class.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    elements: tuple[str, ...]
    group: str = "O(3)"
    axis: Vector = (0.0, 0.0, 1.0)
    type_group: str | None = None
    place_group: str | None = None
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
    start_channels: Count | None = None
    readout_width: Count = 16
    atomic_energies: dict[str, FiniteFloat] = {}
    energy_scale: Positive = 1.0
    average_neighbours: Positive = 1.0
    zbl: bool = False
    distances_seen: dict[str, tuple[tuple[float, float], ...]] | None = None
    usual_contacts: dict[str, Positive] = {}

    @model_validator(mode="before")
    @classmethod
    def _explicit_places(cls, values: Any) -> Any:
        """Writes down what follows from the lattice: the stars, and a group that is not given."""
        given = values.get("environment") if isinstance(values, dict) else None
        if given is None:
            return values
        try:
            environment = EnvironmentConfig.model_validate(given)
        except ValidationError:
            return values  # the field's own validation names the key
        if not environment.wallpapers:
            return values
        group = values.get("group") or environment.wallpapers[0].point_group.name
        stars = {"stars": environment.n_stars}
        return {**values, "group": group, "environment": environment.model_copy(update=stars)}

    @field_validator("elements", mode="before")
    @classmethod
    def _elements_to_symbols(cls, elements: Any) -> Any:
        if isinstance(elements, Sequence) and not isinstance(elements, str):
            return tuple(map(_symbol, elements))
        return elements

    @field_validator("atomic_energies", mode="before")
    @classmethod
    def _energies_by_symbol(cls, energies: Any) -> Any:
        if isinstance(energies, Mapping):
            by_symbol = {_symbol(element): energy for element, energy in energies.items()}
            if len(by_symbol) < len(energies):
                raise ValueError(f"got {list(energies)}; expected each element once")
            return by_symbol
        return energies

    @field_validator("elements")
    @classmethod
    def _check_elements(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [e for e in elements if atomic_numbers.get(e, 0) < 1]
        if unknown or not elements or len(set(elements)) < len(elements):
            raise ValueError(
                f"elements must be distinct chemical symbols, such as [H, C, O]; got {elements}"
            )
        return elements

    @model_validator(mode="after")
    def _check_consistency(self) -> ForceFieldConfig:
        foreign = sorted(set(self.atomic_energies) - set(self.elements))
        if foreign:
            raise ValueError(
                f"atomic_energies name {', '.join(foreign)}, which elements do not list"
            )
        _check_limits(self)
        if self.environment.wallpapers:
            _check_places(self)
        _check_group(self)
        if self.environment.plane_origin is not None:
            _check_plane(self)
        if self.vacuum_group is not None:
            _check_vacuum_group(self, named_group(self.vacuum_group, self.axis))
        return self

    @property
    def symmetry_group(self) -> SymmetryGroup:
        """The symmetry group G; above a crystal surface its mirrors are oriented as the lattice."""
        return self._oriented(self.group)

    @property
    def symmetry_group_of_places(self) -> SymmetryGroup:
        """The group of whose irreps the features of places are made: G itself, or a larger one."""
        return self._oriented(self.place_group or self.group)

    @property
    def symmetry_group_of_types(self) -> SymmetryGroup:
        """The group whose irreps the features are made of: G itself, or a larger one."""
        if self.type_group is None:
            return self.symmetry_group
        if self.type_group == self.place_group:
            return self.symmetry_group_of_places
        return named_group(self.type_group, self.axis)

    def _oriented(self, name: str) -> SymmetryGroup:
        wallpapers = self.environment.wallpapers
        if not wallpapers:
            return named_group(name, self.axis)
        point_group = wallpapers[0].point_group
        if name == point_group.name:
            return point_group
        q = point_group.orientation
        return SymmetryGroup.from_generators(q @ generators(name) @ q.T)


def _check_limits(config: ForceFieldConfig) -> None:
    """Raise ValueError for limits of elements that the model does not have, or that are none."""
    for name, given in (
        ("distances_seen", config.distances_seen),
        ("usual_contacts", config.usual_contacts),
        ("environment.height_min", config.environment.height_min),
    ):
        keys = given if isinstance(given, dict) else {}
        foreign = sorted({e for key in keys for e in key.split("-")} - set(config.elements))
        if foreign:
            raise ValueError(f"{name} names {', '.join(foreign)}, which elements do not list")
    for pair, found in (config.distances_seen or {}).items():
        ends = [end for interval in found for end in interval]
        if pair.count("-") != 1 or ends != sorted(ends) or not all(0 <= x < 1e3 for x in ends):
            raise ValueError(
                f"distances_seen has {pair}: {[list(each) for each in found]}; expected intervals "
                "of distances in Å for two elements, such as H-O: [[0.9, 1.1], [1.5, 5.0]]"
            )


def _check_group(config: ForceFieldConfig) -> None:
    """Raise ValueError unless type_group contains the group, and networks can resolve the group."""
    group, types = config.symmetry_group, config.symmetry_group_of_types
    if not group <= types:
        raise ValueError(
            f"type_group ({types}) must contain group ({group}); leave it out, or name a larger "
            "group"
        )
    continuous = continuous_equivalent(group, config.max_frequency)
    if continuous is not None and config.environment.lattice is None:
        raise ValueError(
            f"a network of {group} with max_frequency {config.max_frequency} is one of "
            f"{continuous}: products of such low frequencies do not tell them apart. Take "
            f"{continuous.name}, or raise max_frequency"
        )


def _check_places(config: ForceFieldConfig) -> None:
    """Raise ValueError unless the group is a subgroup of the surface's point group."""
    environment = config.environment
    wallpaper = environment.wallpapers[0]
    point_group, normal = wallpaper.point_group, unit_vector(config.axis)
    if any(abs(abs(w.normal @ normal) - 1) > 1e-8 for w in environment.wallpapers):
        raise ValueError(
            f"the lattice vectors {wallpaper.lattice.tolist()} are not perpendicular to the axis "
            f"{list(config.axis)}; expected vectors in the plane of the surface"
        )
    is_finite = parse(config.group)[0] == 0
    if not is_finite or not config.symmetry_group <= point_group:
        raise ValueError(
            f"group is {config.group}, but {wallpaper.name} has the point group "
            f"{point_group.name}: a larger group would have symmetries that the surface does not "
            f"have. Leave group out, or name a subgroup of {point_group.name}"
        )
    places = config.symmetry_group_of_places
    if not config.symmetry_group <= places or not places <= point_group:
        raise ValueError(
            f"place_group is {config.place_group}; expected a group between group ({config.group}) "
            f"and the point group {point_group.name} of the surface, or none"
        )


def _check_plane(config: ForceFieldConfig) -> None:
    """Raise ValueError unless the group maps the plane, or the two of a slit, to themselves."""
    group, normal = config.symmetry_group, unit_vector(config.axis)
    images = group.generators @ normal
    is_kept = abs(images - normal).max(axis=1) < 1e-8
    if config.environment.slit_width is not None:  # the two planes may change places
        is_kept |= abs(images + normal).max(axis=1) < 1e-8
    if not is_kept.all():
        raise ValueError(
            "a plane needs a group that keeps its normal, such as C_inf_v, SO(2) or Cnv, a slit "
            f"one that keeps it or turns it round, such as D_inf_h; {group} does not. Remove "
            "environment.plane_origin or choose another group"
        )


def _check_vacuum_group(config: ForceFieldConfig, vacuum_group: SymmetryGroup) -> None:
    """Raise ValueError unless it contains the group and there is an environment to correct for."""
    group, environment = config.symmetry_group, config.environment
    has_field = environment.field and len(group.invariant_vectors) > 0
    has_environment = environment.plane_origin is not None or has_field
    if not group <= vacuum_group or not has_environment:
        raise ValueError(
            f"vacuum_group ({vacuum_group}) must contain group ({group}) and needs an "
            "environment: a plane, or a field along a direction that the group keeps. Set "
            "environment, or remove vacuum_group"
        )


def _symbol(element: Any) -> Any:
    """The chemical symbol of an atomic number; anything else as it is, numbers as text."""
    number = int(element) if str(element).isdecimal() else 0
    if 1 <= number < len(chemical_symbols):
        return chemical_symbols[number]
    return str(element) if isinstance(element, int) else element
