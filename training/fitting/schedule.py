"""The learning rate, and when a run has learnt enough."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

SAME = 0.02  # of a validation loss: some hundred structures do not tell smaller differences


def warm_up_factor(progress: float, warm_up: float) -> float:
    """Rises in a line from 0 to 1 while the part of the run that is done is below `warm_up`."""
    return progress / warm_up if progress < warm_up else 1.0


def cosine_factor(progress: float, warm_up: float) -> float:
    """Falls from 1 at `warm_up` to 0 at the end of the run, along a cosine."""
    done = (progress - warm_up) / (1 - warm_up)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, max(0.0, done))))


@dataclass
class Patience:
    """Counts the epochs since the last improvement.

    Attributes:
        best: lowest validation loss so far.
        waited: epochs since then.
        factor: of the learning rate; it shrinks on every plateau.
    """

    best: float = math.inf
    waited: int = 0
    factor: float = 1.0

    def take(self, loss: float) -> None:
        """Takes note of the validation loss of an epoch."""
        if loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1

    def is_as_good(self, loss: float) -> bool:
        """Whether the latest loss is as good as the lowest, as far as can be told."""
        return loss <= (1 + SAME) * self.best

    def shrink(self, patience: int, factor: float) -> None:
        """Lowers the learning rate if the last improvement is so many epochs, or twice, ... ago."""
        if self.waited and self.waited % patience == 0:
            self.factor *= factor

    def state(self) -> dict[str, float]:
        """All of it, for a checkpoint."""
        return asdict(self)
