"""The motion of a single particle: the part that all models of the study share."""

from __future__ import annotations

from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.nn import MLP, Gate, Linear, SquaredNorms

FIELDS = 16  # mixtures of each irrep
LAYERS, WIDTH = 4, 32  # of the MLP that makes the factors


class SingleParticleMotion(nn.Module):
    """Linear mixtures of all features of a particle, times functions of its single-particle ones.

    All systems of the study are odd: if positions, velocities, lengths and charges change their
    sign, so do forces and displacements. So the mixtures are linear, for invariants too, and the
    factors are functions of squares.

    The inputs of the factors are sqrt(1 + square) rather than squares, so that factors grow at most
    linearly outside the range of the training data.

    Args:
        single_type: type of the single-particle features.
        in_type: type of all features.
        out_type: type of the motion.
    """

    def __init__(self, single_type: FieldType, in_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        squared, mixed = (
            FieldType(t.group, [(FIELDS, irrep) for irrep in t.irreps]).canonical
            for t in (single_type, in_type)
        )
        self.embedding, self.norms = Linear(single_type, squared), SquaredNorms(squared)
        self.factors = MLP([squared.n_fields, *[WIDTH] * (LAYERS - 1), mixed.n_fields])
        self.mix, self.gate = Linear(in_type, mixed), Gate(mixed)
        self.output = Linear(mixed, out_type)

    def forward(self, single: Tensor, features: Tensor) -> Tensor:
        """[..., single_type.size] and [..., in_type.size] -> [..., out_type.size]."""
        sizes = (1 + self.norms(self.embedding(single))).sqrt() - 1
        return self.output(self.gate(self.mix(features), self.factors(sizes)))
