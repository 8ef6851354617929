"""The backend ``cuda_graph``: launches all kernels of a function at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sikff.engines.fixed_buffers import FixedBuffers
from sikff.engines.recorder import NotReplayableError

DEVICE = "cuda"
WARM_UP = 3  # calls before the capture, in which libraries choose algorithms and take memory


class CudaGraph(FixedBuffers):
    """A function of tensors on a GPU as a CUDA graph: the host launches once in a call.

    One call of the function is captured, with the gradients that it takes, as the documentation of
    ``torch.cuda.graph`` describes: after calls on a side stream, into a memory pool of its own.
    Later calls copy their inputs into those of the capture and launch it.

    Args:
        function: of tensors, with the same operations whatever their values, none of which reads a
            value back to the host. Returns a tuple of tensors.
        example: inputs of the sizes of all later ones, on a GPU.
        weights: further tensors that the function reads, whose values may change in place. The
            results of a call are differentiable in them, once and before the next call.

    Raises:
        NotReplayableError: if the function cannot be captured, also for lack of memory.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        example: Sequence[Tensor],
        weights: Sequence[Tensor] = (),
    ) -> None:
        super().__init__(example, weights)
        if self._inputs[0].device.type != DEVICE:
            raise NotReplayableError(
                f"CUDA graphs are for tensors on a GPU; got {self._inputs[0].device}"
            )
        with torch.cuda.device(self._inputs[0].device):
            try:
                self._capture(function)
            except RuntimeError as error:  # of torch, for operations and memory alike
                raise NotReplayableError(f"no CUDA graph could be captured: {error}") from error

    def _capture(self, function: Callable[..., tuple[Tensor, ...]]) -> None:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                results = function(*self._inputs)
                if self._weights:
                    self._differentiate(results, [torch.zeros_like(each) for each in results])
        torch.cuda.current_stream().wait_stream(side)
        del results  # and with them what autograd has saved
        self._forward, self._backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        # other threads may go on, such as one that copies the next batch to pinned memory
        with torch.cuda.graph(self._forward, capture_error_mode="thread_local"):
            results = function(*self._inputs)
        if self._weights:
            self._gradients = [torch.zeros_like(each) for each in results]
            pool = self._forward.pool()
            with torch.cuda.graph(self._backward, pool=pool, capture_error_mode="thread_local"):
                self._weight_gradients = self._differentiate(results, self._gradients)
        self._results = [each.detach() for each in results]

    def _differentiate(
        self, results: Sequence[Tensor], gradients: Sequence[Tensor]
    ) -> Sequence[Tensor | None]:
        return torch.autograd.grad(results, self._weights, gradients, allow_unused=True)

    def _compute(self) -> None:
        self._forward.replay()

    def _compute_back(self) -> None:
        self._backward.replay()
