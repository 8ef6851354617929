"""One training of the study: from a few settings to the numbers that are reported."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from sikff.groups import SymmetryGroup

from ..escnn_kernel import escnn_space
from ..loop import History, Recipe, fit
from .point_clouds import Clouds, read_folder, split_clouds, stand_in
from .shape_classes import Z, bound
from .shape_network import (
    KERNELS,
    MAX_FREQUENCY,
    ShapeNetwork,
    build,
    spacings_of,
)

VALID_SEED, TEST_SEED = 10**6, 10**6 + 1  # training seeds are smaller
AT_ONCE = 64  # clouds of an evaluation
RECIPE = Recipe(batch_size=32, learning_rate=0.05)


@dataclass(frozen=True)
class Study:
    """What to train on what.

    Attributes:
        group: symmetry of the network, about z.
        kernel: "implicit"; "analytic": one layer, the classical basis x weights; "escnn": the basis
            that escnn derives.
        data: folder of ModelNet-40 or one like it; None: procedural shapes.
        n_train, n_valid, n_test: clouds of each class; of a folder, at most.
        n_points: of each cloud.
        n_neighbours: points that a point gathers from in a convolution, itself included.
        layers: convolutions; each halves the number of points.
        epochs: of the training.
        weights: number of them that the network should about have.
        seed: of the training clouds, the weights and the order of the clouds.

    Raises:
        ValueError: something unknown, a number out of its range, or escnn's kernel without escnn.
    """

    group: str = "SO(2)"
    kernel: str = "implicit"
    data: str | None = None
    n_train: int = 40
    n_valid: int = 10
    n_test: int = 40
    n_points: int = 96
    n_neighbours: int = 16
    layers: int = 3
    epochs: int = 30
    weights: int = 20_000
    seed: int = 0

    def __post_init__(self) -> None:
        group = SymmetryGroup(self.group)
        if self.kernel not in KERNELS:
            raise ValueError(
                f"unknown kernel {self.kernel!r}; expected one of {', '.join(KERNELS)}"
            )
        if self.kernel == "escnn":
            escnn_space(group, MAX_FREQUENCY)
        if not 0 <= self.seed < VALID_SEED:
            raise ValueError(f"seed must be at least 0 and below {VALID_SEED}; got {self.seed}")
        for name in ("n_train", "n_valid", "n_test", "n_neighbours", "layers", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        fewest = 2 ** (self.layers - 1) * max(self.n_neighbours, 2)
        if self.n_points < fewest:
            raise ValueError(
                f"each of the {self.layers} convolutions halves the points, and the last one still "
                f"needs {max(self.n_neighbours, 2)}: expected at least {fewest} points; "
                f"got {self.n_points}"
            )

    @property
    def symmetry(self) -> str:
        """The group by its canonical name."""
        return str(SymmetryGroup(self.group))

    @property
    def label(self) -> str:
        """The group and the kernel."""
        return f"{self.symmetry} {self.kernel}"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        model: the trained network, in float32.
        history: of the training.
        result: what is reported; it can be written as JSON.
    """

    model: ShapeNetwork
    history: History
    result: dict[str, Any]


def run(
    study: Study,
    recipe: Recipe = RECIPE,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Outcome:
    """Makes or reads the clouds, trains and tests.

    Args:
        study: what to train on what.
        recipe: how to train; its epochs are those of the study.
        device: where to train.
        progress: whether to show a bar.

    Raises:
        OSError: the data cannot be read.
        ValueError: settings or data that cannot be used.
    """
    recipe = Recipe(**{**asdict(recipe), "epochs": study.epochs})
    train, valid, test = (each.to(device, torch.float32) for each in clouds_of(study))
    model = build(
        SymmetryGroup(study.group),
        len(train.names),
        spacings=spacings_of(train.points[:AT_ONCE], study.layers, study.n_neighbours),
        n_neighbours=study.n_neighbours,
        kernel=study.kernel,
        n_parameters=study.weights,
        seed=study.seed,
    ).to(device)

    def loss(model: ShapeNetwork, samples: Tensor) -> Tensor:
        chosen = train.select(samples.to(device))
        return F.cross_entropy(model(chosen.points, chosen.normals), chosen.labels)

    def validate(model: ShapeNetwork) -> float:
        return float(F.cross_entropy(scores(model, valid), valid.labels))

    history = fit(
        model,
        len(train),
        loss,
        validate,
        recipe,
        seed=study.seed,
        progress=study.label if progress else None,
    )
    model.eval()
    group, error = invariance_error(model, test)
    result = {
        **asdict(study),
        "group": study.symmetry,
        "label": study.label,
        "test_accuracy": accuracy(model, test),
        "valid_accuracy": accuracy(model, valid),
        "bound": bound(model.group) if study.data is None else None,
        "n_classes": len(train.names),
        "n_parameters": model.n_parameters,
        "seconds": history.seconds,
        "invariance_error": error,
        "invariance_group": group,
    }
    return Outcome(model, history, result)


def clouds_of(study: Study) -> tuple[Clouds, Clouds, Clouds]:
    """For training, validation and test; in float64."""
    if study.data is None:
        train, valid, test = (
            stand_in(n, study.n_points, seed)
            for n, seed in (
                (study.n_train, study.seed),
                (study.n_valid, VALID_SEED),
                (study.n_test, TEST_SEED),
            )
        )
        return train, valid, test
    both = study.n_train + study.n_valid
    known = read_folder(study.data, "train", study.n_points, study.seed, both)
    test = read_folder(study.data, "test", study.n_points, TEST_SEED, study.n_test)
    if known.names != test.names:
        missing = sorted(set(known.names) ^ set(test.names))
        raise ValueError(f"{study.data!r} has train or test, but not both, of {', '.join(missing)}")
    return *split_clouds(known, study.n_valid), test


@torch.no_grad()
def scores(model: ShapeNetwork, clouds: Clouds) -> Tensor:
    """Scores of classes, [N, C], some clouds at a time."""
    parts = zip(clouds.points.split(AT_ONCE), clouds.normals.split(AT_ONCE), strict=True)
    return torch.cat([model(points, normals) for points, normals in parts])


def accuracy(model: ShapeNetwork, clouds: Clouds) -> float:
    """Part of the clouds whose class has the highest score."""
    return float((scores(model, clouds).argmax(dim=1) == clouds.labels).double().mean())


def invariance_error(
    model: ShapeNetwork, clouds: Clouds, n_clouds: int = 32, n_elements: int = 8
) -> tuple[str, float]:
    """The group looked at, and max |f(g x) - f(x)| / max |f(x)| over some of the clouds.

    In float64, as in float32 two points can change places in the order of distances. Looked at is
    the group of the model; if that is trivial, the SO(2) of the data.
    """
    group = model.group
    if group.order == 1:
        group = SymmetryGroup("SO(2)", axis=Z.tolist())
    exact = deepcopy(model).double()
    few = torch.arange(len(clouds))[:: max(1, len(clouds) // n_clouds)].to(clouds.labels.device)
    clouds = clouds.select(few).to(clouds.points.device, torch.float64)
    expected = scores(exact, clouds)
    worst = max(
        float((scores(exact, clouds.turned(g)) - expected).abs().max())
        for g in group.sample(n_elements, seed=0)
    )
    return str(group), worst / float(expected.abs().max())
