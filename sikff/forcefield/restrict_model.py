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

CORRECTED = {"group", "axis", "environment", "vacuum_group", "type_group", "atomic_energies"}


def restricted_config(
    config: ForceFieldConfig,
    group: str,
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
    smaller = SymmetryGroup(group, direction)
    if not smaller <= larger:
        raise ValueError(
            f"{smaller} is not a subgroup of the model's group {larger}; expected a smaller group, "
            "about the same axis, such as C_inf_v, C6v or C1 for a model of O(3)"
        )
    environment = config.environment if environment is None else environment
    before = config.environment.without_electrons()
    same_environment = environment.without_electrons() == before
    reads_less = environment.charge < config.environment.charge
    reads_less |= environment.spin < config.environment.spin
    if reads_less or not (same_environment or before == EnvironmentConfig()):
        raise ValueError(
            f"the model has the environment ({config.environment}), which cannot become "
            f"({environment}); leave the environment as it is or add charge or spin, or restrict a "
            "model without one"
        )
    new = {"group": group, "axis": direction, "environment": environment}
    if smaller != larger:
        new["type_group"] = config.type_group or config.group
    changed = ForceFieldConfig.model_validate(dict(config) | new)
    reads_vector = any(Environment(c).vector_type for c in (config, changed))
    if reads_vector and not (smaller == larger and same_environment):
        raise ValueError(
            f"a model of {larger} cannot become one of {smaller} where either reads a field that "
            "the group turns; restrict a model without environment.field to a group that keeps the "
            "field's direction, such as C_inf_v"
        )
    return changed


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
    if not old.n_scalars:
        return torch.zeros(new.n_scalars, 0, dtype=torch.float64)
    of_new, of_old = (
        torch.from_numpy(environment.constants["directions"]) for environment in (new, old)
    )
    n_new, n_old = new.n_scalars - of_new.shape[1], old.n_scalars - of_old.shape[1]
    heights = torch.eye(n_old, dtype=torch.float64).unflatten(0, (-1, 1, HEIGHT_FUNCTIONS))
    planes = n_new // max(n_old, 1)  # a group that exchanges two planes sees only their sum
    return torch.block_diag(
        of_new.T @ of_old, heights.expand(-1, planes, -1, -1).reshape(n_new, n_old)
    )


def with_species(n_species: int, attributes: Tensor) -> Tensor:
    """The same matrix for attributes that follow n_species numbers of the species."""
    return torch.block_diag(torch.eye(n_species, dtype=torch.float64), attributes)


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
    node = with_species(n_species, attributes)
    new.embedding.data.copy_(old.embedding)
    restrict_mlp(old.start, new.start, node)
    if shares is not None:
        cast(Tensor, new.share_start).data.copy_(shares @ cast(Tensor, old.share_start))
    for before, after in zip(old.interactions, new.interactions, strict=True):
        edge = with_species(2 * s, attributes)
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
    for before, after, power in zip(old.linear, new.linear, [hidden, *powers], strict=True):
        restrict_linear(cast(Linear, before), cast(Linear, after), power, out)
    for before, after in zip(old.mix, new.mix, strict=True):
        restrict_linear(cast(Linear, before), cast(Linear, after), hidden, hidden)
    for before, after, power in zip(old.product, new.product, powers, strict=True):
        products = cast(ChannelProduct, before), cast(ChannelProduct, after)
        restrict_product(*products, hidden, hidden, power)
    if old.keep is not None and new.keep is not None:
        restrict_linear(old.keep, new.keep, inputs, out)
