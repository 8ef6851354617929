"""The model at the start of a run: random weights, or those of a trained model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.forcefield.corrected_model import build_corrected
from sikff.forcefield.force_field import build_restricted
from sikff.graph import AtomicGraph
from sikff.plain_torch import default_dtype

from ..config import TrainConfig
from ..data.batches import Sample, collate, with_energy, without_edges
from ..data.charging import charging_energies
from ..data.data_statistics import atomic_energies
from ..data.dataset import Dataset
from ..data.model_settings import trained_model
from ..evaluation.evaluate import evaluate_samples
from .checkpoint import NAME, read_checkpoint
from .init_scales import set_scales
from .rescale import keep_predictions

SAMPLED = 32  # structures whose errors are computed before training
LARGE_SHIFT = 0.1  # eV per atom


def initial_model(
    config: TrainConfig, model: ForceFieldConfig, graphs: Sequence[AtomicGraph]
) -> ForceField:
    """The model that the run trains, in the dtype of the run.

    Args:
        config: the run; its seed determines all weights that do not come from a file.
        model: the complete configuration of the model.
        graphs: of the training set; random weights are rescaled on some of them.

    Raises:
        ValueError: if the vacuum network is to be frozen but there is none, or all
            layers.
    """
    with torch.random.fork_rng(devices=[]), default_dtype(torch.float32):  # draws depend on it
        torch.manual_seed(config.seed)
        if config.start is None:
            made = ForceField(model)
            random = [network for network in (made.vacuum, made.network) if network is not None]
        else:
            trained = trained_model(config, config.start.model, model.elements)
            adds = model.vacuum_group != trained.config.vacuum_group
            made = build_corrected(trained, model) if adds else build_restricted(trained, model)
            if config.start.rescale:
                keep_predictions(made, trained.config)
            random = [made.network] if adds else []
    if config.start is not None and config.start.freeze_vacuum:
        if made.vacuum is None:
            raise ValueError(
                "start.freeze_vacuum is true, but the model has no vacuum network; give "
                "model.vacuum_group, or remove it"
            )
        made.vacuum.requires_grad_(False)
    if config.start is not None and config.start.freeze_layers:
        _freeze_layers(made, config.start.freeze_layers)
    made = made.to(getattr(torch, config.dtype)).train()
    set_scales(made, random, graphs)
    return made


def _freeze_layers(model: ForceField, count: int) -> None:
    """Freezes the embedding of the species and the first interaction layers with their readouts."""
    if count >= model.config.layers:
        raise ValueError(
            f"start.freeze_layers is {count}, but the model has {model.config.layers} layers; "
            "expected fewer, so that there is one to train"
        )
    for network in filter(None, (model.network, model.vacuum)):
        network.embedding.requires_grad_(False)
        frozen = [network.start, *network.interactions[:count], *network.readouts[:count]]
        for module in frozen:
            module.requires_grad_(False)


def continue_optimiser(
    config: TrainConfig, model: ForceField, optimiser: torch.optim.Optimizer
) -> None:
    """Gives an optimiser the state of that of the run to fine-tune, if ``start.optimiser`` is set.

    Raises:
        FileNotFoundError, ValueError: without a checkpoint beside the model of ``start``, or if it
            is of another network or optimiser.
    """
    if config.start is None or not config.start.optimiser:
        return
    path = config.start.model.parent / NAME
    if not path.is_file():
        raise FileNotFoundError(
            f"start.optimiser is true, but there is no {str(path)!r}; expected the checkpoint of "
            "the run beside its model, or start.optimiser: false"
        )
    loop, now = read_checkpoint(path.parent)["loop"], optimiser.state_dict()
    before = loop["optimiser"]
    same = before["param_groups"][0].keys() == now["param_groups"][0].keys() and all(
        name in loop["model"] and loop["model"][name].shape == weight.shape
        for name, weight in model.named_parameters()
    )
    if not same:
        raise ValueError(
            f"{str(path)!r} has the state of another optimiser or network; expected those of this "
            "run, or start.optimiser: false"
        )
    optimiser.load_state_dict({"state": before["state"], "param_groups": now["param_groups"]})


@torch.no_grad()
def set_charging_energies(model: ForceField, samples: Sequence[Sample]) -> None:
    """Sets energies linear in the shares of charge and spin to those of the training structures.

    All elements get the same. Trained ones stay, and energies of neutral singlets do not change.
    """
    if model.shares is None or model.share_energy is None or model.share_energy.any():
        return
    if samples[0].targets.energy is None:
        return
    pairs = [
        (without_edges(each.graph), float(cast(Tensor, each.targets.energy))) for each in samples
    ]
    graphs, labels = [graph for graph, _ in pairs], np.array([energy for _, energy in pairs])
    found = charging_energies(graphs, labels, model.shares.totals) / model.config.energy_scale
    model.share_energy.copy_(torch.from_numpy(found.repeat(len(model.elements))))


def errors_of_replay(model: ForceField, dataset: Dataset, when: str) -> list[str]:
    """How far off the structures of ``data.replay`` are, in a line."""
    if not dataset.replay:
        return []
    training = model.training
    metrics = evaluate_samples([model.eval()], [dataset.replay]).metrics
    model.train(training)
    names = {
        "energy_mae_mev_per_atom": "meV/atom",
        "force_mae_mev_per_a": "meV/Å",
        "stress_mae_mev_per_a3": "meV/Å³",
    }
    errors = [f"{metrics[name]:.4g} {unit}" for name, unit in names.items() if name in metrics]
    return [f"structures of data.replay {when} training: {', '.join(errors)} (MAE)"]


@torch.no_grad()
def errors_at_start(model: ForceField, samples: Sequence[Sample]) -> list[str]:
    """Reports the energy error of a trained model before fine-tuning, and E0s that lower it.

    Args:
        samples: training structures, of which some with an energy are evaluated.
    """
    labelled = with_energy(samples)
    if not labelled:
        return []
    graph, targets = collate([samples[k] for k in labelled[:: -(-len(labelled) // SAMPLED)]])
    training = model.training
    off = (targets.energy - model.eval()(graph, forces=False).energy.cpu()).numpy()
    model.train(training)
    pairs = graph.batch * len(model.elements) + graph.species
    shape = graph.n_graphs, len(model.elements)
    counts = torch.bincount(pairs, minlength=math.prod(shape)).reshape(shape).double().numpy()
    per_atom = off / counts.sum(1)
    lines = [f"before training its energies are off by {1000 * abs(per_atom).mean():.4g} meV/atom"]
    if abs(np.median(per_atom)) > LARGE_SHIFT:
        numbers = counts.sum(axis=0).tolist()
        absent = {e: 0.0 for e, n in zip(model.elements, numbers, strict=True) if not n}
        shift, unique = atomic_energies(counts, list(off), model.elements, absent)
        known = model.config.atomic_energies
        text = ", ".join(f"{e}: {known.get(e, 0.0) + by:.4f}" for e, by in shift.items())
        doubt = "" if unique else ", in one of many ways, as the compositions do not tell"
        lines.append(f"note: model.atomic_energies: {{{text}}} would shift it to the data{doubt}")
    return lines
