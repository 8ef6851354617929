"""Widths that make models equally large."""

import pytest
from torch import nn

from sikff.training.studies.model_size import closest_width, count_weights


@pytest.mark.parametrize(
    ("n_weights", "width"), [(0, 1), (12, 3), (13, 4), (16, 4), (20, 4), (21, 5), (999, 5)]
)
def test_the_closest_width(n_weights: int, width: int) -> None:
    assert closest_width(n_weights, range(1, 6), lambda width: width**2) == width


def test_frozen_weights_count() -> None:
    assert count_weights(nn.Linear(3, 2).requires_grad_(False)) == 8
