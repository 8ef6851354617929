"""Means of correlated samples: equilibration, statistical inefficiency, errors by blocks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray

FEWEST = 10  # samples, for which a mean and its error are estimated
NEARLY = 0.8  # of the highest number of independent samples
STARTS = 100  # places at which equilibrium may begin that are tried


class Average(NamedTuple):
    """The mean over the equilibrated end of a series.

    Attributes:
        mean: in the unit of the series.
        error: its standard error.
        start: samples at the beginning that are left out as equilibration.
        inefficiency: samples that count as much as one independent sample.
    """

    mean: float
    error: float
    start: int
    inefficiency: float

    @property
    def is_short(self) -> bool:
        """Whether the series holds less than ten independent samples, so that its mean, error and
        equilibration are guesses."""
        return not np.isfinite(self.error)


def average(series: ArrayLike) -> Average:
    """The mean of a time series without its equilibration, and its error.

    Equilibrium begins where most independent samples are left (Chodera, J. Chem. Theory Comput. 12,
    1799 (2016)), or earlier if that leaves nearly as many: the highest of many estimates is too
    high. The error is that of independent samples, as many as are left.

    Args:
        series: equally spaced in time, [n].

    Returns:
        The average; its error is NaN if fewer than ten independent samples are left.

    Raises:
        ValueError: for anything but a series of finite numbers.
    """
    x = _checked(series)
    if len(x) < FEWEST:
        return Average(float(x.mean()), np.nan, 0, float(len(x)))
    starts = np.unique(np.linspace(0, len(x) - FEWEST, min(STARTS, len(x))).astype(int))
    found = [statistical_inefficiency(x[start:]) for start in starts]
    independent = (len(x) - starts) / found
    first = int((independent >= NEARLY * independent.max()).argmax())
    left, number = x[starts[first] :], float(independent[first])
    error = left.std() / np.sqrt(max(number - 1, 1)) if number >= FEWEST else np.nan
    return Average(float(left.mean()), float(error), int(starts[first]), found[first])


def statistical_inefficiency(series: ArrayLike) -> float:
    """How many samples of a stationary series count as much as one independent sample.

        g = 1 + 2 sum_t (1 - t / n) C(t),   1 for independent samples and for a constant series

    with the normalised autocorrelation C up to Geyer's first negative sum of two neighbours
    (Statist. Sci. 7, 473 (1992)): beyond it is noise.

    Args:
        series: equally spaced in time, [n].

    Raises:
        ValueError: for anything but a series of finite numbers.
    """
    x = _checked(series)
    n, x = len(x), x - x.mean()
    variance = (x * x).mean()
    if n < 3 or variance <= np.finfo(float).eps * abs(np.asarray(series, float)).max() ** 2:
        return 1.0
    size = 1 << (2 * n - 1).bit_length()  # zeros, so that the ends do not meet
    spectrum = np.fft.rfft(x, size)
    correlation = np.fft.irfft(spectrum * spectrum.conj(), size)[:n] / (n * variance)
    pairs = correlation[: n - n % 2].reshape(-1, 2).sum(axis=1)  # C(2k) + C(2k+1)
    negative = np.flatnonzero(pairs <= 0)
    last = 2 * negative[0] if len(negative) else len(correlation)
    # the sum over n has the factor 1 - t/n of g
    return float(max(1.0, 2 * correlation[:last].sum() - 1))


def block_errors(series: ArrayLike) -> tuple[Array, Array]:
    """Standard errors of the mean from means of blocks, which rise to a plateau with their length.

    On the plateau blocks are longer than the correlation (Flyvbjerg and Petersen, J. Chem. Phys.
    91, 461 (1989)).

    Args:
        series: equally spaced in time, [n].

    Returns:
        lengths of the blocks [k]: 1, 2, 4, ... up to a quarter of the series, and the errors [k].

    Raises:
        ValueError: for anything but a series of four finite numbers or more.
    """
    x = _checked(series)
    if len(x) < 4:
        raise ValueError(f"got {len(x)} samples; expected four or more, for four blocks")
    lengths = 2 ** np.arange(int(np.log2(len(x) // 4)) + 1)
    errors = []
    for length in lengths:
        count = len(x) // length
        means = x[: count * length].reshape(count, length).mean(axis=1)
        errors.append(means.std(ddof=1) / np.sqrt(count))
    return lengths, np.array(errors)


def _checked(series: ArrayLike) -> Array:
    x = np.asarray(series, dtype=float)
    if x.ndim != 1 or not len(x) or not np.isfinite(x).all():
        raise ValueError(
            f"got a series of the shape {x.shape}; expected [n] finite numbers, at least one"
        )
    return x
