"""The optimisers that a run may name."""

from __future__ import annotations

import torch

from sikff.forcefield import ForceField

from ..config import TrainConfig
from .soap import SOAP


def make_optimiser(config: TrainConfig, model: ForceField) -> torch.optim.Optimizer:
    """The optimiser of the weights that require gradients; vectors do not decay."""
    if config.optimiser == "soap":
        return SOAP(model, config.lr, config.weight_decay)
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    used = [group for group in groups if group["params"]]
    return torch.optim.AdamW(used, lr=config.lr, fused=True)
