"""Features of atoms from a steerable attribute: their place above a crystal surface, or a field."""

from __future__ import annotations

from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.places import Places
from sikff.nn import Linear
from sikff.nn.gmlp import Trunk

LAYERS = 3


class SteerableAttributes(nn.Module):
    """Invariant and covariant features of an atom, by a G-MLP of its steerable attribute (paper,
    equation 3: the attribute a_i, read at the nodes instead of the edges).

    All invariants of the atom gate the G-MLP. Without the attribute covariant features are zero.

    Args:
        config: sizes.
        in_type: type of the attribute.
        n_node: number of the atom's other, invariant attributes.

    Attributes:
        n_invariants: number of invariant features.
        covariant_type: type of the covariant ones: the covariant irreps of messages, as often as
            messages have them. Both are those of the config's place_group, restricted to G.
    """

    def __init__(self, config: ForceFieldConfig, in_type: FieldType, n_node: int) -> None:
        super().__init__()
        group, larger = in_type.group, config.symmetry_group_of_places
        hidden_type = FieldType.harmonic(
            config.symmetry_group_of_types, config.max_frequency, config.channels
        ).restrict(larger)
        covariant = hidden_type.covariant
        parts = [(1, irrep) for irrep in covariant.irreps]
        if group != larger:  # those that the larger group's places have, and what becomes of them
            environment = config.environment
            places = Places(environment.wallpapers, environment.n_stars, 1, larger).out_type
            parts = [(n, irrep) for n, irrep in parts if places.multiplicity(irrep)]
        split = FieldType(larger, parts).restrict(group)
        irreps = (
            group.irreps(0)[0],
            *(irrep for n, irrep in split.fields for _ in range(n)),
        )
        self.n_invariants, self.covariant_type = config.channels, covariant.restrict(group)
        self.trunk = Trunk(
            in_type,
            irreps,
            config.channels,
            LAYERS,
            n_invariants=n_node,
            width=config.readout_width,
        )
        self.output = Linear(self.trunk.out_type, self.covariant_type)

    def forward(self, attribute: Tensor, node: Tensor) -> tuple[Tensor, Tensor]:
        """[N, d], [N, n_node] -> [N, n_invariants] and [N, covariant_type.size]."""
        hidden = self.trunk(attribute, [node])
        return hidden[:, : self.n_invariants], self.output(hidden)
