"""A flat list of tensor operations, run again and again in the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.func import functionalize
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.node import map_arg

ALIGNMENT = 64  # bytes
aten = torch.ops.aten


def _silu_backward(gradient: Tensor, x: Tensor, *, out: Tensor) -> Tensor:
    return aten.silu_backward.grad_input(gradient, x, grad_input=out)


# These write where they are told to; the result of any other is copied there.
INTO: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.cos.default: torch.cos,
    aten.div.Tensor: torch.div,
    aten.index_add.default: torch.index_add,
    aten.index_select.default: torch.index_select,
    aten.mm.default: torch.mm,
    aten.mul.Scalar: torch.mul,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.sigmoid.default: torch.sigmoid,
    aten.silu.default: aten.silu.out,
    aten.silu_backward.default: _silu_backward,
    aten.sin.default: torch.sin,
    aten.sqrt.default: torch.sqrt,
    aten.stack.default: torch.stack,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
}
# The same whatever the values of their inputs.
CONSTANT = {aten.new_zeros.default, aten.zeros_like.default, aten.ones_like.default}
# Their results are zero but for a part, which is a gradient.
PARTLY_ZERO = {
    aten.select_backward.default: aten.select.int,
    aten.slice_backward.default: aten.slice.Tensor,
}


class Replay:
    """What a function of tensors computes, bit for bit, with little but the arithmetic to do.

    Sizes do not change, so all but the arithmetic is done once: views are made, and every result
    has a place in memory, which others take when nobody needs it any more. So little memory is
    written, over and over, that it stays in the cache of a CPU.

    Args:
        function: of tensors, for which it does the same operations whatever their values. It
            returns a tuple of tensors.
        example: inputs, of the sizes of all that are to come.

    Attributes:
        n_calls: operations of a call, without views.
        n_bytes: memory of results, and
        n_bytes_written: that which a call writes.

    Raises:
        ValueError: if an operation changes its input or has several new results.
    """

    def __init__(
        self, function: Callable[..., tuple[Tensor, ...]], example: Sequence[Tensor]
    ) -> None:
        self._calls: list[Callable[[], Any]] = []
        self.n_bytes = self.n_bytes_written = 0
        flat = make_fx(functionalize(function))(*example)
        with torch.inference_mode():
            nodes = list(flat.graph.nodes)
            results = _run(flat, nodes, example)
            owners = _owners(nodes, results)
            self._inputs = [results[node] for node in nodes if node.op == "placeholder"]
            self._results = self._planned(nodes, results, owners)
        self.n_calls = len(self._calls)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            for own, tensor in zip(self._inputs, tensors, strict=True):
                own.copy_(tensor)
            for call in self._calls:
                call()
        return tuple(result.clone() for result in self._results)

    def _planned(
        self, nodes: list[Node], results: dict[Node, Any], owners: dict[Node, Node]
    ) -> list[Tensor]:
        """Fills the list of calls; the tensors that hold the results of the whole."""
        last = {owners[used]: node for node in nodes for used in node.all_input_nodes}
        ending: dict[Node, list[Node]] = {}
        for owner, node in last.items():
            ending.setdefault(node, []).append(owner)
        values: dict[Node, Any] = {}
        blocks: dict[Node, Tensor] = {}  # of memory, those in use
        free: list[Tensor] = []
        for node in nodes:
            target, args, kwargs = _called(node, values)
            if node.op == "output":
                return list(args[0])
            if node.op != "call_function" or target in CONSTANT:
                values[node] = results[node]
            elif owners[node] is not node:
                values[node] = target(*args, **kwargs)
            elif target in PARTLY_ZERO:
                values[node] = torch.zeros_like(results[node])
                part = PARTLY_ZERO[target](values[node], *args[2:])
                self._calls.append(partial(part.copy_, args[0]))
            else:
                block = self._block(results[node], free)
                blocks[node] = block
                values[node] = _shaped(block, results[node])
                self._calls.append(_into(values[node], target, args, kwargs))
            free += [blocks.pop(owner) for owner in ending.get(node, ()) if owner in blocks]
        raise ValueError("the list of operations has no result")

    def _block(self, result: Tensor, free: list[Tensor]) -> Tensor:
        """Memory for a result: the smallest that is free and fits, or new."""
        size = -(-_n_bytes(result) // ALIGNMENT) * ALIGNMENT
        self.n_bytes_written += size
        fitting = [k for k, block in enumerate(free) if size <= len(block) <= max(4 * size, 4096)]
        if fitting:
            return free.pop(min(fitting, key=lambda k: len(free[k])))
        self.n_bytes += size
        return torch.empty(size, dtype=torch.uint8, device=result.device)


def _run(flat: GraphModule, nodes: list[Node], example: Sequence[Tensor]) -> dict[Node, Any]:
    """The results of all nodes; those of the inputs are copies."""
    results: dict[Node, Any] = {}
    inputs: Iterator[Tensor] = iter(example)
    for node in nodes:
        if node.op == "placeholder":
            results[node] = next(inputs).clone()
        elif node.op == "get_attr":
            results[node] = getattr(flat, str(node.target))
        elif node.op == "call_function":
            target, args, kwargs = _called(node, results)
            results[node] = target(*args, **kwargs)
    return results


def _called(node: Node, values: dict[Node, Any]) -> tuple[Any, Any, Any]:
    """What a node calls, and with which values."""
    args, kwargs = (map_arg(each, values.__getitem__) for each in (node.args, node.kwargs))
    return node.target, args, kwargs


def _owners(nodes: list[Node], results: dict[Node, Any]) -> dict[Node, Node]:
    """Of each node the one that made the memory in which its result lies."""
    owners: dict[Node, Node] = {}
    makers: dict[int, Node] = {}
    for node in nodes:
        if node not in results:
            continue
        if any(results[node] is results[used] for used in node.all_input_nodes):
            raise ValueError(f"{node.target} changes its input; only new results can be replayed")
        parts = results[node] if isinstance(results[node], Sequence) else [results[node]]
        place = parts[0].untyped_storage().data_ptr()
        owners[node] = makers.setdefault(place, node) if place else node
        if owners[node] is node and len(parts) > 1:
            raise ValueError(f"{node.target} has several results; only one can be replayed")
    return owners


def _n_bytes(result: Tensor) -> int:
    """Of the memory in which a result lies."""
    return result.untyped_storage().nbytes()


def _shaped(block: Tensor, result: Tensor) -> Tensor:
    """Memory with the size and the strides of a result."""
    own = block[: _n_bytes(result)].view(result.dtype)
    return own.as_strided(result.size(), result.stride(), result.storage_offset())


def _into(out: Tensor, target: Any, args: Any, kwargs: Any) -> Callable[[], Any]:
    """A call that puts into ``out`` what an operation returns."""
    if target is aten.clone.default or target is aten._to_copy.default:
        return partial(out.copy_, args[0])
    if target in INTO:
        return partial(INTO[target], *args, **kwargs, out=out)

    def computed() -> None:
        out.copy_(target(*args, **kwargs))

    return computed
