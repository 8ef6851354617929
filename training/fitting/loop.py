"""The training loop of force fields and studies: steps, averaged weights, limits, exact resume."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from ..console import progress_bar
from .processes import ALONE, Processes
from .schedule import Patience

B = TypeVar("B")  # a batch
M = TypeVar("M", bound=nn.Module)

SHOWN = 8  # names listed in an error
BAR = "{desc}{percentage:3.0f}% |{bar}| {elapsed} < {remaining}{postfix}"


@dataclass(frozen=True)
class Limits:
    """Where a training ends: at the first of its limits, of which None is none.

    Attributes:
        epochs: passes over the training set.
        minutes: of training and validation.
        patience: epochs since the lowest validation loss.
        steps: of the optimiser.
    """

    epochs: int | None = None
    minutes: float | None = None
    patience: int | None = None
    steps: int | None = None

    def progress(self, epochs: float, minutes: float, steps: int = 0) -> float:
        """Completed fraction of a training, of its epochs, steps or minutes, the largest."""
        pairs = ((epochs, self.epochs), (minutes, self.minutes), (steps, self.steps))
        return min(1.0, max(done / limit for done, limit in pairs if limit is not None))


class EMA(Generic[M]):
    """Running average of the trained weights of a model.

    Args:
        model: in training.
        weight: of the new weights in the average, by the number of steps so far.

    Attributes:
        model: a copy with the averaged weights, in evaluation mode.
    """

    def __init__(self, model: M, weight: Callable[[int], float]) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.weight = weight
        pairs = zip(self.model.parameters(), model.parameters(), strict=True)
        self._pairs = [(mean, new) for mean, new in pairs if new.requires_grad]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Adds the weights after a step, the first of which is 1."""
        weight = self.weight(step)
        for mean, new in self._pairs:
            mean.lerp_(new, weight)


class Loop(Generic[M]):
    """Trains a model epoch by epoch.

    With several processes each sees its part of every batch; gradients are averaged, and all
    agree on losses and time, so that none waits for another that has stopped.

    Args:
        model: its weights that require gradients are trained.
        optimiser: of these weights.
        rate: learning rate by the completed fraction of the training.
        averaging: weight of the new weights in their running average, by the number of steps.
        limits: where it ends.
        clip: largest norm of the gradient.
        advice: ends the message of a training that diverges.
        processes: that share the training.
        untimed: first steps that do not count in the minutes, such as those that compile.
        bar: title of the progress bar; None: no bar.

    Attributes:
        averaged: the model with averaged weights.
        epoch: number of the present or, after a resume, the next one, from 0.
        step: number of complete steps.
        minutes: spent, as all processes agree; an earlier part of a resumed training counts.
        patience: the caller tells it the validation loss of each epoch.
        shown: what the progress bar shows beside the epoch.
    """

    def __init__(
        self,
        model: M,
        optimiser: torch.optim.Optimizer,
        rate: Callable[[float], float],
        averaging: Callable[[int], float],
        limits: Limits,
        *,
        clip: float,
        advice: str,
        processes: Processes = ALONE,
        untimed: int = 0,
        bar: str | None = None,
    ) -> None:
        self.model, self.optimiser, self.rate, self.limits = model, optimiser, rate, limits
        self.clip, self.advice, self.processes, self.bar = clip, advice, processes, bar
        self.weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._ema = EMA(model, averaging)
        self.averaged = self._ema.model
        self.epoch, self.step, self.minutes = 0, 0, 0.0
        self.patience = Patience()
        self.shown: dict[str, str] = {}
        self._partial = 0.0  # fraction of the present epoch that is complete
        self._untimed = untimed
        self._spent, self._began = 0.0, time.monotonic()

    @property
    def progress(self) -> float:
        """Complete fraction of the training."""
        return self.limits.progress(self.epoch + self._partial, self.minutes, self.step)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return self.optimiser.param_groups[0]["lr"]

    def epochs(
        self,
        batches: Callable[[int], Iterable[B]],
        steps: int,
        loss: Callable[[B], Tensor],
        names: Callable[[B], Sequence[str]] = lambda batch: (),
    ) -> Iterator[float]:
        """Trains an epoch and yields its mean loss, until a limit is met.

        The caller validates `averaged` after each and tells `patience`.

        Args:
            batches: of the epoch with a number; their parts for this process.
            steps: number of batches in an epoch.
            loss: of the model on a batch; its mean over the processes is that of the whole batch.
            names: of the samples in a batch, for errors.

        Raises:
            FloatingPointError: if the loss or its gradient is not finite.
        """
        self._began = time.monotonic()
        with progress_bar(
            total=100.0,
            initial=100 * self.progress,
            desc=self.bar or None,
            disable=self.bar is None,
            bar_format=BAR,
        ) as bar:
            while not self._is_over():
                self.model.train()
                losses = []
                for number, batch in enumerate(batches(self.epoch), start=1):
                    losses.append(self._take_step(batch, loss, names))
                    self._partial = number / steps
                    bar.update(100 * self.progress - bar.n)
                    if self._is_out_of_time() or self._is_out_of_steps():
                        break
                yield sum(losses) / len(losses)
                bar.set_postfix({"epoch": self.epoch, **self.shown}, refresh=False)
                self.epoch, self._partial = self.epoch + 1, 0.0

    def read_clock(self) -> None:
        """Sets `minutes`, to the mean of what the clocks of the processes show."""
        self.minutes = sum(self.processes.gather(self._clock())) / self.processes.size

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to continue exactly with the next epoch: tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "epoch": self.epoch + 1,
            "step": self.step,
            "minutes": self._clock(),
            "patience": self.patience.state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues after the epoch after which :meth:`state_dict` was called.

        Args:
            state: with tensors on the device of the model.
        """
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.minutes = self._spent = state["minutes"]
        self.patience = Patience(**state["patience"])

    def check_finite(self, value: float, what: str, names: Sequence[str] = ()) -> None:
        """Raises FloatingPointError with the names of all processes if a value is not finite."""
        if math.isfinite(value):
            return
        samples = [name for part in self.processes.gather(tuple(names)) for name in part]
        more = f" and {len(samples) - SHOWN} more" if len(samples) > SHOWN else ""
        where = f", on {', '.join(samples[:SHOWN])}{more}" if samples else ""
        raise FloatingPointError(
            f"training diverged: the {what} is {value:g} in step {self.step} (epoch {self.epoch})"
            f"{where}; {self.advice}"
        )

    def _take_step(
        self, batch: B, loss: Callable[[B], Tensor], names: Callable[[B], Sequence[str]]
    ) -> float:
        """The loss before the step, of all processes."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(self.progress)
        self.optimiser.zero_grad()
        result = loss(batch)
        result.backward()
        if self._untimed:
            self._untimed, self._began = self._untimed - 1, time.monotonic()
        value = result.detach()
        minutes = torch.full_like(value, self._clock())
        if self.processes.size > 1:
            for weight in self.weights:  # those without a gradient may have one elsewhere
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            gradients = [weight.grad for weight in self.weights if weight.grad is not None]
            self.processes.average([value, minutes, *gradients])
        norm = nn.utils.clip_grad_norm_(self.weights, self.clip)
        # The only values that a step reads from the device, at once.
        loss_mean, size, self.minutes = torch.stack([value, norm.to(value), minutes]).tolist()
        self.check_finite(loss_mean, "loss", names(batch))
        self.check_finite(size, "gradient", names(batch))
        self.optimiser.step()
        self.step += 1
        self._ema.update(self.step)
        return loss_mean

    def _clock(self) -> float:
        """Minutes of the training until now."""
        return self._spent + (time.monotonic() - self._began) / 60

    def _is_out_of_time(self) -> bool:
        return self.limits.minutes is not None and self.minutes >= self.limits.minutes

    def _is_out_of_steps(self) -> bool:
        return self.limits.steps is not None and self.step >= self.limits.steps

    def _is_over(self) -> bool:
        limits = self.limits
        no_more_epochs = limits.epochs is not None and self.epoch >= limits.epochs
        no_patience = limits.patience is not None and self.patience.waited >= limits.patience
        over = no_more_epochs or no_patience
        return over or self._is_out_of_time() or self._is_out_of_steps()
