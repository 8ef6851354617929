"""Numbers of weights, and models whose width gives them a certain number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import nn

W = TypeVar("W", int, float)
M = TypeVar("M", bound=nn.Module)


def count_weights(model: nn.Module) -> int:
    """The number of weights, frozen ones included."""
    return sum(weight.numel() for weight in model.parameters())


def closest_width(n_weights: int, widths: Sequence[W], size: Callable[[W], float]) -> W:
    """The width whose model has the number of weights that is closest to a given one.

    Args:
        n_weights: the given number.
        widths: candidates in rising order.
        size: number of weights of a model of a width; it rises with the width.
    """
    above = bisect_left(widths, float(n_weights), key=size, hi=len(widths) - 1)
    return min(
        widths[max(0, above - 1) : above + 1], key=lambda width: abs(size(width) - n_weights)
    )


def build_of_size(
    make: Callable[[W], M],
    n_weights: int,
    widths: Sequence[W],
    seed: int,
    probed: Sequence[W] | None = None,
) -> M:
    """The model of the width that comes closest to a number of weights.

    Args:
        make: makes a model of a width.
        n_weights, widths: see :func:`closest_width`.
        seed: of the weights; the global random state is left as it is.
        probed: three widths, if the number of weights is a quadratic function of the width.
    """

    def size(width: W) -> float:
        return count_weights(make(width))

    with torch.random.fork_rng([]):
        if probed is None:
            width = closest_width(n_weights, widths, size)
        else:
            quadratic = np.polynomial.Polynomial.fit(probed, [size(width) for width in probed], 2)
            width = closest_width(n_weights, widths, lambda width: float(quadratic(width)))
        torch.manual_seed(seed)
        return make(width)
