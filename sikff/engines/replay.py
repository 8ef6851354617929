"""The backend ``replay``: runs recorded operations again and again in the same buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sikff.engines.plan import Plan
from sikff.engines.recorder import Arguments, Operation, Recorder


class Replay:
    """A function of tensors, bit for bit, without the cost of Python, autograd and allocation.

    One call of the function records its operations, also those of gradients that it takes. Sizes
    do not change, so all but the arithmetic is done once: constants are computed, views made, and
    buffers assigned, which are recycled. So little memory is written, over and over, that it stays
    in the cache of a CPU. Calls write shared buffers: threads must take turns.

    Args:
        function: of tensors, with the same operations whatever their values. Returns a tuple of
            tensors.
        example: inputs of the sizes of all later ones.
        weights: further tensors that the function reads, whose values may change in place. The
            results of a call are differentiable in them, once and before the next call.

    Attributes:
        n_calls: operations of a call, without views.
        n_bytes: memory of results, and
        n_bytes_written: written by a call.

    Raises:
        NotReplayableError: if an operation changes one of the inputs or a constant, has several
            new results or none that is a tensor, or fails when it is replayed.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        example: Sequence[Tensor],
        weights: Sequence[Tensor] = (),
    ) -> None:
        self._weights, self._gradients = list(weights), list[Tensor]()
        self._inputs = [tensor.clone() for tensor in example]
        recorder, gradients = Recorder(), tuple[Tensor | None, ...]()
        for tensor in (*self._inputs, *self._weights):
            recorder.add_input(tensor)
        with recorder:
            results = function(*self._inputs)
            forward = len(recorder.operations)
            if weights:
                self._gradients = [torch.zeros_like(result) for result in results]
                for tensor in self._gradients:
                    recorder.add_input(tensor)
                gradients = torch.autograd.grad(
                    results, weights, self._gradients, allow_unused=True
                )
        wanted = recorder.arguments((*results, *gradients))
        needed = _needed(recorder.operations, wanted)
        operations = [recorder.operations[number] for number in needed]
        with torch.inference_mode():
            plan = Plan(operations, recorder.inputs, wanted)
        self._calls, self._forward = plan.calls, sum(number < forward for number in needed)
        self._results = plan.results[: len(results)]
        self._weight_gradients = plan.results[len(results) :]
        self._in_buffers: object = None  # the call whose results can be differentiated
        self.n_calls, self.n_bytes = len(plan.calls), plan.n_bytes
        self.n_bytes_written = plan.n_bytes_written

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Fresh copies of the results; later calls do not overwrite them.

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
        """Gradients in the weights, given gradients in the results."""
        _copy(gradients, self._gradients)
        with torch.inference_mode():
            for call in self._calls[self._forward :]:
                call()
        return [None if each is None else each.clone() for each in self._weight_gradients]


class _Differentiable(torch.autograd.Function):
    """A call whose results are differentiable in the weights."""

    @staticmethod
    def forward(ctx: Any, replay: Replay, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.replay = replay
        replay._in_buffers = ctx
        return replay._run()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        replay = ctx.replay
        if replay._in_buffers is not ctx:
            raise RuntimeError(
                "the buffers of this call have been used again; results can be differentiated "
                "once, before the next call"
            )
        replay._in_buffers = None
        return None, *replay._run_back(gradients)


def _needed(operations: Sequence[Operation], wanted: Arguments) -> list[int]:
    """Indices of the operations on which the wanted tensors depend."""
    needed, used = [], set(wanted.buffers)
    for number in reversed(range(len(operations))):
        if operations[number].result.buffer in used:
            needed.append(number)
            used |= operations[number].inputs.buffers
    return needed[::-1]


def _copy(tensors: Sequence[Tensor], buffers: Sequence[Tensor]) -> None:
    with torch.inference_mode():
        for tensor, buffer in zip(tensors, buffers, strict=True):
            buffer.copy_(tensor)
