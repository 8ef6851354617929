"""The backend ``replay``: runs recorded operations again and again in the same buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sikff.engines.fixed_buffers import FixedBuffers
from sikff.engines.plan import Plan
from sikff.engines.recorder import Arguments, Operation, Recorder


class Replay(FixedBuffers):
    """A function of tensors, bit for bit, without the cost of Python, autograd and allocation.

    One call of the function records its operations, also those of gradients that it takes. Sizes
    do not change, so all but the arithmetic is done once: constants are computed, views made, and
    buffers assigned, which are recycled. So little memory is written, over and over, that it stays
    in the cache of a CPU.

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
        super().__init__(example, weights)
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
        self.n_calls, self.n_bytes = len(plan.calls), plan.n_bytes
        self.n_bytes_written = plan.n_bytes_written

    def _compute(self) -> None:
        for call in self._calls[: self._forward]:
            call()

    def _compute_back(self) -> None:
        for call in self._calls[self._forward :]:
            call()


def _needed(operations: Sequence[Operation], wanted: Arguments) -> list[int]:
    """Indices of the operations on which the wanted tensors depend."""
    needed, used = [], set(wanted.buffers)
    for number in reversed(range(len(operations))):
        if operations[number].result.buffer in used:
            needed.append(number)
            used |= operations[number].inputs.buffers
    return needed[::-1]
