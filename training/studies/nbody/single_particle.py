"""What a particle does by itself: the part that all models of the study share."""

from __future__ import annotations

from torch import Tensor, nn

from sikff.fields import FieldType
from sikff.nn import MLP, Gate, Linear, SquaredNorms

FIELDS = 16  # mixtures of each irrep
LAYERS, WIDTH = 4, 32  # of the MLP that makes the factors


class SingleParticleMotion(nn.Module):
    """Mixtures of all that is known of a particle, times factors that see the particle alone.

    Turned about, every system of the study moves the other way round: with positions, velocities,
    lengths and charges, forces and displacements change their sign. So the mixtures are linear, for
    invariants too, and the factors are functions of squares: the motion is odd in all its inputs.

    The factors see sizes, sqrt(1 + square), rather than squares. So they grow like the inputs, at
    most, for a particle that swings further than those that were seen.

    Args:
        own_type: type of what a particle is by itself.
        in_type: type of all that is known of it.
        out_type: type of its motion.
    """

    def __init__(self, own_type: FieldType, in_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        seen, mixed = (
            FieldType(t.group, [(FIELDS, irrep) for irrep in t.irreps]).canonical
            for t in (own_type, in_type)
        )
        self.look, self.norms = Linear(own_type, seen), SquaredNorms(seen)
        self.factors = MLP([seen.n_fields, *[WIDTH] * (LAYERS - 1), mixed.n_fields])
        self.mix, self.gate = Linear(in_type, mixed), Gate(mixed)
        self.output = Linear(mixed, out_type)

    def forward(self, of_itself: Tensor, known: Tensor) -> Tensor:
        """[..., own_type.size] and [..., in_type.size] -> [..., out_type.size]."""
        sizes = (1 + self.norms(self.look(of_itself))).sqrt() - 1
        return self.output(self.gate(self.mix(known), self.factors(sizes)))
