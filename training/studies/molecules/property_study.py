"""QM9: whether kernels that see bonds and elements predict properties of molecules better."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sikff.groups import SymmetryGroup

from ..loop import Recipe
from ..samples import Labelled
from ..study import Splits, Study
from ..study_table import Result, Results, TableLayout, values
from .molecule_graphs import ELEMENTS, MoleculeGraphs, graphs_of
from .property_model import VARIANTS, PropertyModel, PropertySettings, build
from .qm9_dataset import SOURCE, Dataset, read_dataset, split
from .qm9_targets import TARGETS, Target, element_energies, find_target

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Scaling:
    """The affine map from a property in its unit to labels of unit variance.

    Attributes:
        energies: of the elements, zero if they are not subtracted [5].
        mean, deviation: of the residuals of the training set.
    """

    energies: np.ndarray
    mean: float
    deviation: float

    @classmethod
    def of(cls, target: Target, counts: np.ndarray, values: np.ndarray) -> Scaling:
        """From the counts of elements [B, 5] and the values [B] of the training set.

        Raises:
            ValueError: all values are the same.
        """
        energies = np.zeros(len(ELEMENTS))
        if target.referenced:
            energies = element_energies(counts, values)
        residuals = values - counts @ energies
        if not residuals.std() > 0:
            raise ValueError(
                f"all {len(values)} training molecules have the same {target.column}; expected "
                "something to learn"
            )
        return cls(energies, float(residuals.mean()), float(residuals.std()))

    def standardise(self, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values in their unit [B] -> of order one [B]."""
        return (values - counts @ self.energies - self.mean) / self.deviation

    def restore(self, counts: np.ndarray, standardised: np.ndarray) -> np.ndarray:
        """Values of order one [B] -> in their unit [B]."""
        return standardised * self.deviation + self.mean + counts @ self.energies


class PropertyStudy(Study[PropertySettings, MoleculeGraphs, PropertyModel]):
    """Predicts a property; the metric is the mean absolute error in the unit of its errors.

    Attributes:
        source: the molecules.
    """

    SETTINGS = PropertySettings
    RECIPE = Recipe(batch_size=32, learning_rate=0.005, averaging=200, patience=1000)
    PORTION = 500
    METRIC = "mae"

    source: Dataset

    @classmethod
    def open(cls, settings: PropertySettings) -> Dataset:
        if settings.data is None:
            raise ValueError(
                "got no molecules; give --data gdb9.sdf, which has bonds, or the XYZ files "
                f"published at {SOURCE}"
            )
        return read_dataset(settings.data, keep_uncharacterised=settings.keep_uncharacterised)

    @property
    def label(self) -> str:
        return f"{self.settings.target}, {self.settings.variant}"

    @property
    def file_name(self) -> str:
        return f"{self.settings.target}_{self.settings.variant}_seed{self.settings.seed}"

    @property
    def data_group(self) -> SymmetryGroup:
        return SymmetryGroup("O(3)")

    def identity(self) -> Result:
        """The settings, with the name and the size of the data set instead of where it is."""
        train, valid, test = self._parts
        return {
            **self.settings.model_dump(mode="json", exclude={"keep_uncharacterised"}),
            "data": self.source.name,
            "n_molecules": len(self.source),
            "n_train": len(train),
            "n_valid": len(valid),
            "n_test": len(test),
        }

    @cached_property
    def _parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        settings = self.settings
        return split(len(self.source), settings.seed, settings.n_train, settings.n_valid)

    @cached_property
    def _graphs(self) -> MoleculeGraphs:
        return graphs_of(self.source.molecules, self.settings.radius)

    @cached_property
    def scaling(self) -> Scaling:
        """From what the model predicts to the property in its unit."""
        train, target = self._parts[0], find_target(self.settings.target)
        counts = element_counts(self._graphs)
        return Scaling.of(target, counts[train], self.source.values(self.settings.target)[train])

    def load(self) -> Splits[MoleculeGraphs]:
        sees_bonds = VARIANTS[self.settings.variant].bonds
        if sees_bonds and any(m.bonds is None for m in self.source.molecules):
            raise ValueError(
                f"the kernels of {self.settings.variant} see bonds, but of {self.source.name} "
                "bonds are not known; take gdb9.sdf, or the variant implicit"
            )
        counts = element_counts(self._graphs)
        labels = self.scaling.standardise(counts, self.source.values(self.settings.target))
        samples = Labelled(self._graphs, torch.from_numpy(labels))
        train, valid, test = (samples.select(torch.from_numpy(part)) for part in self._parts)
        return train, valid, test

    def build(self, train: Labelled[MoleculeGraphs]) -> PropertyModel:
        return build(self.settings, train.inputs)

    def loss(self, predictions: Tensor, labels: Tensor) -> Tensor:
        return (predictions - labels).abs().mean()

    def metric(self, predictions: Tensor, labels: Tensor) -> float:
        factor = find_target(self.settings.target).error_factor
        return self.scaling.deviation * factor * float(self.loss(predictions, labels))

    def facts(self, train: Labelled[MoleculeGraphs], test: Labelled[MoleculeGraphs]) -> Result:
        """The unit of errors, and the error of always predicting the median."""
        return {
            "unit": find_target(self.settings.target).error_unit,
            "median_mae": self.metric(train.labels.median(), test.labels),
        }

    def layout(self) -> TableLayout:
        return TableLayout(
            measure="test_mae",
            row=("kernel", "variant"),
            fact=("weights", "n_parameters"),
            columns=("target", "unit"),
            title="{} ({})".format,
            formats=(".4g", ".2g", ""),
            reference=("always the median", "median_mae"),
            order={"target": tuple(TARGETS), "variant": tuple(VARIANTS)},
        )

    def figures(self, results: Results) -> dict[str, Figure]:
        """Test errors, a panel for each target: bars are means, points are seeds."""
        from ...evaluation.plots import BLUE, ORANGE, new_figure  # loads matplotlib

        targets, variants = values(results, "target"), values(results, "variant")
        figure, axes = new_figure(len(targets))
        for ax, target in zip(axes, targets, strict=True):
            here = [each for each in results if each["target"] == target]
            for x, variant in enumerate(variants):
                errors = [each["test_mae"] for each in here if each["variant"] == variant]
                if errors:
                    ax.bar(x, np.mean(errors), width=0.6, color=BLUE, alpha=0.75)
                    ax.plot(np.full(len(errors), x), errors, "o", ms=5, color=ORANGE)
            ax.set_xticks(range(len(variants)), [name.replace("+", " +\n") for name in variants])
            ax.grid(visible=False, axis="x")
            ax.set(ylabel=f"test MAE ({here[0]['unit']})")
            ax.set_title(target, fontsize=10)
        return {"errors": figure}


def element_counts(graphs: MoleculeGraphs) -> np.ndarray:
    """Atoms of each element in each molecule [B, 5]."""
    indices = graphs.batch * len(ELEMENTS) + graphs.species
    counts = torch.bincount(indices, minlength=len(graphs) * len(ELEMENTS))
    return counts.view(len(graphs), len(ELEMENTS)).numpy()
