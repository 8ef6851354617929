"""Classification of upright shapes by models of several symmetries."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from sikff.groups import SymmetryGroup

from ..escnn_kernel import escnn_space
from ..loop import Recipe
from ..samples import Labelled
from ..study import TEST_SEED, VALID_SEED, Count, Splits, Study, StudySettings
from ..study_table import Result, Results, TableLayout, values
from .point_clouds import Clouds, Shapes, read_folder, split_shapes, stand_in
from .shape_classes import bound
from .shape_network import KERNELS, MAX_FREQUENCY, ShapeNetwork, build, spacings_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPS = (
    *("SO(2)", "C_inf_v", "D_inf", "C_inf_h", "D_inf_h"),
    *("SO(3)", "O(3)", "Cs", "Ci", "C1"),
)


class ShapesSettings(StudySettings):
    """Settings of a training on shapes."""

    VARIED: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {
        "seed": ("seeds", (0, 1, 2)),
        "kernel": ("kernels", ("implicit", "analytic")),
        "group": ("groups", GROUPS),
    }

    group: str = "SO(2)"
    """symmetry of the network, about z"""
    kernel: Literal["implicit", "analytic", "escnn"] = "implicit"
    """of two layers, of one, or escnn's (extra escnn)"""
    data: str | None = None
    """folder of ModelNet-40, aligned: CLASS/train/*.off and CLASS/test/*.off (default: procedural
    shapes)"""
    n_train: Annotated[Count, Field(alias="train")] = 40
    """training clouds of each class, of a folder at most"""
    n_valid: Annotated[Count, Field(alias="valid")] = 10
    """validation clouds of each class"""
    n_test: Annotated[Count, Field(alias="test")] = 40
    """test clouds of each class, of a folder at most"""
    n_points: Annotated[Count, Field(alias="points")] = 96
    """of each cloud"""
    n_neighbours: Annotated[Count, Field(alias="neighbours")] = 16
    """points that a point gathers from, itself included"""
    layers: Count = 3
    """convolutions, of which each halves the points"""
    weights: Count = 20_000
    """that a network has, about"""

    @model_validator(mode="after")
    def _usable(self) -> Self:
        group = SymmetryGroup(self.group)
        if self.kernel == "escnn":
            escnn_space(group, MAX_FREQUENCY)
        last = max(self.n_neighbours, 2)
        fewest = 2 ** (self.layers - 1) * last
        if self.n_points < fewest:
            raise ValueError(
                f"each of the {self.layers} convolutions halves the points, and the last one still "
                f"needs {last}: expected at least {fewest} points; got {self.n_points}"
            )
        return self


class ShapesStudy(Study[ShapesSettings, Clouds, ShapeNetwork]):
    """Classifies clouds of points; the metric is the fraction of correct answers.

    Attributes:
        source: reads a folder of shapes, and caches what it has read.
    """

    SETTINGS = ShapesSettings
    RECIPE = Recipe(batch_size=32, learning_rate=0.05)
    PORTION = 64
    METRIC = "accuracy"

    source: Callable[..., Shapes]

    @classmethod
    def open(cls, settings: ShapesSettings) -> Callable[..., Shapes]:
        return lru_cache(maxsize=4)(read_folder)  # sampling thousands of files takes minutes

    @cached_property
    def group(self) -> SymmetryGroup:
        """The symmetry of the network."""
        return SymmetryGroup(self.settings.group)

    @property
    def label(self) -> str:
        return f"{self.group} {self.settings.kernel}"

    @property
    def file_name(self) -> str:
        label = self.label.translate(str.maketrans(" ", "_", "(),"))
        return f"{label}_seed{self.settings.seed}"

    @property
    def data_group(self) -> SymmetryGroup:
        return SymmetryGroup("SO(2)")

    def identity(self) -> Result:
        """The settings, with the canonical name of the group."""
        return {**super().identity(), "group": str(self.group)}

    @cached_property
    def _shapes(self) -> tuple[Labelled[Clouds], Labelled[Clouds], Labelled[Clouds], int]:
        """Clouds for training, validation and test, and the number of classes."""
        settings = self.settings
        if settings.data is None:
            counts = (settings.n_train, settings.n_valid, settings.n_test)
            seeds = (settings.seed, VALID_SEED, TEST_SEED)
            train, valid, test = (
                stand_in(n, settings.n_points, seed) for n, seed in zip(counts, seeds, strict=True)
            )
            return train.clouds, valid.clouds, test.clouds, len(train.names)
        n_both = settings.n_train + settings.n_valid
        both = self.source(settings.data, "train", settings.n_points, settings.seed, n_both)
        test = self.source(settings.data, "test", settings.n_points, TEST_SEED, settings.n_test)
        if both.names != test.names:
            missing = ", ".join(sorted(set(both.names) ^ set(test.names)))
            raise ValueError(f"{settings.data!r} has train or test, but not both, of {missing}")
        return *split_shapes(both, settings.n_valid), test.clouds, len(test.names)

    def load(self) -> Splits[Clouds]:
        return self._shapes[:3]

    def build(self, train: Labelled[Clouds]) -> ShapeNetwork:
        settings = self.settings
        points = train.inputs.points[: self.PORTION].float()
        return build(
            self.group,
            self._shapes[3],
            spacings=spacings_of(points, settings.layers, settings.n_neighbours),
            n_neighbours=settings.n_neighbours,
            kernel=settings.kernel,
            n_parameters=settings.weights,
            seed=settings.seed,
        )

    def loss(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(predictions, labels)

    def metric(self, predictions: Tensor, labels: Tensor) -> float:
        return float((predictions.argmax(dim=1) == labels).double().mean())

    def facts(self, train: Labelled[Clouds], test: Labelled[Clouds]) -> Result:
        """The number of classes, and the best accuracy of a model with this symmetry."""
        best = bound(self.group) if self.settings.data is None else None
        return {"bound": best, "n_classes": self._shapes[3]}

    def layout(self) -> TableLayout:
        return TableLayout(
            measure="test_accuracy",
            row=("group", "group"),
            fact=("bound", "bound"),
            columns=("kernel",),
            title="{}".format,
            formats=(".3f", ".3f", ".3f"),
            order={"kernel": tuple(KERNELS), "group": GROUPS},
        )

    def figures(self, results: Results) -> dict[str, Figure]:
        """A bar for each group and kernel, from seed to seed a line, and the bound above it."""
        from ...evaluation.plots import BLUE, GREY, ORANGE, new_figure  # loads matplotlib

        colours = {"implicit": BLUE, "analytic": ORANGE, "escnn": "#3f8f5f"}
        groups, kernels = values(results, "group"), values(results, "kernel")
        figure, (ax,) = new_figure(1, width=1.5 + 0.75 * len(groups), height=3.8)
        width = 0.8 / len(kernels)
        for k, kernel in enumerate(kernels):
            bars: dict[float, list[float]] = {}
            for result in results:
                if result["kernel"] == kernel:
                    x = groups.index(result["group"]) + (k - (len(kernels) - 1) / 2) * width
                    bars.setdefault(x, []).append(result["test_accuracy"])
            mean, low, high = (
                np.array([f(bar) for bar in bars.values()]) for f in (np.mean, min, max)
            )
            style = {"color": colours[kernel], "label": kernel, "capsize": 2}
            ax.bar(
                list(bars),
                mean,
                0.9 * width,
                yerr=[(mean - low).tolist(), (high - mean).tolist()],
                **style,
            )
        bounds = {each["group"]: each["bound"] for each in results}
        if None not in bounds.values():
            centre = np.array([groups.index(group) for group in bounds])
            ax.hlines(
                list(bounds.values()), centre - 0.45, centre + 0.45, color="black", label="bound"
            )
        ax.axhline(1 / results[0]["n_classes"], linestyle="--", color=GREY, label="chance")
        ax.set_xticks(range(len(groups)), groups, rotation=45, ha="right")
        ax.set(ylabel="test accuracy", ylim=(0, 1.05))
        ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return {"accuracy": figure}
