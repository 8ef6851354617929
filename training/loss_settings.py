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


class DefaultTerm(NamedTuple):
    """A term of which a run gives no weight; that rises from `first` to `last`."""

    first: float
    last: float
    last_mse: float  # of squared errors
    delta: float


DEFAULTS = {
    "energy": DefaultTerm(1.0, 10.0, 100.0, 0.001),
    "forces": DefaultTerm(10.0, 10.0, 10.0, 0.01),
    "stress": DefaultTerm(1.0, 10.0, 100.0, 0.001),
}
DELTA = 0.05  # of terms whose weight is given


class LossConfig(Section):
    """Weights of the terms of the loss.

    Each term is the mean over the labels there are; a label may be missing in any structure, but
    not in all if a weight above 0 is given. Energies are read even if their weight is 0, for the
    E0s. Weights that are given stay as they are.

    Attributes:
        energy: for the energy per atom (eV). None: rises from 1 to 10 (mse: to 100) as the learning
            rate falls.
        forces: per component (eV/Å). None: 10.
        stress: per component (eV/Å^3). None: as for energies, if training structures have a stress
            and the model no surface, else 0.
        kind: "mse", or "huber": quadratic below `delta`, linear above.
        delta: in eV, eV/Å and eV/Å^3. None: 0.05 for weights that are given; else 0.01 for forces,
            0.001 for the others.
        config_types: factors of the loss of structures of a config_type (in ``atoms.info``), such
            as {surface: 5, melt: 0.2}; 1 for types that are not named. They multiply the weights
            of labels that are in the files (config_weight and others).
    """

    energy: NonNegative | None = None
    forces: NonNegative | None = None
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
        given, default = getattr(self, name), DEFAULTS[name]
        if given is not None:
            return Term(given, DELTA if self.delta is None else self.delta)
        last = default.last_mse if self.kind == "mse" else default.last
        weight = default.first * (last / default.first) ** (1 - rate)
        return Term(weight, default.delta if self.delta is None else self.delta)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the labels that a run reads."""
        return tuple(n for n in DEFAULTS if n == "energy" or self.term(n).weight)

    @property
    def required(self) -> tuple[str, ...]:
        """Names of the labels without which a run cannot be."""
        optional = ("stress",) if self.stress is None else ()
        return tuple(n for n in DEFAULTS if n not in optional and self.term(n).weight)

    @model_validator(mode="after")
    def _some_term(self) -> LossConfig:
        if not self.required:
            raise ValueError("all weights are 0; give energy, forces or stress a positive weight")
        return self
