"""How many weights a model has, and how wide it must be to have as many as its rivals."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import nn

W = TypeVar("W", int, float)


def count_weights(model: nn.Module) -> int:
    """The number of weights, frozen ones included."""
    return sum(weight.numel() for weight in model.parameters())


def closest_width(n_weights: int, widths: Sequence[W], size: Callable[[W], float]) -> W:
    """The width whose model has the number of weights that is closest to a given one.

    Args:
        n_weights: number of weights to come near to.
        widths: to choose from, in rising order.
        size: number of weights of a model of a width; it rises with the width.
    """
    above = bisect_left(widths, float(n_weights), key=size, hi=len(widths) - 1)
    return min(
        widths[max(0, above - 1) : above + 1], key=lambda width: abs(size(width) - n_weights)
    )
