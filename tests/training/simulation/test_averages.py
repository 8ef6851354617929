"""Means of correlated samples, on series whose correlations are known in closed form."""

import numpy as np
import pytest

from sikff.training.simulation.averages import average, block_errors, statistical_inefficiency


def autoregressive(decay: float, n: int, seed: int = 0) -> np.ndarray:
    """x' = decay x + noise, stationary with variance 1: C(t) = decay^t, g = (1 + d) / (1 - d)."""
    rng = np.random.default_rng(seed)
    noise = np.sqrt(1 - decay**2) * rng.standard_normal(n)
    x = np.empty(n)
    x[0] = rng.standard_normal()
    for k in range(1, n):
        x[k] = decay * x[k - 1] + noise[k]
    return x


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.97])
def test_the_inefficiency_of_an_autoregressive_process(decay: float) -> None:
    exact = (1 + decay) / (1 - decay)
    found = [statistical_inefficiency(autoregressive(decay, 8000, seed)) for seed in range(6)]
    assert np.mean(found) == pytest.approx(exact, rel=0.1)


def test_errors_are_those_of_many_series() -> None:
    """Means scatter about the exact one as their errors say."""
    averages = [average(3.0 + autoregressive(0.9, 1000, seed)) for seed in range(150)]
    off = np.array([(each.mean - 3.0) / each.error for each in averages])
    assert off.std() == pytest.approx(1.0, abs=0.2)
    assert (abs(off) < 2).mean() > 0.85
    naive = np.array([each.error for each in averages]) * 1000**0.5
    assert naive.mean() == pytest.approx(19**0.5, rel=0.15)  # of independent samples: 1


def test_equilibration_is_left_out() -> None:
    n, time = 4000, np.arange(4000)
    for seed in range(5):
        series = 5.0 + autoregressive(0.8, n, seed) + 20 * np.exp(-time / 100)
        found = average(series)
        assert 200 < found.start < 1500
        assert abs(found.mean - 5.0) < 5 * found.error
        assert abs(series.mean() - 5.0) > 0.4
    assert average(autoregressive(0.8, n)).start < 0.3 * n


def test_blocks_reach_the_plateau_of_the_closed_form() -> None:
    decay, n = 0.9, 2**14
    found = [block_errors(autoregressive(decay, n, seed)) for seed in range(8)]
    lengths = found[0][0]
    errors = np.sqrt(np.mean([each[1] ** 2 for each in found], axis=0))
    assert lengths.tolist() == [2**k for k in range(13)]
    # variance of the mean of b neighbours, over n / b blocks
    b = lengths.astype(float)
    closed = (1 + decay) / (1 - decay) - 2 * decay * (1 - decay**b) / (b * (1 - decay) ** 2)
    assert errors[:9] == pytest.approx(np.sqrt(closed / n)[:9], rel=0.1)
    assert errors[8] == pytest.approx((19 / n) ** 0.5, rel=0.1)
    assert errors[0] < 0.3 * errors[8]


def test_short_and_constant_series() -> None:
    assert average([2.0] * 50) == (2.0, 0.0, 0, 1.0)
    assert average([2.0, 4.0]).mean == 3.0 and average([2.0, 4.0]).is_short
    assert average(np.arange(40.0)).is_short  # a drift is one sample
    assert not average(autoregressive(0.5, 400)).is_short


@pytest.mark.parametrize("series", [[], [[1.0, 2.0]], [1.0, np.nan]])
def test_what_is_no_series_raises(series: object) -> None:
    for function in (average, statistical_inefficiency, block_errors):
        with pytest.raises(ValueError, match=r"expected \[n\] finite numbers"):
            function(series)
    with pytest.raises(ValueError, match="got 3 samples; expected four or more"):
        block_errors([1.0, 2.0, 3.0])
