"""Learned bilinear maps: equivariant, complete, and equal to their explicit matrices."""

import pytest
import torch

from sikff.fields import FieldType
from sikff.nn import ChannelProduct, Contraction, Linear, equivariance_error, neighbour_layout
from symmetry_cases import (
    NAMES,
    class_average,
    every_irrep,
    group,
    randn,
    random_type,
    relative_error,
    seeded,
)
from tolerances import TOLERANCES, Tolerance

D = torch.float64
PARITY = TOLERANCES[D].parity


def contraction(name: str) -> Contraction:
    g = group(name)
    types = (random_type(g, seed, size=8).canonical for seed in range(3))
    return seeded(Contraction(*types)).double()


@pytest.mark.parametrize("name", NAMES)
def test_contraction_is_equivariant_and_equals_its_matrix(name: str) -> None:
    layer = contraction(name)
    left, right = layer.left_type, layer.right_type

    def product(h: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return layer(h[:, :, None] * f[:, None, :])

    error = equivariance_error(product, [left, right], layer.out_type, n_elements=4)
    assert error < TOLERANCES[D].equivariance
    h, f = randn(6, left.size, seed=0), randn(6, right.size, seed=1)
    explicit = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0]
    assert relative_error(product(h, f), explicit) < PARITY


@pytest.mark.parametrize("name", NAMES)
def test_contraction_has_every_bilinear_map(name: str) -> None:
    layer = contraction(name)
    expected = class_average(
        layer.left_type.group, [layer.left_type, layer.right_type, layer.out_type]
    )
    assert layer.weight.numel() == round(expected) > 0


def channel_product(name: str, copies: int = 1) -> ChannelProduct:
    t = every_irrep(group(name), 1, n=3 * copies)
    return seeded(ChannelProduct(t, t, t, channels=3)).double()


@pytest.mark.parametrize("copies", [1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_channel_product(name: str, copies: int) -> None:
    layer = channel_product(name, copies)
    t, c = layer.out_type, layer.channels

    def product(h: torch.Tensor, f: torch.Tensor) -> torch.Tensor:
        return layer(h.unflatten(1, (-1, c)), f.unflatten(1, (-1, c))).flatten(1)

    assert equivariance_error(product, [t, t], t, n_elements=4) < TOLERANCES[D].equivariance
    h, f = randn(6, t.size, seed=0), randn(6, t.size, seed=1)
    explicit = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0]
    assert relative_error(product(h, f), explicit) < PARITY
    one = every_irrep(t.group, 1, n=copies)
    assert layer.weight.shape == (round(class_average(t.group, [one] * 3)), c)


def test_products_lie_in_memory_with_the_nodes_last() -> None:
    """A batched product of what lies otherwise would copy it, matrix by matrix."""
    layer = channel_product("O(3)")
    x, y = (randn(5, layer.left_type.size // 3, 3, seed=seed) for seed in (0, 1))
    expected = layer(x, y)
    nodes_last = [t.permute(1, 2, 0).contiguous().permute(2, 0, 1) for t in (x, y)]
    found = layer(*nodes_last)
    assert relative_error(found, expected) < PARITY
    for result in (expected, found):
        assert result.permute(1, 2, 0).is_contiguous()
    linear = seeded(Linear(layer.out_type, layer.out_type)).double()
    assert linear(found.flatten(1)).T.is_contiguous()


def test_channels_do_not_mix() -> None:
    layer = channel_product("O(3)")
    t = layer.out_type
    h, f = randn(4, t.size, seed=0), randn(4, t.size, seed=1)
    y = (layer.matrix(h) @ f.unsqueeze(-1))[..., 0].unflatten(1, (-1, 3))
    changed = h.unflatten(1, (-1, 3)).clone()
    changed[:, :, 0] += 1.0
    z = (layer.matrix(changed.flatten(1)) @ f.unsqueeze(-1))[..., 0].unflatten(1, (-1, 3))
    assert torch.equal(y[:, :, 1:], z[:, :, 1:])
    assert relative_error(z[:, :, 0], y[:, :, 0]) > 0.1


@pytest.mark.parametrize("copies", [None, 1, 2], ids=["full", "channels", "channels of copies"])
def test_the_sum_over_neighbours(
    copies: int | None, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    layer = contraction("SO(2)") if copies is None else channel_product("SO(2)", copies)
    layer.to(dtype)
    edge_index = torch.tensor([[2, 0, 2, 2, 1], [0, 1, 1, 2, 0]])
    layout = neighbour_layout(edge_index, 4, dtype)
    h = randn(5, layer.left_type.size, seed=0, dtype=dtype)
    f = randn(4, layer.right_type.size, seed=1, dtype=dtype)
    messages = (layer.matrix(h) @ f[edge_index[1]].unsqueeze(-1))[..., 0]
    expected = torch.zeros(4, layer.out_type.size, dtype=dtype).index_add(
        0, edge_index[0], messages
    )
    got = layer.sum_neighbours(h[layout.edges] * layout.filled[:, None], f, layout)
    assert relative_error(got, expected) < tolerance.parity


@pytest.mark.parametrize("name", NAMES)
def test_variance_is_kept(name: str) -> None:
    """Independent unit-variance h and f give unit-variance products, for every group."""
    t = every_irrep(group(name), 2, n=4)
    layer = seeded(Contraction(t, t, t), 3)
    h, f = (randn(200, t.size, seed=seed, dtype=torch.float32) for seed in (0, 1))
    y = layer(h[:, :, None] * f[:, None, :])
    for block in t.blocks:
        assert 0.6 < y[:, block.start : block.stop].std() < 1.6
    layer = seeded(ChannelProduct(t, t, t), 3)
    y = layer(h.unflatten(1, (-1, 4)), f.unflatten(1, (-1, 4)))
    assert 0.2 < y.std() < 3  # few weights
    layer = seeded(ChannelProduct(t, t, t, channels=2), 3)
    y = layer(h.unflatten(1, (-1, 2)), f.unflatten(1, (-1, 2)))
    assert 0.4 < y.std() < 2


def test_no_path_no_weights() -> None:
    g = group("O(3)")
    scalar, pseudo = (FieldType(g, [(2, irrep)]) for irrep in g.irreps(0))
    layer = Contraction(scalar, scalar, pseudo)
    assert layer.weight.numel() == 0
    assert torch.equal(layer(torch.ones(3, 2, 2)), torch.zeros(3, 2))
    product = ChannelProduct(scalar, scalar, pseudo)
    assert torch.equal(product(torch.ones(3, 1, 2), torch.ones(3, 1, 2)), torch.zeros(3, 1, 2))


def test_channels_must_agree() -> None:
    g = group("SO(3)")
    with pytest.raises(ValueError, match=r"same multiplicity.*\[1, 2\]"):
        ChannelProduct(FieldType.scalar(g), FieldType.scalar(g, 2), FieldType.scalar(g))
    with pytest.raises(ValueError, match=r"channels is 2; every multiplicity .* \[3, 4\]"):
        ChannelProduct(FieldType.scalar(g, 4), FieldType.scalar(g, 3), FieldType.scalar(g, 4), 2)
