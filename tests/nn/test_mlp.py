"""Ordinary MLPs of invariants."""

import pytest
import torch

from sikff.nn import MLP
from sikff.nn.mlp import ACTIVATIONS, activation_scale, find_activation
from symmetry_cases import randn, seeded


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_scaled_to_unit_mean_square(name: str) -> None:
    activation = find_activation(name)
    y = activation(randn(200000, seed=0)) * activation_scale(activation)
    assert abs(float((y**2).mean()) - 1) < 0.03


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_unit_variance_in_gives_unit_variance_out_at_every_depth(depth: int) -> None:
    y = seeded(MLP([64] * (depth + 1), bias=False), 1)(randn(500, 64, seed=0, dtype=torch.float32))
    assert 0.6 < y.std() < 1.7


def test_biases_start_at_zero_and_are_used() -> None:
    zero = torch.zeros(1, 3)
    assert torch.equal(MLP([3, 8, 2], bias=False)(zero), torch.zeros(1, 2))
    net = MLP([3, 8, 2])
    assert torch.equal(net(zero), torch.zeros(1, 2))  # they start at zero ...
    with torch.no_grad():
        net.biases[0].fill_(1.0)
    assert net(zero).abs().max() > 0.01  # ... and act


def test_one_layer_is_linear_and_two_are_not() -> None:
    x = randn(4, 3, seed=0, dtype=torch.float32)
    one, two = MLP([3, 2]), MLP([3, 8, 2])
    torch.testing.assert_close(one(2 * x), 2 * one(x))
    assert not torch.allclose(two(2 * x), 2 * two(x), rtol=0.01)


def test_unknown_activation() -> None:
    with pytest.raises(ValueError, match="unknown activation 'swoosh'; expected one of silu"):
        MLP([1, 1], activation="swoosh")
