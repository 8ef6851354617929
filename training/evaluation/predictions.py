"""Predictions of one or several force fields for structures."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch

from sikff.forcefield import ForceField, Prediction
from sikff.forcefield.committee import check_committee, graph_settings

from ..data.batches import Batches, Sample
from ..data.samples import make_samples
from ..data.structures import Structures


def committee(model: ForceField | Sequence[ForceField]) -> list[ForceField]:
    """Returns the models of a committee; one model is a committee of one.

    Raises:
        ValueError: if they do not describe the same thing.
    """
    models = [model] if isinstance(model, ForceField) else list(model)
    check_committee(models)
    return models


def samples_for(
    models: Sequence[ForceField], structures: Structures, names: Sequence[str] = ()
) -> list[list[Sample]]:
    """The samples of each model (:func:`make_samples`); models that read the same graphs share one
    list.

    Raises:
        ValueError: naming a structure that a model does not allow.
    """
    shared: dict[tuple[object, ...], list[Sample]] = {}
    samples = []
    for model in models:
        config = model.config
        environment = config.environment.without_limits()
        key = (graph_settings(model), environment, config.axis, config.group)
        if key not in shared:
            shared[key] = make_samples(structures, config, names)
        samples.append(shared[key])
    return samples


def predict_samples(
    models: Sequence[ForceField],
    samples: Sequence[Sequence[Sample]],
    batch_size: int,
    forces: bool = True,
    stress: bool = False,
    on_batch: Callable[[int], Any] = lambda structures: None,
) -> tuple[list[Prediction], float]:
    """Predicts energies and their derivatives, batch by batch.

    Emits each extrapolation warning once.

    Args:
        models: on the device where they run; they stay as they are.
        samples: of each model (:func:`samples_for`); at least one.
        on_batch: called with the number of structures in each batch that is done.

    Returns:
        The prediction of each model for all structures, on the CPU, and the time (s) that the
        models took, without the neighbour search.
    """
    device = next(models[0].parameters()).device
    frozen = [_frozen(model) for model in models]
    distinct = {id(each): Batches(each, batch_size) for each in samples}
    warned: set[str] = set()
    results: list[list[Prediction]] = [[] for _ in models]
    seconds = 0.0
    for batches in zip(*distinct.values(), strict=True):
        graphs = {key: batch.graph.to(device) for key, batch in zip(distinct, batches, strict=True)}
        runs = [(model, graphs[id(each)]) for model, each in zip(frozen, samples, strict=True)]
        for model, graph in runs:
            for kind, words in model.beyond_training(graph).items():
                if kind not in warned:
                    warned.add(kind)
                    warnings.warn(words, stacklevel=3)
        start = time.perf_counter()
        predictions = [model(graph, forces, stress) for model, graph in runs]
        for prediction in predictions:
            prediction.energy.sum().item()  # waits for the device
        seconds += time.perf_counter() - start
        for result, prediction in zip(results, predictions, strict=True):
            result.append(prediction)
        on_batch(batches[0].graph.n_graphs)
    return [_joined(result) for result in results], seconds


def _frozen(model: ForceField) -> ForceField:
    """The model itself if its weights are constants already, else a frozen copy."""
    if model.training or any(weight.requires_grad for weight in model.parameters()):
        return copy.deepcopy(model).eval().freeze()
    return model


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    """The predictions of successive batches as one, on the CPU."""
    columns = zip(*predictions, strict=True)
    return Prediction._make(None if c[0] is None else torch.cat(c).cpu() for c in columns)
