"""One small training loop, the same for every model of every study."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..console import progress_bar
from ..fitting.schedule import cosine_factor, warm_up_factor

M = TypeVar("M", bound=nn.Module)

FEWEST_STEPS = 8  # in an epoch


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW, a warm-up and a cosine, averaged weights.

    Attributes:
        epochs: passes over the samples, at most.
        batch_size: samples in a step; an eighth of all, if that is less.
        learning_rate: its peak.
        weight_decay: of AdamW.
        warm_up: part of the run in which the learning rate rises.
        clip: largest norm of the gradient of all weights.
        averaging: steps over which weights are averaged; a tenth of the run, if that is less.
        patience: epochs without a better validation loss after which the run ends.

    Raises:
        ValueError: a number out of its range.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 0.02
    weight_decay: float = 1e-3
    warm_up: float = 0.05
    clip: float = 1.0
    averaging: int = 100
    patience: int = 25

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "averaging", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("learning_rate", "clip"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be finite and above 0; got {getattr(self, name)}")


@dataclass(frozen=True)
class History:
    """What happened, epoch by epoch.

    Attributes:
        train: mean loss of the steps.
        valid: validation loss of the averaged weights.
        best_epoch: the epoch whose weights were kept, counted from 0; -1: those before it all.
        seconds: that the whole run took.
    """

    train: list[float]
    valid: list[float]
    best_epoch: int
    seconds: float


def fit(
    model: M,
    n_samples: int,
    loss: Callable[[M, Tensor], Tensor],
    validate: Callable[[M], float],
    recipe: Recipe,
    *,
    seed: int = 0,
    progress: str | None = None,
) -> History:
    """Trains a model in place; it ends with the averaged weights that were best on validation.

    If none was better than the weights it began with, it keeps those.

    Args:
        model: its weights that require gradients are trained, if there are any.
        n_samples: number of training samples.
        loss: of the model on the samples with the given numbers, an integer tensor on the CPU.
        validate: validation loss; called without gradients.
        recipe: the numbers of the training.
        seed: of the order of samples and of all that is random in the model.
        progress: name of the progress bar; None: no bar.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    start = time.perf_counter()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    if not weights:
        return History([], [], -1, time.perf_counter() - start)
    batch_size = min(recipe.batch_size, math.ceil(n_samples / FEWEST_STEPS))
    steps = math.ceil(n_samples / batch_size)
    memory = max(1.0, min(recipe.averaging, steps * recipe.epochs / 10))
    averaged = copy.deepcopy(model)
    pairs = zip(averaged.parameters(), model.parameters(), strict=True)
    trained = [(mean, new) for mean, new in pairs if new.requires_grad]
    optimiser = torch.optim.AdamW(
        weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )

    def step(samples: Tensor, epoch: int, number: int) -> float:
        progress = (epoch + (number + 0.5) / steps) / recipe.epochs
        factor = warm_up_factor(progress, recipe.warm_up) * cosine_factor(progress, recipe.warm_up)
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * factor
        optimiser.zero_grad()
        value = loss(model, samples)
        value.backward()
        nn.utils.clip_grad_norm_(weights, recipe.clip)
        optimiser.step()
        with torch.no_grad():
            for mean, new in trained:
                mean.lerp_(new, 1 / memory if epoch or number else 1.0)
        return float(value.detach())

    train, valid, best_epoch = [], [], -1
    lowest, best = _validated(model, validate), _copy(model)
    order = torch.Generator().manual_seed(seed)
    devices = [weight.device for weight in weights if weight.is_cuda][:1]
    silent = progress is None
    epochs = progress_bar(range(recipe.epochs), desc=progress, unit="epoch", disable=silent)
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for epoch in epochs:
            model.train()
            losses = [
                step(samples, epoch, number)
                for number, samples in enumerate(
                    torch.randperm(n_samples, generator=order).split(batch_size)
                )
            ]
            train.append(sum(losses) / steps)
            if not math.isfinite(train[-1]):
                raise FloatingPointError(
                    f"the loss became {train[-1]} in epoch {epoch}; take a lower learning rate "
                    f"than {recipe.learning_rate}"
                )
            valid.append(_validated(averaged, validate))
            if valid[-1] < lowest:
                lowest, best, best_epoch = valid[-1], _copy(averaged), epoch
            epochs.set_postfix(train=f"{train[-1]:.2e}", valid=f"{valid[-1]:.2e}")
            if epoch - best_epoch >= recipe.patience:
                break
    model.load_state_dict(best)
    return History(train, valid, best_epoch, time.perf_counter() - start)


@torch.no_grad()
def _validated(model: M, validate: Callable[[M], float]) -> float:
    model.eval()
    return validate(model)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in model.state_dict().items()}
