"""The operations of a function of tensors, run again and again in the same memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sikff.engines.plan import Plan
from sikff.engines.recorder import Operation, Placed, Recorder


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
        NotReplayableError: if an operation changes one of the inputs or a constant, has several
            new results or none that is a tensor.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        example: Sequence[Tensor],
        weights: Sequence[Tensor] = (),
    ) -> None:
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
            plan = Plan(operations, recorder.inputs, asked)
        self._calls, self._forward = plan.calls, sum(number < forward for number in needed)
        self._results, self._slopes = plan.results[: len(results)], plan.results[len(results) :]
        self._in_memory: object = None  # the call whose results are there to be differentiated
        self.n_calls, self.n_bytes = len(plan.calls), plan.n_bytes
        self.n_bytes_written = plan.n_bytes_written

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
