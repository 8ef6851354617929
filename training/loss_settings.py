"""Settings of the loss."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field, model_validator

from .section import NonNegative, Positive, Section

LABELS = ("energy", "forces", "stress")


class Term(NamedTuple):
    """How much the errors of one label count, and where their loss becomes linear."""

    weight: float
    delta: float


# Of energies and stresses without a given weight, as the learning rate falls. They begin as other
# terms: while errors and steps are large, a sharp loss slows energies and disturbs forces.
RISE = {"huber": 10.0, "mse": 100.0}  # of the weight, from 1
DELTA, LAST_DELTA = 0.05, 0.001


class LossConfig(Section):
    """Weights of the terms of the loss.

    Each term is the mean over the labels there are; a label may be missing in any structure, but
    not in all if a weight above 0 is given. Energies are read even if their weight is 0, for the
    E0s. Weights that are given stay as they are.

    Attributes:
        energy: for the energy per atom (eV). None: rises from 1 to 10 (mse: to 100) as the learning
            rate falls.
        forces: per component (eV/Å).
        stress: per component (eV/Å^3). None: as for energies, if training structures have a stress
            and the model no surface, else 0.
        kind: "mse", or "huber": quadratic below `delta`, linear above.
        delta: in eV, eV/Å and eV/Å^3. None: 0.05; where a weight is None it falls to 0.001 as the
            weight rises.
        config_types: factors of the loss of structures of a config_type (in ``atoms.info``), such
            as {surface: 5, melt: 0.2}; 1 for types that are not named. They multiply the weights
            of labels that are in the files (config_weight and others).
    """

    energy: NonNegative | None = None
    forces: NonNegative = 10.0
    stress: NonNegative | None = None
    kind: Literal["huber", "mse"] = "huber"
    delta: Positive | None = None
    config_types: dict[str, NonNegative] = Field(default={})

    def term(self, name: str, rate: float = 0.0) -> Term:
        """The weight of a term and where its loss becomes linear.

        Args:
            name: "energy", "forces" or "stress".
            rate: learning rate as a fraction of its largest; 0: at the end of a run.
        """
        given, first = getattr(self, name), DELTA if self.delta is None else self.delta
        if given is not None:
            return Term(given, first)
        last = LAST_DELTA if self.delta is None else self.delta
        return Term(RISE[self.kind] ** (1 - rate), first**rate * last ** (1 - rate))

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that a run reads."""
        return tuple(n for n in LABELS if n == "energy" or self.term(n).weight)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the labels without which a run cannot be."""
        optional = ("stress",) if self.stress is None else ()
        return tuple(n for n in LABELS if n not in optional and self.term(n).weight)

    @model_validator(mode="after")
    def _some_term(self) -> LossConfig:
        if not self.required:
            raise ValueError("all weights are 0; give energy, forces or stress a positive weight")
        return self
