"""Training without files: structures, models and the state of the optimiser stay in memory."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import ase
import torch

from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.plain_torch import plain_torch

from ..config import TrainConfig
from ..data.batches import Graphs
from ..data.dataset import Dataset, Given, load_dataset
from ..data.model_settings import with_network_of
from .batch_size import with_batch_size
from .finetune import initial_model, set_charging_energies
from .rescale import keep_predictions
from .static_training import choose_capacity
from .trainer import Run


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes:
        model: in evaluation mode, on the CPU; its weights require no gradient.
        optimiser: state, for a training that continues.
        loss: of the last epoch, or of the last validation.
    """

    model: ForceField
    optimiser: dict[str, Any]
    loss: float


@plain_torch()
def train_in_memory(
    config: TrainConfig,
    structures: Sequence[ase.Atoms],
    validation: Sequence[ase.Atoms] | None = None,
    before: Trained | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Trains a force field and writes no files.

    A warm start takes weights and E0s of `before`, and the state of its optimiser; energy scale,
    average neighbours and ranges are those of the present data, without a change of predictions.

    Args:
        config: the run; its output is not used, and it takes one process.
        structures: with labels.
        validation: with labels; None: as ``data.valid`` says, of `structures`.
        before: an earlier training of the same network; None: random weights.
        report: called with each line for the user.

    Raises:
        ValueError: for data that the run cannot use, or another network than before.
        FloatingPointError: if the loss is no longer finite.
    """
    if before is not None:
        config = with_network_of(config, dict(before.model.config))
        energies = dict(before.model.config.atomic_energies)
        model_keys = {**config.model, "atomic_energies": energies}
        config = config.model_copy(update={"model": model_keys})
    with warnings.catch_warnings():
        if before is not None:
            warnings.simplefilter("ignore")  # said before
        dataset = load_dataset(config, Given.of(structures, validation))
    for line in dataset.report:
        report(line)
    config = with_batch_size(config, dataset, report)
    model = _model(config, dataset, before)
    capacity = choose_capacity(config, dataset, model, report)
    run = Run(config, model, dataset, capacity=capacity, in_memory=True)
    if before is not None and before.optimiser:
        groups = run.loop.optimiser.state_dict()["param_groups"]
        state = copy.deepcopy(before.optimiser)  # optimisers change theirs in place
        run.loop.optimiser.load_state_dict({"state": state, "param_groups": groups})
    run.train()
    best = run.loop.averaged if run.best is None else run.best
    best = best.cpu().eval().requires_grad_(False)
    return Trained(best, run.loop.optimiser.state_dict()["state"], run.loss)


def _model(config: TrainConfig, dataset: Dataset, before: Trained | None) -> ForceField:
    """The model to train: with weights of an earlier training, or random ones."""
    if before is None:
        model = initial_model(config, dataset.model, Graphs(dataset.train))
        set_charging_energies(model, dataset.train)
        return model
    return with_weights_of(before.model, dataset.model).train()


def with_weights_of(trained: ForceField, config: ForceFieldConfig) -> ForceField:
    """A model of a configuration that differs in scales and ranges, with the same predictions.

    Raises:
        ValueError: if its network is another one.
    """
    with torch.random.fork_rng(devices=[]):
        model = ForceField(config)
    model = model.to(trained.dtype)
    old, new = dict(trained.named_parameters()), dict(model.named_parameters())
    if {n: w.shape for n, w in old.items()} != {n: w.shape for n, w in new.items()}:
        raise ValueError(
            "the network has other weights than that of the earlier training; expected the same "
            "elements and the same model section"
        )
    with torch.no_grad():
        for name, weight in new.items():
            weight.copy_(old[name])
    keep_predictions(model, trained.config)
    model.provenance = trained.provenance
    return model
