"""Channelwise products: equivariant, complete, equal to their explicit matrices."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import ChannelLinear, ChannelProduct, equivariance_error
from symmetry_cases import (
    NAMES,
    class_average,
    every_irrep,
    group,
    randn,
    relative_error,
    seeded,
    summed_both_ways,
)
from tolerances import TOLERANCES, Tolerance

D = torch.float64
PARITY = TOLERANCES[D].parity
CHANNELS = 3


def channel_product(name: str, copies: int = 1) -> ChannelProduct:
    t = every_irrep(group(name), 1, n=CHANNELS * copies)
    return seeded(ChannelProduct(t, t, t, channels=CHANNELS)).double()


def of_channels(f: torch.Tensor, channels: int = CHANNELS) -> torch.Tensor:
    """Features [N, d] as [D, C, N]."""
    return f.T.unflatten(0, (-1, channels))


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_equivariant_and_equals_its_matrix(name: str, copies: int) -> None:
    layer = channel_product(name, copies)
    t = layer.out_type

    def product(h: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return layer(of_channels(h), of_channels(f)).flatten(0, 1).T

    assert equivariance_error(product, [t, t], t, n_elements=4) < TOLERANCES[D].equivariance
    h, f = randn(6, t.size, seed=0), randn(6, t.size, seed=1)
    explicit = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0]
    assert relative_error(product(h, f), explicit) < PARITY
    one = every_irrep(t.group, 1, n=copies)
    assert layer.weight.shape == (round(class_average(t.group, [one] * 3)), CHANNELS)


def test_results_have_the_nodes_last_in_memory() -> None:
    """A batched product of what lies otherwise would copy it, matrix by matrix."""
    layer = channel_product("O(3)")
    x, y = (of_channels(randn(5, layer.left_type.size, seed=seed)) for seed in (0, 1))
    expected = layer(x, y)
    got = layer(x.contiguous(), y.contiguous())
    assert relative_error(got, expected) < PARITY
    linear = seeded(ChannelLinear(layer.out_type, layer.out_type)).double()
    for result in (expected, got, linear(got)):
        assert result.stride(-1) == 1


def test_channels_do_not_mix() -> None:
    layer = channel_product("O(3)")
    t = layer.out_type
    h, f = randn(4, t.size, seed=0), randn(4, t.size, seed=1)
    y = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0].unflatten(1, (-1, CHANNELS))
    changed = h.unflatten(1, (-1, CHANNELS)).clone()
    changed[:, :, 0] += 1.0
    z = (layer.matrix(changed.flatten(1)) @ f.unsqueeze(-1))[..., 0].unflatten(1, (-1, CHANNELS))
    assert torch.equal(y[:, :, 1:], z[:, :, 1:])
    assert relative_error(z[:, :, 0], y[:, :, 0]) > 0.1


@pytest.mark.parametrize("copies", [1, 2])
def test_the_sum_over_neighbours_equals_that_of_explicit_matrices(
    copies: int, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    got, expected = summed_both_ways(channel_product("SO(2)", copies).to(dtype), dtype)
    assert relative_error(got, expected) < tolerance.parity


@pytest.mark.parametrize("name", NAMES)
def test_unit_variance_in_gives_unit_variance_out(name: str) -> None:
    """Independent unit-variance factors give unit-variance products, for every group."""
    t = every_irrep(group(name), 2, n=4)
    x, y = (randn(200, t.size, seed=seed, dtype=torch.float32) for seed in (0, 1))
    layer = seeded(ChannelProduct(t, t, t), 3)
    assert 0.2 < layer(of_channels(x, 4), of_channels(y, 4)).std() < 3  # few weights
    layer = seeded(ChannelProduct(t, t, t, channels=2), 3)
    assert 0.4 < layer(of_channels(x, 2), of_channels(y, 2)).std() < 2


def test_types_without_paths_have_no_weights() -> None:
    g = group("O(3)")
    scalar, pseudo = (FieldType(g, [(2, irrep)]) for irrep in g.irreps(0))
    layer = ChannelProduct(scalar, scalar, pseudo)
    assert layer.weight.numel() == 0
    assert torch.equal(layer(torch.ones(1, 2, 3), torch.ones(1, 2, 3)), torch.zeros(1, 2, 3))


def test_bad_multiplicities() -> None:
    g = group("SO(3)")
    with pytest.raises(ValueError, match=r"same multiplicity.*\[1, 2\]"):
        ChannelProduct(FieldType.scalar(g), FieldType.scalar(g, 2), FieldType.scalar(g))
    with pytest.raises(ValueError, match=r"channels is 2; every multiplicity .* \[3, 4\]"):
        ChannelProduct(FieldType.scalar(g, 4), FieldType.scalar(g, 3), FieldType.scalar(g, 4), 2)
