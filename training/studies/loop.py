"""The training of all studies: AdamW, warm-up and cosine, averaged weights."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..fitting.loop import Limits, Loop
from ..fitting.schedule import Patience, cosine_factor, warm_up_factor

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
        warm_up: fraction of the run in which the learning rate rises.
        clip: largest norm of the gradient of all weights.
        averaging: steps over which weights are averaged; a tenth of the run, if that is less.
        patience: epochs without a lower validation loss after which the run ends.

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
    """Losses epoch by epoch.

    Attributes:
        train: mean loss of the steps.
        valid: validation loss of the averaged weights.
        best_epoch: the epoch whose weights the model has, counted from 0; -1: the initial ones.
        seconds: duration of the run.
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
    """Trains a model in place; it ends with the averaged weights of the lowest validation loss.

    If none is lower than that of the initial weights, it keeps those.

    Args:
        model: its weights that require gradients are trained, if there are any.
        n_samples: number of training samples.
        loss: of the model on the samples with the given indices, an integer tensor on the CPU.
        validate: validation loss; called without gradients.
        seed: of the order of samples and of the random numbers in the model.
        progress: title of the progress bar; None: no bar.

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
    order = torch.Generator().manual_seed(seed)

    def learning_rate(progress: float) -> float:
        middle = progress + 0.5 / (steps * recipe.epochs)  # of the step
        factor = warm_up_factor(middle, recipe.warm_up) * cosine_factor(middle, recipe.warm_up)
        return recipe.learning_rate * factor

    def batches(epoch: int) -> Sequence[Tensor]:
        return torch.randperm(n_samples, generator=order).split(batch_size)

    loop = Loop(
        model,
        torch.optim.AdamW(
            weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        ),
        learning_rate,
        lambda step: 1.0 if step == 1 else 1 / memory,
        Limits(epochs=recipe.epochs, patience=recipe.patience),
        clip=recipe.clip,
        advice=f"take a lower learning rate than {recipe.learning_rate:g}",
        bar=progress,
    )
    train, valid, best_epoch = [], [], -1
    with torch.no_grad():
        loop.patience, best = Patience(validate(model.eval())), _copy(model)
    devices = [weight.device for weight in weights if weight.is_cuda][:1]
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        for train_loss in loop.epochs(batches, steps, lambda samples: loss(model, samples)):
            train.append(train_loss)
            with torch.no_grad():
                valid.append(validate(loop.averaged))
            if valid[-1] < loop.patience.best:
                best, best_epoch = _copy(loop.averaged), loop.epoch
            loop.patience.update(valid[-1])
            loop.shown = {"train": f"{train_loss:.2e}", "valid": f"{valid[-1]:.2e}"}
    model.load_state_dict(best)
    return History(train, valid, best_epoch, time.perf_counter() - start)


def _copy(model: nn.Module) -> dict[str, Tensor]:
    return {name: values.clone() for name, values in model.state_dict().items()}
