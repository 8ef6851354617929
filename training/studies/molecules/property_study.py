"""One training of the study: from a few settings to the numbers that are reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sikff.groups import SymmetryGroup

from ..escnn_kernel import escnn_space
from ..loop import History, Recipe, fit
from .molecule_graphs import ELEMENTS, Graphs, graphs_of
from .property_model import VARIANTS, PropertyModel
from .qm9_dataset import Dataset, split
from .qm9_targets import Target, element_energies, find_target

GRAPHS = ("covalent", "radius")
AT_ONCE = 500  # molecules of an evaluation
RECIPE = Recipe(batch_size=32, learning_rate=0.005, averaging=200, patience=1000)


@dataclass(frozen=True)
class Study:
    """What to train on what.

    Attributes:
        target: name of a property.
        variant: what the kernels are, and what they are told.
        group: symmetry of the network.
        graph: "covalent" or "radius": which atoms are neighbours.
        cutoff: of a radius graph, Å.
        epochs: of the training.
        seed: of the split, the weights and the order of the data.
        n_train, n_valid: molecules; None: as many as of QM9, or the same part of fewer. All others
            are for the test.
        channels: copies of each irrep in the features.
        order: their highest frequency.
        convolutions: number of them.
        kernel_fields: copies of each irrep inside the kernels.
        kernel_layers: of implicit kernels.

    Raises:
        ValueError: something unknown, a number out of its range, or escnn's kernel without escnn.
    """

    target: str = "homo"
    variant: str = "bonds+atoms"
    group: str = "O(3)"
    graph: str = "covalent"
    cutoff: float = 4.0
    epochs: int = 30
    seed: int = 0
    n_train: int | None = None
    n_valid: int | None = None
    channels: int = 16
    order: int = 1
    convolutions: int = 3
    kernel_fields: int = 4
    kernel_layers: int = 2

    def __post_init__(self) -> None:
        group = SymmetryGroup(self.group)
        find_target(self.target)
        for name, known in (("variant", tuple(VARIANTS)), ("graph", GRAPHS)):
            if getattr(self, name) not in known:
                raise ValueError(
                    f"unknown {name} {getattr(self, name)!r}; expected one of {', '.join(known)}"
                )
        if VARIANTS[self.variant].kernel == "escnn":
            escnn_space(group, self.order)
        if not (np.isfinite(self.cutoff) and self.cutoff > 0):
            raise ValueError(f"cutoff must be finite and above 0 Å; got {self.cutoff}")
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more; got {self.seed}")
        lowest = {"epochs": 1, "channels": 1, "order": 0, "convolutions": 1, "kernel_fields": 1}
        for name, least in (lowest | {"kernel_layers": 2}).items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be {least} or more; got {getattr(self, name)}")


@dataclass(frozen=True, eq=False)
class Scaling:
    """Between a property in its unit and the numbers of order one that are learned.

    Attributes:
        energies: of the elements, zero where they are not subtracted [5].
        mean, deviation: of what is left, over the training set.
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
        left = values - counts @ energies
        if not left.std() > 0:
            raise ValueError(
                f"all {len(values)} training molecules have the same {target.column}; expected "
                "something to learn"
            )
        return cls(energies, float(left.mean()), float(left.std()))

    def standardise(self, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Values in their unit [B] -> of order one [B]."""
        return (values - counts @ self.energies - self.mean) / self.deviation

    def restore(self, counts: np.ndarray, standardised: np.ndarray) -> np.ndarray:
        """The other way round."""
        return standardised * self.deviation + self.mean + counts @ self.energies


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came out.

    Attributes:
        model: the trained model, in float32.
        scaling: from what it predicts to the property in its unit.
        history: of the training.
        result: what is reported; it can be written as JSON.
    """

    model: PropertyModel
    scaling: Scaling
    history: History
    result: dict[str, Any]


def run(
    study: Study,
    dataset: Dataset,
    recipe: Recipe = RECIPE,
    *,
    device: str = "cpu",
    progress: bool = False,
) -> Outcome:
    """Trains and tests.

    Args:
        study: what to train.
        dataset: molecules with the property.
        recipe: how to train; its epochs are those of the study.
        device: where to train.
        progress: whether to show a bar.

    Raises:
        ValueError: settings that cannot be used with these molecules.
    """
    target = find_target(study.target)
    parts = split(len(dataset), study.seed, study.n_train, study.n_valid)
    values = dataset.values(study.target)
    if VARIANTS[study.variant].bonds and any(m.bonds is None for m in dataset.molecules):
        raise ValueError(
            f"the kernels of {study.variant} see bonds, but of {dataset.name} bonds are not known; "
            "take gdb9.sdf, or the variant implicit"
        )
    graphs = graphs_of(dataset.molecules, study.cutoff if study.graph == "radius" else None)
    counts = _element_counts(graphs)
    scaling = Scaling.of(target, counts[parts[0]], values[parts[0]])
    wanted = torch.from_numpy(scaling.standardise(counts, values)).to(device, torch.float32)
    graphs = graphs.to(device, torch.float32)
    train, valid, test = (
        (graphs.select(torch.from_numpy(part).to(device)), wanted[part]) for part in parts
    )
    model = build(study, train[0]).to(device)

    def loss(model: PropertyModel, samples: Tensor) -> Tensor:
        samples = samples.to(device)
        return (model(train[0].select(samples)) - train[1][samples]).abs().mean()

    history = fit(
        model,
        len(train[0]),
        loss,
        lambda model: mean_absolute_error(model, *valid),
        replace(recipe, epochs=study.epochs),
        seed=study.seed,
        progress=f"{study.target}, {study.variant}" if progress else None,
    )
    unit = scaling.deviation * target.error_factor
    result = {
        **asdict(study),
        "data": dataset.name,
        "n_molecules": len(dataset),
        "n_train": len(train[0]),
        "n_valid": len(valid[0]),
        "n_test": len(test[0]),
        "unit": target.error_unit,
        "test_mae": unit * mean_absolute_error(model, *test),
        "valid_mae": unit * mean_absolute_error(model, *valid),
        "median_mae": unit * float((test[1] - wanted[parts[0]].median()).abs().mean()),
        "n_parameters": model.n_parameters,
        "seconds": history.seconds,
        "invariance_error": invariance_error(model, test[0]),
    }
    return Outcome(model, scaling, history, result)


def build(study: Study, graphs: Graphs) -> PropertyModel:
    """The model of a study, for molecules like these, in float32."""
    extensive = find_target(study.target).extensive
    with torch.random.fork_rng([]):
        torch.manual_seed(study.seed)
        return PropertyModel(
            VARIANTS[study.variant],
            SymmetryGroup(study.group),
            channels=study.channels,
            order=study.order,
            convolutions=study.convolutions,
            kernel_fields=study.kernel_fields,
            kernel_layers=study.kernel_layers,
            cutoff=study.cutoff if study.graph == "radius" else None,
            neighbours=max(1.0, int(graphs.n_edges.sum()) / int(graphs.n_atoms.sum())),
            size=float(graphs.n_atoms.double().mean()) if extensive else None,
        )


@torch.no_grad()
def predict(model: PropertyModel, graphs: Graphs) -> Tensor:
    """What the model says of any number of molecules [B]."""
    numbers = torch.arange(len(graphs), device=graphs.n_atoms.device)
    return torch.cat([model(graphs.select(some)) for some in numbers.split(AT_ONCE)])


def mean_absolute_error(model: PropertyModel, graphs: Graphs, wanted: Tensor) -> float:
    """Of the standardised property [B]."""
    return float((predict(model, graphs) - wanted).abs().mean())


def invariance_error(
    model: PropertyModel, graphs: Graphs, n_molecules: int = 32, n_elements: int = 8
) -> float:
    """max |f(g x) - f(x)| / max |f(x)| over some of the molecules and elements of the group."""
    some = torch.arange(min(n_molecules, len(graphs)), device=graphs.n_atoms.device)
    graphs = graphs.select(some)
    expected = predict(model, graphs)
    worst = 0.0
    for g in model.group.sample(n_elements, seed=0).to(graphs.positions):
        worst = max(worst, float((predict(model, graphs.turned(g)) - expected).abs().max()))
    return worst / float(expected.abs().max())


def _element_counts(graphs: Graphs) -> np.ndarray:
    """Atoms of each element in each molecule [B, 5]."""
    places = graphs.batch * len(ELEMENTS) + graphs.species
    counts = torch.bincount(places, minlength=len(graphs) * len(ELEMENTS))
    return counts.view(len(graphs), len(ELEMENTS)).numpy()
