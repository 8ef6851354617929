"""Predictions of one or several force fields for structures, batch by batch."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sikff.calculators.models import check_committee
from sikff.forcefield import ForceField, Prediction
from sikff.graph import AtomicGraph

from ..data.batches import Batches, Sample
from ..data.samples import make_samples
from ..data.structures import Structures
from ..data.targets import Targets


class BatchPrediction(NamedTuple):
    """The predictions of a committee for a batch of structures, and their labels."""

    predictions: list[Prediction]
    graph: AtomicGraph  # that of the first model
    targets: Targets
    seconds: float  # of the models, without the neighbour search

    @property
    def mean(self) -> Prediction:
        """The mean over the models."""
        columns = zip(*self.predictions, strict=True)
        return Prediction._make(
            None if column[0] is None else torch.stack(column).mean(0) for column in columns
        )

    def deviation(self, name: str) -> Tensor:
        """Sample standard deviation of "energy" or "forces" over at least two models."""
        return torch.stack([getattr(each, name) for each in self.predictions]).std(0)


def committee(model: ForceField | Sequence[ForceField]) -> list[ForceField]:
    """The models of a committee, of which one model is the smallest.

    Raises:
        ValueError: if they do not describe the same thing.
    """
    models = [model] if isinstance(model, ForceField) else list(model)
    check_committee(models)
    return models


def samples_for(
    models: Sequence[ForceField], structures: Structures, names: Sequence[str] = ()
) -> list[list[Sample]]:
    """The samples of each model (:func:`make_samples`); models that read the same graphs share
    theirs.

    Raises:
        ValueError: naming a structure that a model does not allow.
    """
    shared: dict[tuple[object, ...], list[Sample]] = {}
    samples = []
    for config in (model.config for model in models):
        environment = config.environment.without_limits()
        key = (config.cutoff, config.elements, environment, config.axis, config.group)
        if key not in shared:
            shared[key] = make_samples(structures, config, names)
        samples.append(shared[key])
    return samples


def predict_batches(
    models: Sequence[ForceField],
    samples: Sequence[Sequence[Sample]],
    batch_size: int,
    forces: bool = True,
    stress: bool = False,
) -> Iterator[BatchPrediction]:
    """Predicts energies and their derivatives with frozen copies of the models.

    Emits each extrapolation warning once.

    Args:
        models: on the device where they run; they stay as they are.
        samples: of each model (:func:`samples_for`).
    """
    device = next(models[0].parameters()).device
    frozen = [copy.deepcopy(model).eval().freeze() for model in models]
    distinct = {id(each): Batches(each, batch_size) for each in samples}
    warned: set[str] = set()
    for batches in zip(*distinct.values(), strict=True):
        on_device = (batch.graph.to(device) for batch in batches)
        graphs = dict(zip(distinct, on_device, strict=True))
        graph_of_model = [graphs[id(each)] for each in samples]
        for model, graph in zip(frozen, graph_of_model, strict=True):
            for kind, words in model.beyond_training(graph).items():
                if kind not in warned:
                    warned.add(kind)
                    warnings.warn(words, stacklevel=3)
        targets = Targets(*(None if t is None else t.to(device) for t in batches[0].targets))
        start = time.perf_counter()
        predictions = [
            model(graph, forces, stress)
            for model, graph in zip(frozen, graph_of_model, strict=True)
        ]
        for prediction in predictions:
            prediction.energy.sum().item()  # waits for the device
        seconds = time.perf_counter() - start
        yield BatchPrediction(predictions, graph_of_model[0], targets, seconds)
