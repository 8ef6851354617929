"""PointConv is the explicit sum, to every derivative, on every graph, without the matrix."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import PointConv, neighbour_layout
from symmetry_cases import (
    NAMES,
    elements,
    every_irrep,
    group,
    randn,
    random_type,
    relative_error,
    seeded,
)
from tolerances import TOLERANCES, Tolerance

D = torch.float64
SMALL = {"hidden_fields": 2, "width": 8, "cutoff": 4.0}
N = 7


def attributes(g: SymmetryGroup) -> FieldType:
    return FieldType.scalar(g) + FieldType.vector(g)


def edges(kind: str) -> Tensor:
    """[2, E]; all but "none" leave the nodes 3 and 5 without incoming edges."""
    generator = torch.Generator().manual_seed(0)
    if kind == "none":
        return torch.zeros(2, 0, dtype=torch.long)
    if kind == "star":  # one crowded node among many lonely ones: several tables
        return torch.stack([torch.zeros(300, dtype=torch.long), torch.arange(300) % N])
    receivers = torch.tensor([0, 1, 2, 4, 6])[torch.randint(5, (20,), generator=generator)]
    edge_index = torch.stack([receivers, torch.randint(N, (20,), generator=generator)])
    return edge_index[:, torch.argsort(receivers)] if kind == "sorted" else edge_index


def explicit(conv: PointConv, f: Tensor, x: Tensor, edge_index: Tensor, a: Tensor) -> Tensor:
    messages = conv.kernel(x, a) @ f[edge_index[1]].unsqueeze(-1)
    out = f.new_zeros(len(f), conv.out_type.size)
    return out.index_add(0, edge_index[0], messages[..., 0])


def inputs(conv: PointConv, edge_index: Tensor, dtype: torch.dtype = D, n: int = N) -> list[Tensor]:
    """f, vectors and attributes, ready to be differentiated."""
    f = randn(n, conv.in_type.size, seed=1, dtype=dtype)
    x = randn(edge_index.shape[1], 3, seed=2, dtype=dtype)
    a = randn(edge_index.shape[1], attributes(conv.in_type.group).size, seed=3, dtype=dtype)
    return [t.requires_grad_() for t in (f, x, a)]


def convolution(name: str, channelwise: bool = False) -> PointConv:
    g = group(name)
    if channelwise:
        t = every_irrep(g, 1, n=2)
        options = {"width": 8, "cutoff": 4.0, "channelwise": True}
        return seeded(PointConv(t, t, attributes(g), **options))
    return seeded(PointConv(random_type(g, 0), random_type(g, 1), attributes(g), **SMALL))


@pytest.mark.parametrize("channelwise", [False, True], ids=["full", "channelwise"])
@pytest.mark.parametrize("name", NAMES)
def test_it_equals_the_explicit_sum(name: str, channelwise: bool) -> None:
    """Value, first and second derivatives, with respect to all inputs and weights."""
    conv = convolution(name, channelwise).double()
    edge_index = edges("unsorted")
    f, x, a = inputs(conv, edge_index)
    variables = [f, x, a, *(p for p in conv.parameters() if p.numel())]
    results = []
    for y in (conv(f, x, edge_index, a), explicit(conv, f, x, edge_index, a)):
        first = torch.autograd.grad((y**2).sum(), variables, create_graph=True)
        square = sum((t**2).sum() for t in first[:3])
        second = torch.autograd.grad(square, variables)
        results.append([y.detach(), *(t.detach() for t in first), *second])
    for got, expected in zip(*results, strict=True):
        assert relative_error(got, expected) < TOLERANCES[D].gradient
    assert relative_error(results[0][0], results[1][0]) < TOLERANCES[D].parity
    assert torch.equal(results[0][0][[3, 5]], torch.zeros(2, conv.out_type.size, dtype=D))


@pytest.mark.parametrize("channelwise", [False, True], ids=["full", "channelwise"])
@pytest.mark.parametrize("kind", ["sorted", "unsorted", "star"])
def test_edges_in_any_order_and_of_any_degree(
    kind: str, channelwise: bool, dtype: torch.dtype, tolerance: Tolerance
) -> None:
    conv = convolution("SO(2)", channelwise).to(dtype)
    edge_index = edges(kind)
    f, x, a = inputs(conv, edge_index, dtype, n=60 if kind == "star" else N)
    layout = neighbour_layout(edge_index, len(f), dtype)
    assert (layout.order is not None) == (kind == "star")
    expected = explicit(conv, f, x, edge_index, a).detach()
    for got in (conv(f, x, edge_index, a), conv(f, x, edge_index, a, layout)):
        assert relative_error(got.detach(), expected) < tolerance.parity


@pytest.mark.parametrize("channelwise", [False, True], ids=["full", "channelwise"])
def test_without_edges(channelwise: bool) -> None:
    conv = convolution("O(3)", channelwise).double()
    f, x, a = inputs(conv, edges("none"))
    y = conv(f, x, edges("none"), a)
    assert torch.equal(y, torch.zeros(N, conv.out_type.size, dtype=D))
    for gradient in torch.autograd.grad(y.sum(), [f, x, a], allow_unused=True):
        assert gradient is None or not gradient.abs().sum()


def test_without_nodes() -> None:
    conv = convolution("O(3)").double()
    f, x, a = inputs(conv, edges("none"), n=0)
    assert conv(f, x, edges("none"), a).shape == (0, conv.out_type.size)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_equivariant(name: str, dtype: torch.dtype, tolerance: Tolerance) -> None:
    conv = convolution(name).to(dtype)
    edge_index = edges("unsorted")
    f, x, a = (t.detach() for t in inputs(conv, edge_index))
    attr_type = attributes(conv.in_type.group)
    with torch.no_grad():
        y = conv(f.to(dtype), x.to(dtype), edge_index, a.to(dtype))
        for h in elements(conv.in_type.group):
            moved = (
                f @ conv.in_type.representation(h).T,
                x @ h.T,
                a @ attr_type.representation(h).T,
            )
            f_h, x_h, a_h = (t.to(dtype) for t in moved)
            expected = y @ conv.out_type.representation(h).to(dtype).T
            assert (
                relative_error(conv(f_h, x_h, edge_index, a_h), expected) < tolerance.equivariance
            )


def test_the_order_of_edges_does_not_matter_but_their_direction_does() -> None:
    conv = convolution("SO(3)").double()
    edge_index = edges("unsorted")
    f, x, a = (t.detach() for t in inputs(conv, edge_index))
    permuted = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    y = conv(f, x, edge_index, a)
    again = conv(f, x[permuted], edge_index[:, permuted], a[permuted])
    assert relative_error(again, y) < TOLERANCES[D].parity
    assert relative_error(conv(f, x, edge_index.flip(0), a), y) > 0.1
    assert relative_error(conv(f, -x, edge_index, a), y) > 0.1


def test_edges_beyond_the_cutoff_contribute_nothing() -> None:
    conv = convolution("SO(2)").double()
    edge_index = edges("unsorted")
    f, x, a = (t.detach() for t in inputs(conv, edge_index))
    near = x.norm(dim=1) < 1.5
    assert near.any()
    assert not near.all()
    x = torch.where(near[:, None], x, 5 * x / x.norm(dim=1, keepdim=True))
    y = conv(f, x, edge_index, a)
    only = conv(f, x[near], edge_index[:, near], a[near])
    assert relative_error(y, only) < TOLERANCES[D].parity


class Largest(TorchDispatchMode):
    """Remembers the largest storage behind any tensor that an operation returned."""

    def __init__(self) -> None:
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                size = tensor.untyped_storage().nbytes() // tensor.element_size()
                self.numel = max(self.numel, size)
        return result


@contextmanager
def largest_tensor() -> Iterator[Largest]:
    with Largest() as mode:
        yield mode


@pytest.mark.parametrize("kind", ["even", "uneven"])
@pytest.mark.parametrize("name", ["O(3)", "SO(2)", "Td"])
def test_no_tensor_has_a_matrix_for_every_edge(name: str, kind: str) -> None:
    """Forward, backward and double backward: all stay far below E d_out d_in numbers."""
    g = group(name)
    t = FieldType.harmonic(g, 1, n=12)
    conv = PointConv(t, t, hidden_fields=4, width=8)
    n, e = 10, 2000
    receivers = torch.arange(e) % n if kind == "even" else torch.arange(e) ** 2 // (e**2 // n + 1)
    edge_index = torch.stack([receivers, torch.arange(e) % n])
    f = randn(n, t.size, seed=0, dtype=torch.float32).requires_grad_()
    x = randn(e, 3, seed=1, dtype=torch.float32).requires_grad_()
    matrices = e * t.size**2
    with largest_tensor() as largest:
        y = conv(f, x, edge_index)
        (force,) = torch.autograd.grad((y**2).sum(), x, create_graph=True)
        (force**2).sum().backward()
    assert e * 3 <= largest.numel < matrices / 8, (largest.numel, matrices)
    with largest_tensor() as largest:  # the explicit way has one
        conv.kernel(x[:500])
    assert largest.numel >= 500 * t.size**2


def test_bad_input() -> None:
    conv = convolution("SO(3)")
    f, x, a = inputs(conv, edges("sorted"), torch.float32)
    with pytest.raises(ValueError, match="PointConv: expected features"):
        conv(f[:, 1:], x, edges("sorted"), a)
    with pytest.raises(ValueError, match=r"vectors \[\d+, 3\] for \d+ edges; expected one"):
        conv(f, torch.cat([x, x]), edges("sorted"), a)
    with pytest.raises(ValueError, match="needs attributes"):
        conv(f, x, edges("sorted"))
    with pytest.raises(TypeError, match="hidden_field"):
        PointConv(conv.in_type, conv.out_type, hidden_field=3)
