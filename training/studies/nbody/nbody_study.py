"""N-body: which symmetry learns the motion of particles above a plane or in a field."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from sikff.groups import SymmetryGroup

from ..loop import Recipe
from ..samples import Labelled, predict
from ..study import TEST_SEED, VALID_SEED, Count, Splits, Stage, Study, StudySettings
from ..study_table import Result, Results, TableLayout, values
from .bayes_error import MOST_PARTICLES, bayes_prediction, squared_errors
from .particle_graphs import ParticleGraphs, displacements, graphs_of
from .particle_models import KINDS, N_PARAMETERS, Model, Part, build, find_kind
from .particle_systems import Charged, Springs, Trajectories, simulate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SINGLE_STEPS = 4  # of the training of the single-particle motion, to one of the interactions
STRENGTH = {"springs": "stiffness", "charged": "field"}  # setting that breaks the full symmetry


class NBodySettings(StudySettings):
    """Settings of a training on trajectories."""

    VARIED: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {
        "seed": ("seeds", (0, 1, 2)),
        "n_train": ("train", (3000,)),
        "stiffness": ("stiffness", (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 1000.0)),
        "field": ("field", (0.0, 0.5, 1.0, 2.0, 4.0)),
        "model": (
            "models",
            (
                *("sik:SO(2)", "sik:C_inf_v", "sik:O(3)", "o3-field", "segnn", "tfn", "egnn"),
                *("mpnn", "linear:SO(2)", "linear:O(3)"),
            ),
        ),
    }

    model: str = "sik"
    """kind of model, such as sik, or sik:O(3) with its group"""
    group: str = "SO(2)"
    """symmetry of the models sik and linear; the others have their own"""
    system: Literal["springs", "charged"] = "springs"
    """particles between springs above a plane, or charged particles in a field"""
    stiffness: float = 10.0
    """of the springs to the plane"""
    springs: Literal["hidden", "given"] = "hidden"
    """whether models see which particles are joined"""
    height: bool = True
    """the height above the plane as an input, where it is an invariant"""
    field: float = 1.0
    """along the axis, on charged particles"""
    epochs: Count = 200
    """passes over the training trajectories, at most, in each of two stages"""
    n_train: Annotated[Count, Field(alias="train")] = 3000
    """training trajectories"""
    n_valid: Annotated[Count, Field(alias="valid")] = 128
    """validation trajectories"""
    n_test: Annotated[Count, Field(alias="test")] = 2000
    """test trajectories"""
    n_particles: Annotated[int, Field(ge=2, alias="particles")] = 5
    """in each trajectory"""
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    """normal of the plane, or direction of the field"""
    weights: Count = N_PARAMETERS
    """that a model has, about"""

    @model_validator(mode="before")
    @classmethod
    def _split_group(cls, given: Any) -> Any:
        name, _, group = str(given.get("model", "")).partition(":")
        return {**given, "model": name, "group": group} if group else given

    @model_validator(mode="after")
    def _usable(self) -> Self:
        find_kind(self.model, self.group, self.axis)
        Springs(self.stiffness), Charged(self.field)
        return self

    @property
    def strength(self) -> str:
        """Name of the setting that breaks the full symmetry."""
        return STRENGTH[self.system]

    @property
    def varied(self) -> tuple[str, ...]:
        """The fields that a table varies; of stiffness and field, that of the system."""
        irrelevant = set(STRENGTH.values()) - {self.strength}
        return tuple(name for name in self.VARIED if name not in irrelevant)


def trajectories(settings: NBodySettings, n_trajectories: int, seed: int) -> Trajectories:
    """Trajectories of the system of a study."""
    springs = settings.system == "springs"
    return simulate(
        Springs(settings.stiffness) if springs else Charged(settings.field),
        n_trajectories,
        n_particles=settings.n_particles,
        axis=settings.axis,
        seed=seed,
    )


class NBodyStudy(Study[NBodySettings, ParticleGraphs, Model]):
    """Predicts where particles will be; the metric is the mean squared error."""

    SETTINGS = NBodySettings
    RECIPE = Recipe()
    PORTION = 500
    METRIC = "mse"
    SYMMETRY = "equivariance"

    @property
    def label(self) -> str:
        """The model, with its group where that can be chosen."""
        settings = self.settings
        fixed = KINDS[settings.model].group
        return settings.model if fixed else f"{settings.model} {settings.group}"

    @property
    def file_name(self) -> str:
        settings = self.settings
        system = settings.springs if settings.system == "springs" else settings.system
        strength = f"{settings.strength}{getattr(settings, settings.strength):g}"
        model = self.label.translate(str.maketrans(" ", "_", "()"))
        return f"{system}_{strength}_{model}_n{settings.n_train}_seed{settings.seed}"

    @property
    def data_group(self) -> SymmetryGroup:
        return SymmetryGroup("SO(2)", axis=self.settings.axis)

    def identity(self) -> Result:
        """The settings without the group, which is in the file name if it can be chosen."""
        return self.settings.model_dump(mode="json", exclude={"group"})

    @cached_property
    def _hidden(self) -> bool:
        return self.settings.system == "springs" and self.settings.springs == "hidden"

    @cached_property
    def _test(self) -> Trajectories:
        return trajectories(self.settings, self.settings.n_test, TEST_SEED)

    def load(self) -> Splits[ParticleGraphs]:
        settings = self.settings
        train = trajectories(settings, settings.n_train, settings.seed)
        valid = trajectories(settings, settings.n_valid, VALID_SEED)
        return self._labelled(train), self._labelled(valid), self._labelled(self._test)

    def _labelled(self, drawn: Trajectories) -> Labelled[ParticleGraphs]:
        return Labelled(graphs_of(drawn, hidden=self._hidden), displacements(drawn))

    def build(self, train: Labelled[ParticleGraphs]) -> Model:
        settings = self.settings
        model = build(
            settings.model,
            settings.group,
            axis=settings.axis,
            height=settings.height and settings.system == "springs",  # charges feel no plane
            n_parameters=settings.weights,
            seed=settings.seed,
        ).double()
        model.start(train.inputs, train.labels)
        return model

    def stages(
        self, model: Model, train: Labelled[ParticleGraphs], recipe: Recipe
    ) -> Iterator[Stage[Model, ParticleGraphs]]:
        """First the motion of single particles, then the interactions."""
        if model.single is None or model.network is None:
            return
        # every trajectory has n samples of single particles: smaller batches suffice
        small = replace(recipe, batch_size=math.ceil(recipe.batch_size / SINGLE_STEPS))
        without_interactions = partial(Model.__call__, interactions=False)
        yield _stage(model, model.single, without_interactions, train, small, self.PORTION)
        yield _stage(model, model.network, Model.__call__, train, recipe, self.PORTION)

    def loss(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return (predictions - labels).square().mean()

    def metric(self, predictions: Tensor, labels: Tensor) -> float:
        return float(self.loss(predictions, labels))

    def facts(self, train: Labelled[ParticleGraphs], test: Labelled[ParticleGraphs]) -> Result:
        """The group of the model, and the error of the Bayes prediction from the visible state."""
        settings = self.settings
        bayes_error = None
        if self._hidden and settings.n_particles <= MOST_PARTICLES:
            bayes_error = float(squared_errors(self._test, bayes_prediction(self._test)).mean())
        _, group = find_kind(settings.model, settings.group, settings.axis)
        return {"group": str(group), "floor": bayes_error}

    def rotated(self, inputs: ParticleGraphs, matrix: Tensor) -> ParticleGraphs:
        """The particles under a matrix, and the axis with them where it is an input."""
        return inputs.rotated(matrix, with_axis=KINDS[self.settings.model].field)

    def layout(self) -> TableLayout:
        strength = self.settings.strength
        return TableLayout(
            measure="test_mse",
            row=("model", "label"),
            fact=("weights", "n_parameters"),
            columns=(strength, "n_train"),
            title=lambda k, n_train: f"{strength} {k:g}, {n_train} trajectories",
            formats=(".2e", ".0e", ""),
            reference=("smooth Bayes error", "floor"),
            order={"model": tuple(KINDS)},
        )

    def figures(self, results: Results) -> dict[str, Figure]:
        from .nbody_figures import sample_figure, strength_figure  # loads matplotlib

        strength = self.settings.strength
        figures = {strength: strength_figure(results, strength)}
        if len(values(results, "n_train")) > 1:
            figures["samples"] = sample_figure(results, strength)
        return figures


def _stage(
    model: Model,
    part: Part,
    function: Callable[[Model, ParticleGraphs], Tensor],
    train: Labelled[ParticleGraphs],
    recipe: Recipe,
    portion: int,
) -> Stage[Model, ParticleGraphs]:
    """Trains one part of a model on the residuals of the parts before, scaled to unit variance."""
    residuals = train.labels - predict(partial(function, model), train.inputs, portion)
    with torch.no_grad():
        part.scale.copy_(residuals.square().mean().sqrt())
    model.requires_grad_(False)
    part.requires_grad_(True)

    def loss(predictions: Tensor, labels: Tensor) -> Tensor:
        return ((predictions - labels) / part.scale).square().mean()

    return Stage(function, loss, recipe)
