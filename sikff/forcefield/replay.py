"""The operations of a function of tensors, run again and again in the same memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sikff.forcefield.recorder import PARTLY_ZERO, Operation, Place, Placed, Recorder

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


class Replay:
    """What a function of tensors computes, bit for bit, with little but the arithmetic to do.

    One call of the function tells its operations, also those of gradients that it takes. Sizes do
    not change, so all but the arithmetic is done once: what does not depend on the inputs is kept,
    views are made, and every result has a place in memory, which others take when nobody needs it
    any more. So little memory is written, over and over, that it stays in the cache of a CPU.

    Args:
        function: of tensors, for which it does the same operations whatever their values. It
            returns a tuple of tensors.
        example: inputs, of the sizes of all that are to come.
        weights: tensors that the function reads besides, whose values may change in place. By them
            what a call has returned can be differentiated, once and before the next call.

    Attributes:
        n_calls: operations of a call, without views.
        n_bytes: memory of results, and
        n_bytes_written: that which a call writes.

    Raises:
        ValueError: if an operation changes one of the inputs or a constant, has several new results
            or none that is a tensor.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        example: Sequence[Tensor],
        weights: Sequence[Tensor] = (),
    ) -> None:
        self._calls: list[Callable[[], Any]] = []
        self.n_bytes = self.n_bytes_written = 0
        self._weights, self._gradients = list(weights), list[Tensor]()
        self._inputs = [tensor.clone() for tensor in example]
        recorder, slopes = Recorder(), tuple[Tensor | None, ...]()
        for tensor in (*self._inputs, *self._weights):
            recorder.add_input(tensor)
        with recorder:
            results = function(*self._inputs)
            forward = len(recorder.operations)
            if weights:
                self._gradients = [torch.zeros_like(result) for result in results]
                for tensor in self._gradients:
                    recorder.add_input(tensor)
                slopes = torch.autograd.grad(results, weights, self._gradients, allow_unused=True)
        asked = recorder.placed((*results, *slopes))
        needed = _needed(recorder.operations, asked)
        operations = [recorder.operations[number] for number in needed]
        with torch.inference_mode():
            held = self._planned(operations, asked, recorder.inputs)
        self._results, self._slopes = held[: len(results)], held[len(results) :]
        self._forward = sum(number < forward for number in needed)
        self._in_memory: object = None  # the call whose results are there to be differentiated
        self.n_calls = len(self._calls)

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The results, which are one's own.

        Raises:
            RuntimeError: when they are differentiated after another call, or again.
        """
        _copy(tensors, self._inputs)
        return _Differentiable.apply(self, *self._weights) if self._weights else self._run()

    def _run(self) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            for call in self._calls[: self._forward]:
                call()
        return tuple(result.clone() for result in self._results)

    def _run_back(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Slopes in the weights of the sum of results multiplied by these."""
        _copy(gradients, self._gradients)
        with torch.inference_mode():
            for call in self._calls[self._forward :]:
                call()
        return [None if slope is None else slope.clone() for slope in self._slopes]

    def _planned(
        self, operations: Sequence[Operation], asked: Placed, inputs: dict[int, Tensor]
    ) -> list[Any]:
        """Fills the list of calls; the tensors that hold what is asked for."""
        memory = {number: _bytes_of(tensor) for number, tensor in inputs.items()}
        last = {used: k for k, operation in enumerate(operations) for used in operation.inputs.used}
        kept = {*memory, *asked.used}
        free: list[Tensor] = []
        for k, operation in enumerate(operations):
            target, place = operation.target, operation.result
            args, kwargs = operation.inputs.tensors(memory)
            if place.number in memory:  # of a result before, which is changed
                self._calls.append(partial(target, *args, **kwargs))
            elif target in PARTLY_ZERO:
                memory[place.number] = self._new(place.n_bytes).zero_()
                kept.add(place.number)
                part = PARTLY_ZERO[target](place.tensor(memory), *args[2:])
                self._calls.append(partial(part.copy_, args[0]))
            else:
                memory[place.number] = self._block(place, free)
                self._calls.append(_into(place.tensor(memory), target, args, kwargs))
            ending = [n for n in operation.inputs.used if last[n] == k and n not in kept]
            free += [memory.pop(number) for number in ending]
        return list(asked.tensors(memory))

    def _block(self, place: Place, free: list[Tensor]) -> Tensor:
        """Memory for a result: the smallest that is free and fits, or new."""
        size = -(-place.n_bytes // ALIGNMENT) * ALIGNMENT
        self.n_bytes_written += size
        fitting = [k for k, block in enumerate(free) if size <= len(block) <= max(4 * size, 4096)]
        if fitting:
            return free.pop(min(fitting, key=lambda k: len(free[k])))
        self.n_bytes += size
        return self._new(size)

    def _new(self, n_bytes: int) -> Tensor:
        return torch.empty(n_bytes, dtype=torch.uint8, device=self._inputs[0].device)


class _Differentiable(torch.autograd.Function):
    """A call whose results can be differentiated by the weights."""

    @staticmethod
    def forward(ctx: Any, replay: Replay, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.replay = replay
        replay._in_memory = ctx
        return replay._run()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        replay = ctx.replay
        if replay._in_memory is not ctx:
            raise RuntimeError(
                "the memory of this call has been used again; results can be differentiated once, "
                "before the next call"
            )
        replay._in_memory = None
        return None, *replay._run_back(gradients)


def _needed(operations: Sequence[Operation], asked: Placed) -> list[int]:
    """Numbers of those on which what is asked for depends."""
    needed, used = [], set(asked.used)
    for number in reversed(range(len(operations))):
        if operations[number].result.number in used:
            needed.append(number)
            used |= operations[number].inputs.used
    return needed[::-1]


def _copy(tensors: Sequence[Tensor], own: Sequence[Tensor]) -> None:
    with torch.inference_mode():
        for tensor, place in zip(tensors, own, strict=True):
            place.copy_(tensor)


def _bytes_of(tensor: Tensor) -> Tensor:
    """All the memory in which a tensor lies."""
    memory = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return memory.set_(tensor.untyped_storage())


def _into(out: Tensor, target: Any, args: Any, kwargs: Any) -> Callable[[], Any]:
    """A call that puts into ``out`` what an operation returns."""
    if target is aten.clone.default or target is aten._to_copy.default:
        return partial(out.copy_, args[0])
    if target in INTO:
        return partial(INTO[target], *args, **kwargs, out=out)

    def computed() -> None:
        out.copy_(target(*args, **kwargs))

    return computed
