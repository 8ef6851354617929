"""Restricts a trained model to a subgroup: the same energies, with more independent weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor

from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.environment import HEIGHT_FUNCTIONS, Environment
from sikff.forcefield.environment_config import EnvironmentConfig
from sikff.forcefield.interaction import Interaction
from sikff.forcefield.network import Network
from sikff.forcefield.places import Places
from sikff.forcefield.steerable_attributes import SteerableAttributes
from sikff.groups import SymmetryGroup
from sikff.groups.matrices import SAME, unit_vector
from sikff.nn import MLP, ChannelProduct, Linear
from sikff.nn.restrict_layers import (
    Restriction,
    containment,
    restrict_kernel,
    restrict_linear,
    restrict_mlp,
    restrict_product,
)

CORRECTED = {
    *("group", "axis", "environment", "vacuum_group", "type_group", "place_group"),
    *("atomic_energies", "distances_seen", "usual_contacts"),
}


def restricted_config(
    config: ForceFieldConfig,
    group: str | None = None,
    axis: Sequence[float] | None = None,
    environment: EnvironmentConfig | None = None,
) -> ForceFieldConfig:
    """The config of the model that :meth:`ForceField.restrict` returns.

    Raises:
        ValueError: see there.
    """
    larger = config.symmetry_group
    direction = config.axis
    if axis is not None and abs(unit_vector(axis) - unit_vector(direction)).max() > SAME:
        x, y, z = map(float, axis)
        direction = (x, y, z)
    if direction != config.axis and larger.lie_dimension < 3:
        raise ValueError(
            f"axis is {direction}, but the model is one of {larger}; an axis can be chosen for "
            "models of O(3) and SO(3) only. Leave it out, or restrict such a model"
        )
    environment = config.environment if environment is None else environment
    problem = _lost(config.environment, environment)
    if problem:
        raise ValueError(
            f"the model has the environment ({config.environment}), which cannot become "
            f"({environment}): {problem}. Leave the environment as it is, or add to it"
        )
    settings = dict(config) | {"axis": direction, "environment": environment}
    settings |= {"type_group": None, "place_group": None}
    adds_lattice = environment.lattice is not None and config.environment.lattice is None
    settings["group"] = group if group or adds_lattice else config.group
    changed = ForceFieldConfig.model_validate(settings)
    smaller = changed.symmetry_group
    if not smaller <= larger:
        raise ValueError(
            f"{smaller} is not a subgroup of the model's group {larger}; expected a smaller group, "
            "about the same axis, such as C_inf_v, C6v or C1 for a model of O(3)"
        )
    kept = {"type_group": config.type_group, "place_group": config.place_group}
    if smaller != larger:
        _check_attributes_are_invariant(config, changed)
        kept = {"group": changed.group, "type_group": config.type_group or config.group}
        if config.environment.lattice is not None:
            kept["place_group"] = config.place_group or config.group
    return ForceFieldConfig.model_validate(settings | kept)


def _lost(old: EnvironmentConfig, new: EnvironmentConfig) -> str:
    """What a model would read no more, or otherwise, in another environment; "" if nothing."""
    lost = [name for name in ("field", "charge", "spin") if getattr(old, name) > getattr(new, name)]
    if lost:
        return f"it would not read {' and '.join(lost)} any more"
    if new.field and new.kernels_read_field > old.kernels_read_field:
        return "kernels_read_field cannot be added"
    kept: tuple[str, ...] = ()
    if old.plane_origin is not None:
        kept += ("plane_origin", "plane_range", "slit_width")
        if not old.surfaces or new.surfaces[: len(old.surfaces)] != old.surfaces:
            kept += ("surfaces",)
    if old.lattice is not None:
        kept += ("surfaces", "lattice", "wallpaper", "n_stars", "field")
    if old.field:
        kept += ("kernels_read_field",)
    different = [name for name in dict.fromkeys(kept) if getattr(old, name) != getattr(new, name)]
    return f"{', '.join(different)} would change" if different else ""


def _check_attributes_are_invariant(config: ForceFieldConfig, changed: ForceFieldConfig) -> None:
    """Raises ValueError for a model that reads a field as a steerable attribute."""
    if any(
        c.environment.lattice is None and Environment(c).steerable_type for c in (config, changed)
    ):
        raise ValueError(
            f"a model of {config.symmetry_group} cannot become one of {changed.symmetry_group} "
            "where either reads a field that the group turns; restrict a model without "
            "environment.field to a group that keeps the field's direction, such as C_inf_v"
        )


def check_correction(vacuum: ForceFieldConfig, config: ForceFieldConfig) -> None:
    """Raise ValueError if a trained model cannot be the vacuum network of a model.

    Args:
        vacuum: config of the trained model.
        config: of the model whose vacuum network it is to be.

    Raises:
        ValueError: it is not one of exactly ``vacuum_group``, or has an environment, or does not
            read charge and spin as that model does.
    """
    expected = SymmetryGroup(config.vacuum_group or config.group, config.axis)
    has_environment = vacuum.environment.without_electrons() != EnvironmentConfig()
    if vacuum.symmetry_group != expected or vacuum.type_group is not None or has_environment:
        kind = f"of {vacuum.symmetry_group}{' in an environment' if has_environment else ''}"
        raise ValueError(
            f"the trained model is one {kind}, which cannot be the vacuum network where "
            f"vacuum_group is {config.vacuum_group}; expected a model of vacuum_group, without an "
            "environment and never restricted"
        )
    reads = [(each.environment.charge, each.environment.spin) for each in (vacuum, config)]
    if reads[0] != reads[1]:
        trained, to_be = reads
        raise ValueError(
            f"environment.charge and spin are {trained} in the trained model and {to_be} in the "
            "model to be; expected the same"
        )
    shared = set(ForceFieldConfig.model_fields) - CORRECTED
    different = [key for key in sorted(shared) if getattr(vacuum, key) != getattr(config, key)]
    if different:
        raise ValueError(
            f"the model to be has other {', '.join(different)} than the trained model of its "
            "vacuum network; expected the same"
        )


def zero_output(mlp: MLP) -> None:
    """Set the last layer's weights to zero, so that an MLP returns zeros until it is trained."""
    mlp.weights[-1].data.zero_()
    if mlp.biases is not None:
        mlp.biases[-1].data.zero_()


def attribute_map(old: Environment, new: Environment) -> Tensor:
    """Matrix [n_new, n_old] from new invariant attributes of atoms (rows) to old ones."""
    of_new, of_old = (
        torch.from_numpy(environment.constants["directions"]) for environment in (new, old)
    )
    fields, n_heights = of_new.T @ of_old, new.n_scalars - of_new.shape[1]
    if not old.has_plane:
        return torch.block_diag(fields, torch.zeros(n_heights, 0, dtype=torch.float64))
    names_new, names_old = (each.config.surfaces or ("",) for each in (new, old))
    surfaces = torch.tensor([[float(a == b) for b in names_old] for a in names_new]).double()
    n_new, n_old = (
        n // HEIGHT_FUNCTIONS // len(names)
        for n, names in (
            (n_heights, names_new),
            (old.n_scalars - of_old.shape[1], names_old),
        )
    )
    # a group that exchanges two planes sees only the sum of their functions
    planes = torch.eye(n_new).double() if n_new == n_old else torch.ones(n_new, n_old).double()
    functions = torch.eye(HEIGHT_FUNCTIONS).double()
    return torch.block_diag(fields, torch.kron(surfaces, torch.kron(planes, functions)))


def with_species(n_species: int, attributes: Tensor, n_new: int, n_old: int = 0) -> Tensor:
    """The same matrix for attributes that follow n_species numbers of the species. They are
    followed by others: in the old model, to n_old in all, by some that stay the same; in the new
    one, to n_new in all, by further ones, which change nothing."""
    same = max(n_old - n_species - attributes.shape[1], 0)
    eyes = (torch.eye(n, dtype=torch.float64) for n in (n_species, same))
    first, last = eyes
    matrix = torch.block_diag(first, attributes, last)
    return torch.nn.functional.pad(matrix, (0, 0, 0, n_new - len(matrix)))


def restrict_one_body(old: MLP | None, new: MLP, n_species: int, factors: Tensor) -> None:
    """Set the weights of ``new``, one-body energies for each factor, so that it returns what
    ``old`` does: zeros, if there is none.

    Args:
        factors: matrix from the factors of ``new`` (rows) to those of ``old``.
    """
    if old is None:
        zero_output(new)
        return
    inputs = with_species(n_species, factors, len(new.weights[0]), len(old.weights[0]))
    restrict_mlp(old, new, inputs, with_species(0, factors, new.weights[-1].shape[1]).T)


def restrict_places(
    old: SteerableAttributes,
    new: SteerableAttributes,
    old_environment: Environment,
    new_environment: Environment,
    attributes: Tensor,
) -> Tensor:
    """Set the weights of ``new`` so that it returns what ``old`` does of places; both float64.

    Args:
        attributes: matrix from the other attributes of an atom of ``new`` (rows) to those of
            ``old``.

    Returns:
        The same with the invariants among the places.
    """
    places = cast(Places, old_environment.places)
    place = places.of_subgroup(cast(Places, new_environment.places))
    group, fields = new.covariant_type.group, new.trunk.fields
    hidden = Restriction.of(old.trunk.out_type, group, fields)
    covariant = Restriction(hidden.matrix[1:, 1:], fields)  # the MLP makes the invariants
    restrict_linear(old.trunk.mix, new.trunk.mix, Restriction(place.T), covariant)
    contained = containment(old.trunk.out_type, group, fields)
    n_old, n_new = (each.trunk.in_type.n_invariants for each in (old, new))
    eye = torch.eye(fields, dtype=torch.float64)
    norms = torch.kron(_shares_of_norms(old, new) * contained[1:, 1:].T, eye)
    n_species = len(old_environment.elements)
    node = with_species(n_species, attributes, n_species + len(attributes))
    invariants = torch.block_diag(place[:n_new, :n_old], node, norms)
    restrict_mlp(old.trunk.mlp, new.trunk.mlp, invariants, torch.kron(contained, eye))
    outputs = Restriction.of(old.covariant_type, group, fields)
    restrict_linear(old.output, new.output, hidden, outputs)
    return torch.block_diag(attributes, place[:n_new, :n_old])


def _shares_of_norms(old: SteerableAttributes, new: SteerableAttributes) -> Tensor:
    """Dimension of each covariant field of ``new`` (rows) over that of each of ``old``: the mean
    square of a field from those of its parts."""
    dims = []
    for each in (new, old):
        fields = each.trunk.fields
        one = [irrep.dim for n, irrep in each.trunk.out_type.fields for _ in range(n // fields)]
        dims.append(torch.tensor(one[1:], dtype=torch.float64))
    return dims[0][:, None] / dims[1]


def restrict_network(
    old: Network,
    new: Network,
    attributes: Tensor,
    one_each: bool,
    shares: Tensor | None = None,
) -> None:
    """Set the weights of ``new`` so that it returns what ``old`` does; both float64.

    Args:
        attributes: matrix from the attributes of ``new`` (rows) to those of ``old``.
        one_each: whether the networks return a factor for each attribute, instead of energies.
        shares: matrix from the shares that ``new`` reads (rows) to those of ``old``, if any.
    """
    n_species, s = old.embedding.shape
    n_new, n_old = (len(each.start.weights[0]) for each in (new, old))
    node = with_species(n_species, attributes, n_new, n_old)
    new.embedding.data.copy_(old.embedding)
    restrict_mlp(old.start, new.start, node)
    if shares is not None:
        cast(Tensor, new.share_start).data.copy_(shares @ cast(Tensor, old.share_start))
    for before, after in zip(old.interactions, new.interactions, strict=True):
        edge = with_species(2 * s, attributes, 2 * s + len(attributes))
        pair = cast(Interaction, before), cast(Interaction, after)
        _restrict_interaction(*pair, node, edge, shares)
    layers = zip(old.interactions, old.readouts, new.readouts, strict=True)
    for interaction, before, after in layers:
        out_type = cast(Interaction, interaction).out_type
        features = Restriction.of(out_type, new.group, old.channels)
        n_old, n_new = (len(cast(MLP, readout).weights[0]) for readout in (before, after))
        invariants = features.rows()[:n_new, :n_old]
        outputs = attributes.T if one_each else None
        restrict_mlp(cast(MLP, before), cast(MLP, after), invariants, outputs)


def _restrict_interaction(
    old: Interaction, new: Interaction, node: Tensor, edge: Tensor, shares: Tensor | None
) -> None:
    """The same for a layer.

    Args:
        node, edge, shares: the matrix for the attributes of nodes, of edges, and for shares.
    """
    group, channels = new.out_type.group, old.channels
    in_type, hidden_type = old.conv.in_type, old.conv.out_type
    first = old.keep is None
    inputs = Restriction.of(in_type, group, in_type.size if first else channels)
    hidden, out = (Restriction.of(t, group, channels) for t in (hidden_type, old.out_type))
    restrict_kernel(old.conv.kernel, new.conv.kernel, inputs, hidden, edge)
    fields = containment(hidden_type, group, channels)
    pairs = [(node, old.gate, new.gate), (shares, old.share_gate, new.share_gate)]
    for matrix, gate, restricted in pairs:
        if matrix is not None and gate is not None and restricted is not None:
            restricted.data.copy_(torch.einsum("nm,mfc,fg->ngc", matrix, gate, fields))
    powers = [hidden] * (len(old.product) - 1) + [out] * bool(old.product)
    if old.steer is not None and new.steer is not None:
        covariants = Restriction.of(old.steer.right_type, group, channels)
        restrict_product(old.steer, new.steer, hidden, covariants, hidden)
    for before, after, power in zip(old.linear, new.linear, [hidden, *powers], strict=True):
        restrict_linear(cast(Linear, before), cast(Linear, after), power, out)
    for before, after in zip(old.mix, new.mix, strict=True):
        restrict_linear(cast(Linear, before), cast(Linear, after), hidden, hidden)
    for before, after, power in zip(old.product, new.product, powers, strict=True):
        products = cast(ChannelProduct, before), cast(ChannelProduct, after)
        restrict_product(*products, hidden, hidden, power)
    if old.keep is not None and new.keep is not None:
        restrict_linear(old.keep, new.keep, inputs, out)
