"""The environment: planes and the electric field, as attributes of atoms."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sikff.field_types import FieldType
from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.places import Places
from sikff.graph import AtomicGraph, Structure, StructureArrays
from sikff.graph.conditions import CHARGE, SPIN, VACUUM, Conditions
from sikff.groups.matrices import unit_vector
from sikff.nn.constants import ConstantModule

HEIGHT_FUNCTIONS = 8
MISFIT = 0.01  # Å, of cell vectors from translations of a surface
ACROSS = 1e-3  # Å; smaller components of cell vectors are rounding
WALL = 80.0  # eV/Å^3
THROUGH = "a periodic direction leads through the plane"
OPENED = (
    "it is treated as open: the height of an atom is that of its position as it stands, so never "
    "wrap atoms along it"
)


class Environment(ConstantModule):
    """Attributes of atoms that describe the plane and the field.

    Heights h enter through Gaussians, for a range R and k = 1 ... 8:

        a_k(h) = exp(-(h - c_k)^2 / 2 w^2) f(h / R),   c_k = 0 ... 3R/4,   w = R/8
        f(x) = 1 - x^3 (10 - 15 x + 6 x^2) between 0 and 1; 1 below, 0 above

    They are C^2, and exactly zero from R on. Below the plane they decay as Gaussians do: an atom
    a few w below it is in vacuum again, so the plane belongs below all atoms of the training data.
    Heights are those of the positions as given, without periodic images.

    Where the lowest height of each element in the training data is known, the energy of an atom
    below it rises by WALL (lowest - h)^3, which is C^2 and exactly zero in the data: nothing gets
    through the surface.

    In a slit there are such Gaussians of the heights above both planes, or their sums if G
    exchanges the planes. Each of several surfaces has attributes of its own; those of the other
    surfaces are zero, and in vacuum all are.

    The field enters as invariants, its components along the vectors that are invariant under G (the
    axis, for axial groups); if there are none (O(3), SO(3), ...) as a covariant vector. Either way
    field = 0 gives attribute 0.

    Above a crystal surface the place of an atom is a steerable attribute, see :class:`Places`.

    Attributes:
        n_scalars: number of invariant attributes of an atom.
        steerable_type: type of the steerable attribute, a place or the covariant field, or None.
        n_place_invariants: its first components, invariants that are zero without a surface.
    """

    directions: Tensor
    lowest: Tensor
    normal: Tensor
    origin: Tensor
    centres: Tensor

    def __init__(self, config: ForceFieldConfig) -> None:
        super().__init__()
        group, environment = config.symmetry_group, config.environment
        self.config = environment
        self.has_plane, self.range = environment.plane_origin is not None, environment.plane_range
        invariant = group.invariant_vectors.T  # columns
        axis = np.asarray(config.axis) / np.linalg.norm(config.axis)
        if invariant.shape[1] == 1:  # the sign of a field is that along the axis as configured
            invariant = invariant * np.sign(invariant[:, 0] @ axis or 1.0)
        self.register_constant("directions", invariant if environment.field else invariant[:, :0])
        self.steerable_type = None
        if environment.field and invariant.shape[1] == 0:
            self.steerable_type = FieldType.vector(group)
        self.register_constant("normal", axis)
        self.register_constant("origin", np.asarray(environment.plane_origin or (0, 0, 0)))
        self.register_constant("centres", np.linspace(0, 0.75 * self.range, HEIGHT_FUNCTIONS))
        self.elements = config.elements
        self.has_wall = isinstance(environment.height_min, dict)
        if environment.height_min is not None:
            self.register_constant("lowest", np.array(environment.lowest_of(config.elements)))
        self.reverses_axis = bool(np.linalg.norm(axis @ invariant) < 0.5)  # some element of G does
        planes = 1 if environment.slit_width is None or self.reverses_axis else 2
        n_heights, n_surfaces = HEIGHT_FUNCTIONS * planes, max(len(environment.surfaces), 1)
        self.n_scalars = self.directions.shape[1] + self.has_plane * n_heights * n_surfaces
        self.places = None
        if environment.lattice is not None:
            wallpapers = environment.wallpapers
            self.places = Places(wallpapers, environment.n_stars, n_heights, group)
            self.steerable_type = self.places.out_type
        self.n_place_invariants = 0 if self.places is None else self.places.out_type.n_invariants

    @property
    def field_directions(self) -> np.ndarray:
        """Orthonormal directions [k, 3] along which the model reads the field; k = 0: none."""
        return np.eye(3) if self.steerable_type is not None else self.constants["directions"].T

    def check(self, conditions: Conditions) -> None:
        """Raise ValueError if predictions under these conditions would be wrong.

        Raises:
            ValueError: a field that the model does not read, or has a component that is not
                invariant under G (for an axial group: the field is not along the axis); a field on
                a charged structure; a surface although the model has no plane, or a surface that is
                not one of the model's.
        """
        self._check_field(np.array(conditions.field))
        if self.config.charge and conditions.charge and any(conditions.field):
            raise ValueError(
                f"the total charge is {conditions.charge} and electric_field is "
                f"{list(conditions.field)} V/Å: the field moves a charged structure as a whole, "
                "and energies of this model do not change with its place; expected one of them"
            )
        if self.has_plane:
            conditions.surface_index(self.config.surfaces)
            return
        if conditions.origin is not None:
            raise ValueError(
                f"surface_origin is {list(conditions.origin)} Å but the model sees no plane; "
                "remove it, or train a model with environment.plane_origin"
            )
        if conditions.surface not in (None, VACUUM):
            raise ValueError(
                f"surface is {conditions.surface!r} but the model sees no plane; remove it, or "
                "train a model with environment.plane_origin and environment.surfaces"
            )

    def check_cell(self, structure: Structure, conditions: Conditions) -> None:
        """Raises ValueError for a periodic structure that does not repeat as its surface does."""
        if self.places is None or conditions.surface == VACUUM:
            return
        wallpaper = self.config.wallpapers[conditions.surface_index(self.config.surfaces)]
        vectors = np.asarray(structure.cell)[structure.pbc]
        lateral = vectors - np.outer(vectors @ wallpaper.normal, wallpaper.normal)
        misfit = wallpaper.lattice_misfit(lateral)
        if misfit > MISFIT:
            raise ValueError(
                f"the periodic cell vectors {vectors.round(4).tolist()} are {misfit:.2g} Å off the "
                f"translations of the surface, whose lattice is "
                f"{wallpaper.lattice.round(4).tolist()}; expected whole multiples of the lattice "
                "vectors along the surface, or no periodic directions"
            )

    def opened(self, structure: Structure, conditions: Conditions) -> Structure:
        """The structure without the periodic direction that leads through its surface, which is
        how many programs write molecules on slabs; the structure itself if there is none.

        Raises:
            ValueError: if several directions lead through it.
        """
        if not self.has_plane or not structure.pbc.any() or conditions.surface == VACUUM:
            return structure
        cell, pbc = np.asarray(structure.cell), structure.pbc
        across = pbc & (abs(cell @ self.constants["normal"]) > ACROSS)
        if not across.any():
            return structure
        if across.sum() > 1:
            raise ValueError(
                f"the periodic cell vectors {cell[across].round(4).tolist()} lead "
                f"through the surface, whose normal is {self.constants['normal'].tolist()}; "
                "expected all but one along it"
            )
        return StructureArrays(structure.positions, structure.numbers, cell, pbc & ~across)

    def defined_stress(self, conditions: Conditions) -> np.ndarray:
        """Which components [3, 3] of the stress do not depend on the origin of the coordinates.

        A surface is not strained with the atoms: of a flat one those along the plane, of a crystal
        surface none.
        """
        if not self.has_plane or conditions.surface == VACUUM:
            return np.ones((3, 3), dtype=bool)
        along = (abs(self.constants["normal"]) < 1e-6) & (self.places is None)
        return np.logical_and.outer(along, along)

    def heights_of(self, structure: Structure, conditions: Conditions) -> np.ndarray | None:
        """Heights [N, planes] (Å) of atoms; None without a surface."""
        if not self.has_plane or conditions.surface == VACUUM:
            return None
        origin = self.config.plane_origin if conditions.origin is None else conditions.origin
        height = (structure.positions - np.asarray(origin)) @ self.constants["normal"]
        slit = self.config.slit_width
        return np.stack([height] if slit is None else [height, slit - height], axis=-1)

    def _check_field(self, field: np.ndarray) -> None:
        magnitude = float(np.linalg.norm(field))
        if magnitude == 0 or self.steerable_type is not None:
            return
        if not self.config.field:
            raise ValueError(
                f"electric_field is {field.tolist()} V/Å but the model reads no field; remove the "
                "field, or train a model with environment.field: true"
            )
        directions = self.field_directions
        if np.linalg.norm(field - field @ directions.T @ directions) > 1e-6 * magnitude:
            raise ValueError(
                f"electric_field {field.tolist()} V/Å is not along {directions.round(4).tolist()}, "
                "which the model's symmetry group keeps; turn the atoms, or use a model of O(3)"
            )

    def extrapolation_warnings(self, graph: AtomicGraph) -> dict[str, str]:
        """Extrapolation warnings, by "field", "height", "charge" and "spin"; empty within the
        training range. A charge or spin that is not read is one, too."""
        warnings = self._electron_warnings(graph)
        limit, least = self.config.field_max, self.config.least_field
        if limit is not None:
            slack = 1e-6 * max(abs(least), abs(limit))
            for strength in self.field_strengths(graph).tolist():
                if not least - slack <= strength <= limit + slack:
                    warnings["field"] = (
                        f"the electric field of {strength:.3g} V/Å is beyond the training data of "
                        f"the model, {least:.3g} to {limit:.3g} V/Å"
                    )
        if self.config.height_min is not None:
            depths = self._max_depths(graph)
            worst = int(depths.argmax())
            if depths[worst] > 1e-6:
                species = int(graph.species[worst])
                lowest = float(self.constants["lowest"][species])
                what = self.elements[species] if self.has_wall else "atom"
                warnings["height"] = (
                    f"an {what} is {lowest - depths[worst]:.4g} Å above the surface, lower than "
                    f"all of the training data of the model ({lowest:.4g} Å)"
                )
        return warnings

    def is_below(self, graph: AtomicGraph) -> bool:
        """Whether the wall acts on an atom."""
        return self.has_wall and self._max_depths(graph).max(initial=0.0) > 0

    def _max_depths(self, graph: AtomicGraph) -> np.ndarray:
        """How far [N] (Å) atoms are below the lowest of their element in the data; minus infinity
        without a surface."""
        heights = self._heights(graph).detach().cpu().numpy().min(axis=-1)
        depths = self.constants["lowest"].take(graph.species.cpu().numpy()) - heights
        at_surface = (graph.surface >= 0).cpu().numpy().take(graph.batch.cpu().numpy())
        return np.where(at_surface, depths, -np.inf)

    def wall(self, graph: AtomicGraph) -> Tensor:
        """Energies [N] (eV, float64) of atoms below the lowest of their element in the data."""
        depths = self.lowest.double()[graph.species].unsqueeze(-1) - self._heights(graph).double()
        depths = depths * (graph.surface >= 0)[graph.batch].unsqueeze(-1)
        return WALL * (depths.clamp(min=0) ** 3).sum(dim=-1)

    def _electron_warnings(self, graph: AtomicGraph) -> dict[str, str]:
        config, warnings = self.config, {}
        of_charge = (graph.charge, 0, config.charge, config.charge_min, config.charge_max)
        of_spin = (graph.unpaired, 1, config.spin, config.spin_min, config.spin_max)
        for kind, words, (values, absent, is_read, least, most) in (
            (CHARGE, "total charge", of_charge),
            (SPIN, "spin multiplicity", of_spin),
        ):
            for value in {absent + round(value) for value in values.tolist()}:
                if not is_read and value != absent:
                    warnings[kind] = (
                        f"the {words} of a structure is {value}, which the model does not read: "
                        f"its energies are those of its training data, whatever the {words}. Train "
                        f"a model with environment.{kind}: true"
                    )
                elif (least is not None and value < least) or (most is not None and value > most):
                    warnings[kind] = (
                        f"the {words} of a structure is {value}, beyond the training data of the "
                        f"model, {least} to {most}"
                    )
        return warnings

    def field_strengths(self, graph: AtomicGraph) -> Tensor:
        """Field (V/Å) of each structure [B]: its component along the one direction, or norm."""
        if self.directions.shape[1] == 1:
            return graph.field @ self.directions[:, 0].to(graph.field.dtype)
        return graph.field.norm(dim=-1)

    def lowest_heights(self, graph: AtomicGraph) -> Tensor:
        """Least height (Å) above a plane of the atoms of each element at a surface, [n_species];
        infinite without any."""
        heights = self._heights(graph).amin(dim=-1).double()
        heights = torch.where((graph.surface >= 0)[graph.batch], heights, torch.inf)
        lowest = heights.new_full((len(self.elements),), torch.inf)
        return lowest.scatter_reduce(0, graph.species, heights, "amin")

    def scalars(self, graph: AtomicGraph) -> Tensor:
        """Invariant attributes [N, n_scalars], in the dtype of the constants."""
        dtype = self.directions.dtype
        parts = [(graph.field.to(dtype) @ self.directions)[graph.batch]]
        if self.has_plane:
            parts.append(self._height_functions(graph).flatten(1))
        return torch.cat(parts, dim=-1)

    def _height_functions(self, graph: AtomicGraph) -> Tensor:
        """Functions of the heights above each surface, [N, surfaces, functions]."""
        height = self._heights(graph).to(self.centres.dtype).unsqueeze(-1)
        width = self.range / HEIGHT_FUNCTIONS
        x = (height / self.range).clamp(0, 1)
        cutoff = 1 - x**3 * (10 - x * (15 - 6 * x))  # C^2 at both ends
        functions = torch.exp(-0.5 * ((height - self.centres) / width) ** 2) * cutoff
        functions = functions.sum(dim=1) if self.reverses_axis else functions.flatten(1)
        surfaces = torch.arange(max(len(self.config.surfaces), 1), device=graph.surface.device)
        is_at = (graph.surface[:, None] == surfaces).to(functions.dtype)[graph.batch]
        return is_at[:, :, None] * functions[:, None, :]

    def origins(self, graph: AtomicGraph) -> Tensor:
        """A point of the plane for each structure, [B, 3]: the structure's, or the model's."""
        default = self.origin.to(graph.origin.dtype)
        return torch.where(graph.origin.isfinite(), graph.origin, default)

    def _heights(self, graph: AtomicGraph) -> Tensor:
        """Height of each atom above each plane, [N, planes], in the dtype of the positions."""
        normal = self.normal.to(graph.positions.dtype)
        height = (graph.positions - self.origins(graph)[graph.batch]) @ normal
        slit = self.config.slit_width
        return torch.stack([height] if slit is None else [height, slit - height], dim=-1)

    def steerable(self, graph: AtomicGraph, scalars: Tensor | None) -> Tensor:
        """The steerable attribute [N, d]: the place, or the field of each atom's structure.

        ``scalars``: the invariant ones, among them the functions of the height.
        """
        if self.places is None:
            return graph.field.to(self.directions.dtype)[graph.batch]
        positions = graph.positions - self.origins(graph)[graph.batch]
        functions = cast(Tensor, scalars)[:, self.directions.shape[1] :]
        return self.places(positions, functions.unflatten(1, (len(self.places.waves), -1)))


def is_periodic_along(structure: Structure, axis: Sequence[float] | np.ndarray) -> bool:
    """Whether a periodic cell vector has a component along an axis."""
    vectors = np.asarray(structure.cell)[structure.pbc]
    return bool((abs(vectors @ unit_vector(axis)) > ACROSS).any())
