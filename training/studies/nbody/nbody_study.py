"""One training of the study: from a few settings to the numbers that are reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sikff.groups import SymmetryGroup

from ..loop import History, Recipe, fit
from .bayes_floor import MOST_PARTICLES, bayes_prediction, squared_errors
from .particle_graphs import Graphs, displacements, graphs_of
from .particle_models import (
    KINDS,
    N_PARAMETERS,
    Model,
    Part,
    build,
    checked,
)
from .particle_systems import Charged, Springs, Trajectories, simulate

VALID_SEED, TEST_SEED = 10**6, 10**6 + 1  # training seeds are smaller
AT_ONCE = 500  # trajectories of an evaluation
OWN_STEPS = 4  # of the training of the own motion, to one of the interactions
SPRINGS = ("hidden", "given")
STRENGTH = {"springs": "stiffness", "charged": "field"}  # what breaks the symmetry, and how much


@dataclass(frozen=True)
class Study:
    """What to train on what.

    Attributes:
        model: name of a kind of model.
        group: symmetry of the kinds that have none of their own.
        system: "springs" or "charged", see :mod:`sikff.training.studies.nbody.particle_systems`.
        stiffness: of the springs to the plane.
        springs: "hidden" or "given": whether it is told which pairs are joined.
        height: whether the height above the plane is told, where it is an invariant.
        field: along the axis, on charged particles.
        epochs: of each of two trainings, at most: of what a particle does by itself, then of what
            the others do to it.
        seed: of the training data, the weights and the order of the data.
        n_train, n_valid, n_test: numbers of trajectories; the seed does not change the last two.
        n_particles: in each trajectory.
        axis: normal of the plane, [3].
        weights: number of them that the model should about have.

    Raises:
        ValueError: something unknown, or a number out of its range.
    """

    model: str = "sik"
    group: str = "SO(2)"
    system: str = "springs"
    stiffness: float = 10.0
    springs: str = "hidden"
    height: bool = True
    field: float = 1.0
    epochs: int = 200
    seed: int = 0
    n_train: int = 3000
    n_valid: int = 128
    n_test: int = 2000
    n_particles: int = 5
    axis: tuple[float, float, float] = (0.0, 0.0, 1.0)
    weights: int = N_PARAMETERS

    def __post_init__(self) -> None:
        checked(self.model, self.group, self.axis)
        for name, known in (
            ("system", tuple(STRENGTH)),
            ("springs", SPRINGS),
        ):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        Springs(self.stiffness), Charged(self.field)
        if not 0 <= self.seed < VALID_SEED:
            raise ValueError(f"seed must be at least 0 and below {VALID_SEED}; got {self.seed}")
        if self.n_particles < 2:
            raise ValueError(f"expected 2 particles at least; got {self.n_particles}")
        for name in ("epochs", "n_train", "n_valid", "n_test"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")

    @property
    def strength(self) -> float:
        """Stiffness or field: how much the full symmetry is broken."""
        return float(getattr(self, STRENGTH[self.system]))

    @property
    def label(self) -> str:
        """The model, with its group where that can be chosen."""
        return self.model if KINDS[self.model].group else f"{self.model} {self.group}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        model: the trained model, in float32.
        histories: of the trainings of the own motion and of the interactions, if there are any.
        result: what is reported; it can be written as JSON.
    """

    model: Model
    histories: list[History]
    result: dict[str, Any]


def trajectories(study: Study, n_trajectories: int, seed: int) -> Trajectories:
    """Trajectories of the system of a study."""
    return simulate(
        Springs(study.stiffness) if study.system == "springs" else Charged(study.field),
        n_trajectories,
        n_particles=study.n_particles,
        axis=study.axis,
        seed=seed,
    )


def run(
    study: Study,
    recipe: Recipe | None = None,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Outcome:
    """Simulates, trains and tests.

    Args:
        study: what to train on what.
        recipe: how to train; its epochs are those of the study.
        device: where to train.
        progress: whether to show a bar.

    Raises:
        ValueError: settings that cannot be used.
    """
    recipe = Recipe(**{**asdict(recipe or Recipe()), "epochs": study.epochs})
    train, valid, test = (
        trajectories(study, n, seed)
        for n, seed in (
            (study.n_train, study.seed),
            (study.n_valid, VALID_SEED),
            (study.n_test, TEST_SEED),
        )
    )
    model = build(
        study.model,
        study.group,
        axis=study.axis,
        height=study.height and study.system == "springs",  # charges feel no plane
        n_parameters=study.weights,
        seed=study.seed,
    ).double()
    hidden = study.system == "springs" and study.springs == "hidden"
    sets = [(graphs_of(t, hidden=hidden), displacements(t)) for t in (train, valid, test)]
    model.start(*sets[0])
    model.to(device, torch.float32)
    (x, y), on_valid, on_test = (
        (graphs.to(device, torch.float32), target.to(device, torch.float32))
        for graphs, target in sets
    )
    histories = train_parts(
        model,
        (x, y),
        on_valid,
        recipe,
        study.seed,
        f"{study.label}, {STRENGTH[study.system]} {study.strength:g}" if progress else None,
    )
    group, error = equivariance_error(model, on_test[0])
    result = {
        **asdict(study),
        "group": str(model.group),
        "label": study.label,
        "test_mse": mean_squared_error(model, *on_test),
        "valid_mse": mean_squared_error(model, *on_valid),
        "floor": floor(test) if hidden and study.n_particles <= MOST_PARTICLES else None,
        "n_parameters": model.n_parameters,
        "seconds": sum(history.seconds for history in histories),
        "equivariance_error": error,
        "equivariance_group": group,
    }
    return Outcome(model, histories, result)


def train_parts(
    model: Model,
    train: tuple[Graphs, Tensor],
    valid: tuple[Graphs, Tensor],
    recipe: Recipe,
    seed: int,
    progress: str | None,
) -> list[History]:
    """First what each particle does by itself, then what the others do to it."""
    if model.own is None or model.network is None:
        return []
    x, y = train

    def learn(part: Part, predict: Callable[[Model, Graphs], Tensor], recipe: Recipe) -> History:
        with torch.no_grad():
            left = y - torch.cat([predict(model, x.select(s)) for s in _portions(y)])
            part.scale.copy_(left.square().mean().sqrt())

        def loss(model: Model, samples: Tensor) -> Tensor:
            samples = samples.to(y.device)
            error = (predict(model, x.select(samples)) - y[samples]) / part.scale
            return error.square().mean()

        def validate(model: Model) -> float:
            return mean_squared_error(partial(predict, model), *valid)

        model.requires_grad_(False)
        part.requires_grad_(True)
        return fit(model, len(x), loss, validate, recipe, seed=seed, progress=progress)

    # A trajectory has many particles that move by themselves: a few make a batch.
    by_itself = replace(recipe, batch_size=math.ceil(recipe.batch_size / OWN_STEPS))
    return [
        learn(model.own, Model.alone, by_itself),
        learn(model.network, Model.__call__, recipe),
    ]


@torch.no_grad()
def mean_squared_error(model: Callable[[Graphs], Tensor], graphs: Graphs, target: Tensor) -> float:
    """Of displacements [T, n, 3], over trajectories, particles and components."""
    total = 0.0
    for samples in _portions(target):
        error = model(graphs.select(samples)) - target[samples]
        total += float(error.square().sum())
    return total / target.numel()


@torch.no_grad()
def equivariance_error(
    model: Model, graphs: Graphs, n_systems: int = 32, n_elements: int = 8
) -> tuple[str, float]:
    """The group looked at, and max |f(g x) - g f(x)| / max |f(x)| over some of the systems.

    Looked at is the group of the model; if that is trivial, the SO(2) of the data.
    """
    group = model.group
    if group.order == 1:
        group = SymmetryGroup("SO(2)", axis=graphs.axis.tolist())
    graphs = graphs.select(torch.arange(min(n_systems, len(graphs)), device=graphs.axis.device))
    expected = model(graphs)
    worst = 0.0
    for g in group.sample(n_elements, seed=0).to(expected):
        found = model(graphs.turned(g, with_axis=model.field))
        worst = max(worst, float((found - expected @ g.T).abs().max()))
    return str(group), worst / float(expected.abs().max())


def floor(trajectories: Trajectories) -> float:
    """Mean squared error of the Bayes prediction from the visible state."""
    return float(squared_errors(trajectories, bayes_prediction(trajectories)).mean())


def _portions(target: Tensor) -> tuple[Tensor, ...]:
    """The numbers of the trajectories of targets [T, n, 3], so many at a time."""
    return torch.arange(len(target), device=target.device).split(AT_ONCE)
