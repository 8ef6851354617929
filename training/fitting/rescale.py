"""Other scales for a trained model, with the same predictions."""

from __future__ import annotations

import math
from typing import Any, cast

import torch

from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.nn import MLP


@torch.no_grad()
def keep_predictions(model: ForceField, before: ForceFieldConfig) -> None:
    """Rescales weights so that a model predicts with its scales what it did with earlier ones.

    Energies are linear in the last layers of the readouts, messages in the contractions of the
    kernels, so energy_scale and average_neighbours are absorbed exactly.

    Args:
        model: with weights that were trained with the scales of `before`; changed in place.
        before: the configuration they were trained with.
    """
    config = model.config
    energies = before.energy_scale / config.energy_scale
    messages = math.sqrt(config.average_neighbours / before.average_neighbours)
    for network in (model.vacuum, model.network):
        if network is None:
            continue
        for readout in network.readouts:
            _multiply_output(cast(MLP, readout), energies)
        for layer in network.interactions:
            cast(Any, layer).conv.kernel.contraction.weight.mul_(messages)
    if model.one_body is not None:
        _multiply_output(model.one_body, energies)
    if model.share_energy is not None:
        model.share_energy.mul_(energies)


def _multiply_output(mlp: MLP, factor: float) -> None:
    mlp.weights[-1].mul_(factor)
    if mlp.biases is not None:
        mlp.biases[-1].mul_(factor)
