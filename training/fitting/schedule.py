"""The learning rate, and when a training has converged."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

SAME = 0.02  # relative difference of validation losses within their noise


def warm_up_factor(progress: float, warm_up: float) -> float:
    """Rises linearly from 0 to 1 while the completed fraction of the run is below `warm_up`."""
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

    def update(self, loss: float) -> None:
        """Counts an epoch with this validation loss."""
        if loss < self.best:
            self.best, self.waited = loss, 0
        else:
            self.waited += 1

    def is_within_noise(self, loss: float) -> bool:
        """Whether a loss is the lowest within noise."""
        return loss <= (1 + SAME) * self.best

    def reduce_on_plateau(self, patience: int, factor: float) -> None:
        """Lowers the learning rate after every `patience` epochs without improvement."""
        if self.waited and self.waited % patience == 0:
            self.factor *= factor

    def state(self) -> dict[str, float]:
        """All attributes, for a checkpoint."""
        return asdict(self)
