"""Base classes of studies: settings, data source, model, stages of training and metric."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from sikff.groups import SymmetryGroup

from .loop import Recipe
from .samples import Labelled, X
from .study_table import Result, Results, TableLayout

if TYPE_CHECKING:
    from matplotlib.figure import Figure

VALID_SEED, TEST_SEED = 10**6, 10**6 + 1  # of generated data; training seeds are lower
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=VALID_SEED)]


class StudySettings(BaseModel):
    """Settings of a training. The docstrings of the fields are the help of the commands."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True
    )
    # The fields that a table varies, the outermost loop first: name of the option, default values.
    VARIED: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]]

    seed: Seed = 0
    """of the training data or the split, the weights and the order of the samples"""
    epochs: Count = 30
    """passes over the training samples, at most"""

    def with_changes(self, **changes: Any) -> Self:
        """The settings with some values changed, validated again."""
        return type(self)(**{**self.model_dump(), **changes})

    @property
    def varied(self) -> tuple[str, ...]:
        """The fields that a table of such settings varies, the outermost loop first."""
        return tuple(self.VARIED)


S = TypeVar("S", bound=StudySettings)
M = TypeVar("M", bound=nn.Module)
Splits = tuple[Labelled[X], Labelled[X], Labelled[X]]  # for training, validation and test


@dataclass(frozen=True)
class Stage(Generic[M, X]):
    """One training of those weights of a model that require gradients.

    Attributes:
        predict: predictions [B, ...] of the model for B inputs.
        loss: of predictions and labels, a mean over the batch.
        recipe: how to train.
    """

    predict: Callable[[M, X], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    recipe: Recipe


class Study(ABC, Generic[S, X, M]):
    """One training of a study: from its settings to the numbers that are reported.

    Args:
        settings: of the training.
        source: of the data, from :meth:`open`, if it is shared between trainings.

    Attributes:
        SETTINGS: type of the settings.
        RECIPE: how to train; the settings say for how many epochs.
        PORTION: samples evaluated at once.
        METRIC: name of the metric; results have test_METRIC and valid_METRIC.
        SYMMETRY: "invariance" or "equivariance" of the predictions, which are vectors then.
    """

    SETTINGS: ClassVar[type[StudySettings]]
    RECIPE: ClassVar[Recipe]
    PORTION: ClassVar[int]
    METRIC: ClassVar[str]
    SYMMETRY: ClassVar[str] = "invariance"

    def __init__(self, settings: S, source: Any = None) -> None:
        self.settings = settings
        self.source = self.open(settings) if source is None else source

    @classmethod
    def open(cls, settings: S) -> Any:
        """The data source that trainings share, if there is any.

        Raises:
            OSError, ValueError: the data cannot be read.
        """

    @property
    @abstractmethod
    def label(self) -> str:
        """The name of the training in tables and at the progress bar."""

    @property
    @abstractmethod
    def file_name(self) -> str:
        """The name of the file of the result, without suffix."""

    @property
    @abstractmethod
    def data_group(self) -> SymmetryGroup:
        """A symmetry of the data; models without symmetry are tested for it."""

    def identity(self) -> dict[str, Any]:
        """The entries of a result that identify the training, as JSON returns them."""
        return self.settings.model_dump(mode="json")

    @abstractmethod
    def load(self) -> Splits[X]:
        """Samples for training, validation and test, in float64.

        Raises:
            OSError, ValueError: data that cannot be read, or that do not fit the settings.
        """

    @abstractmethod
    def build(self, train: Labelled[X]) -> M:
        """The model before its training; it has an attribute `group`.

        Args:
            train: training samples in float64.
        """

    def stages(self, model: M, train: Labelled[X], recipe: Recipe) -> Iterator[Stage[M, X]]:
        """The successive trainings of a model; each is drawn when the one before has ended."""
        yield Stage(type(model).__call__, self.loss, recipe)

    @abstractmethod
    def loss(self, predictions: Tensor, labels: Tensor) -> Tensor:
        """The mean loss; the best weights have the lowest on validation data."""

    @abstractmethod
    def metric(self, predictions: Tensor, labels: Tensor) -> float:
        """The number that tables compare."""

    @abstractmethod
    def facts(self, train: Labelled[X], test: Labelled[X]) -> Result:
        """Further entries of the result, such as a theoretical optimum."""

    def rotated(self, inputs: X, matrix: Tensor) -> X:
        """The inputs under an orthogonal matrix [3, 3]."""
        return inputs.rotated(matrix)

    @abstractmethod
    def layout(self) -> TableLayout:
        """The layout of a table of results of such settings."""

    @abstractmethod
    def figures(self, results: Results) -> dict[str, Figure]:
        """Figures of sorted results by their names."""
