"""Replayed operations: bit for bit what the function computes, in recycled buffers."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, library

from sikff.engines import NotReplayableError
from sikff.engines.replay import Replay


def example(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    return torch.randn(n, 6, generator=generator), torch.randn(6, generator=generator)


def function(x: Tensor, w: Tensor) -> tuple[Tensor, ...]:
    """Views, copies, constants, steps in place, a result that is a view of another."""
    rows = x.T.contiguous().unflatten(0, (2, 3)).transpose(0, 1)
    parts = torch.cat([rows.sin(), rows.cos()], dim=1).split([3, 1], dim=1)
    grown = (torch.ones_like(w) + w).mul_(2.0)
    grown[1:3].add_(w[:2])
    torch.mul(w[:2], 3.0, out=grown[4:])
    gathered = x.index_select(0, torch.zeros(5, dtype=torch.long))
    mixed = torch.nn.functional.silu(x * grown) @ torch.eye(6)
    result = torch.where(mixed > 0, mixed, -mixed).sum(0)
    return parts[0].flatten(1), result, result[:2], gathered.cumsum(0)


@given(n=st.integers(1, 9), seed=st.integers(0, 99))
def test_it_is_the_function_bit_for_bit(n: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    replay = Replay(function, example(n, generator))
    for _ in range(3):
        inputs = example(n, generator)
        expected = function(*inputs)
        before = [tensor.clone() for tensor in inputs]
        found = replay(*inputs)
        assert len(found) == len(expected) == 4
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
        assert expected[1].abs().max() > 0


def test_later_calls_leave_results_alone(generator: torch.Generator) -> None:
    first, second = example(4, generator), example(4, generator)
    replay = Replay(function, first)
    found = replay(*first)
    kept = [tensor.clone() for tensor in found]
    assert not torch.equal(replay(*second)[1], kept[1])
    assert all(torch.equal(a, b) for a, b in zip(found, kept, strict=True))
    weight = torch.ones(6, requires_grad=True)  # and a graph can be built on them
    (found[1] * weight).sum().backward()
    assert torch.equal(weight.grad, kept[1])


def test_buffers_are_recycled() -> None:
    def chain(x: Tensor) -> tuple[Tensor]:
        for _ in range(20):
            x = torch.sin(x) + 1
        return (x,)

    x = torch.randn(1000)
    replay = Replay(chain, [x])
    assert torch.equal(replay(x)[0], chain(x)[0])
    assert replay.n_calls == 40
    assert replay.n_bytes_written == 40 * 4032 and replay.n_bytes == 2 * 4032


def test_inputs_of_cat_are_written_in_place() -> None:
    """And not copied there, whatever else is done with them, before and after."""

    def joined(x: Tensor) -> tuple[Tensor, ...]:
        parts = [torch.sin(x), x + 1, torch.cos(x)]
        inner = torch.cat(parts[:2])
        outer = torch.cat([inner, parts[2], parts[2], x])
        total = outer.sum(0)
        for _ in range(4):  # results that take what is free by then
            total = total * 2
        return total, parts[0] * total, inner[1:] + 1

    x = torch.randn(3, 1024)
    replay = Replay(joined, [x])
    for values in (x, -2 * x):
        assert all(torch.equal(a, b) for a, b in zip(replay(values), joined(values), strict=True))
    sizes = [15, 1, 1, 1, 1, 1, 3, 5]  # the outer one, sum, doubled four times, results
    assert replay.n_bytes_written == sum(4096 * size for size in sizes)


def test_inputs_of_cat_along_other_dimensions() -> None:
    """Copies are made there if they are in order, and what is transposed is not."""

    def joined(x: Tensor) -> tuple[Tensor, ...]:
        swapped = x.unflatten(1, (2, -1)).transpose(1, 2).contiguous().flatten(1)
        transposed = x.T.clone(memory_format=torch.preserve_format).T
        turned = x[:, :3].T.clone(memory_format=torch.preserve_format).T.contiguous()
        across = torch.cat([swapped, transposed, turned.sin(), turned, turned], dim=-1)
        return across, torch.cat([x.T.clone(memory_format=torch.preserve_format).T, x])

    x = torch.randn(3, 1000)
    replay = Replay(joined, [x])
    assert all(torch.equal(a, b) for a, b in zip(replay(2 * x), joined(2 * x), strict=True))
    replay = Replay(lambda x: (torch.cat([x, x[:, ::2].clone()], dim=1),), [x])
    assert replay.n_calls == 2 and replay.n_bytes_written == 3 * 1500 * 4 + 48  # the whole, only


def asked_too(x: Tensor) -> tuple[Tensor, ...]:
    part = torch.sin(x)
    total = torch.cat([torch.cat([part, x]), x]) * 2
    for _ in range(4):
        total = total * 2
    return part, total


def changed_whole(x: Tensor) -> tuple[Tensor, ...]:
    part = torch.sin(x)
    whole = torch.cat([part, x])
    whole += 1
    return whole, part * 2


def of_two_types(x: Tensor) -> tuple[Tensor, ...]:
    single = torch.sin(x.float())
    return torch.cat([single, x]), torch.cat([x, single, x > 0]), torch.cat([x.float(), x], 1)


def with_nothing(x: Tensor) -> tuple[Tensor, ...]:
    nothing = torch.zeros(0, dtype=x.dtype)
    return torch.cat([nothing, x.sin()], 1), torch.cat([x.sin(), nothing, x.cos(), x[:0]])


def at_odd_places(x: Tensor) -> tuple[Tensor, ...]:
    product = x @ torch.linspace(-1, 1, 7 * x.shape[1], dtype=x.dtype).view(-1, 7).sin()
    return (torch.cat([x[0, :1].clone(), product.flatten(), product.flatten()]),)


@pytest.mark.parametrize(
    "joined", [asked_too, changed_whole, of_two_types, with_nothing, at_odd_places]
)
def test_inputs_of_cat_that_cannot_be_written_in_place(
    joined: Callable[..., tuple[Tensor, ...]], generator: torch.Generator
) -> None:
    x = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    replay = Replay(joined, [x])
    for values in (x, -3 * x):
        assert all(torch.equal(a, b) for a, b in zip(replay(values), joined(values), strict=True))


def test_inputs_of_cat_that_change_later_are_copied() -> None:
    def changed(x: Tensor) -> tuple[Tensor, ...]:
        part = torch.sin(x)
        whole = torch.cat([part, x])
        part += 1
        across = torch.cat([part, whole[:3]], dim=1)
        return whole, part, across

    x = torch.randn(3, 5)
    replay = Replay(changed, [x])
    assert all(torch.equal(a, b) for a, b in zip(replay(2 * x), changed(2 * x), strict=True))


@library.custom_op("sikff_tests::unknown", mutates_args=())
def unknown(x: Tensor) -> Tensor:
    """As operations of another version of torch may: it cannot be called as it was recorded."""
    if torch.is_inference_mode_enabled():
        raise TypeError("no such kernel")
    return x.clone()


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "an input": (lambda x: x.add_(1), r"add_.* changes an input or a constant"),
    "a part of it": (lambda x: x[1:].add_(1), r"add_.* changes an input or a constant"),
    "a constant": (lambda x: torch.ones(2).mul_(x), r"mul_.* changes an input or a constant"),
    "several results": (lambda x: x.sort()[0], r"sort.* several results"),
    "a size": (lambda x: x.nonzero(), r"nonzero.* whose size depends on values"),
    "a mask": (lambda x: x[x >= 0], r"index.* whose size depends on values"),
    "sparse": (lambda x: x.to_sparse().to_dense(), r"sparse.* cannot be recorded"),
    "unplanned": (lambda x: unknown(x), r"unknown.* cannot be replayed .*no such kernel"),
    "a number": (lambda x: x * x.sum().item(), r"_local_scalar_dense.* makes a number"),
}


@pytest.mark.parametrize("refused", REFUSED)
def test_what_cannot_be_replayed_raises(refused: str) -> None:
    function, message = REFUSED[refused]
    with pytest.raises(NotReplayableError, match=message):
        Replay(lambda x: (function(x),), [torch.zeros(2)])


def test_unused_operations_and_constants_are_not_replayed(generator: torch.Generator) -> None:
    weights = torch.randn(3, 3, generator=generator)

    def wasteful(x: Tensor) -> tuple[Tensor, ...]:
        x.exp().sum()
        return x @ weights.tanh(), weights + 1, x[:0]

    x = torch.randn(2, 3, generator=generator)
    replay = Replay(wasteful, [x])
    assert replay.n_calls == 1
    assert all(torch.equal(a, b) for a, b in zip(replay(2 * x), wasteful(2 * x), strict=True))


def test_results_are_differentiable_in_weights(generator: torch.Generator) -> None:
    """Whose values change in place; one that is not used has no gradient."""
    weights = [torch.randn(4, 4, generator=generator).requires_grad_() for _ in range(3)]

    def network(x: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.sin(x @ weights[0])
        return (h @ weights[1]).cos(), h.sum(0)

    x = torch.randn(5, 4, generator=generator)
    replay = Replay(network, [x], weights)
    for step in range(3):
        losses = []
        for function in (replay, network):
            a, b = function(x + step)
            loss = (a * a).sum() + b.exp().sum()
            losses.append((loss, *torch.autograd.grad(loss, weights, allow_unused=True)))
        assert all(
            torch.equal(one, two) for one, two in zip(*losses, strict=True) if two is not None
        )
        assert losses[0][1].abs().max() > 0 and losses[0][3] is None
        with torch.no_grad():
            weights[0] *= 1.5
            weights[1] += 1


def test_weights_may_share_memory_and_have_gaps(generator: torch.Generator) -> None:
    both = torch.randn(2, 3, 4, generator=generator)
    weights = [both[0].T.requires_grad_(), both[1, :, ::2].requires_grad_()]

    def network(x: Tensor) -> tuple[Tensor]:
        return (torch.sin(x @ weights[0]) @ weights[1],)

    x = torch.randn(5, 4, generator=generator)
    replay = Replay(network, [x], weights)
    for _ in range(2):
        found, expected = (
            torch.autograd.grad(f(x)[0].square().sum(), weights) for f in (replay, network)
        )
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
        assert expected[1].abs().max() > 0
        both.data += 0.1


def test_results_are_differentiated_once_and_before_the_next_call() -> None:
    weight = torch.ones(3, requires_grad=True)
    replay = Replay(lambda x: (x * weight,), [torch.zeros(3)], [weight])
    (early,), (late,) = replay(torch.ones(3)), replay(torch.ones(3))
    with pytest.raises(RuntimeError, match="buffers of this call have been used again"):
        early.sum().backward()
    late.sum().backward(retain_graph=True)
    assert torch.equal(weight.grad, torch.ones(3))
    with pytest.raises(RuntimeError, match="differentiated once"):
        late.sum().backward()
