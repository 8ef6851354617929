"""Functions of tensors that are evaluated again and again in the same buffers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class FixedBuffers(ABC):
    """What replaying and CUDA graphs share: inputs are copied into buffers, results out of them.

    A subclass fills the lists of buffers, and the methods that compute in them. Calls write shared
    buffers: threads must take turns.
    """

    def __init__(self, example: Sequence[Tensor], weights: Sequence[Tensor]) -> None:
        self._inputs = [tensor.clone() for tensor in example]
        self._weights = list(weights)
        self._results: Sequence[Tensor] = []
        self._gradients: Sequence[Tensor] = []  # in the results
        self._weight_gradients: Sequence[Tensor | None] = []
        self._in_buffers: object = None  # the call whose results can be differentiated

    @abstractmethod
    def _compute(self) -> None:
        """Fills the results, given the inputs."""

    @abstractmethod
    def _compute_back(self) -> None:
        """Fills the gradients in the weights, given those in the results."""

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Fresh copies of the results; later calls do not overwrite them.

        Raises:
            RuntimeError: when they are differentiated after another call, or again.
        """
        _copy(tensors, self._inputs)
        return _Differentiable.apply(self, *self._weights) if self._weights else self._run()

    def _run(self) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            self._compute()
        return tuple(result.clone() for result in self._results)

    def _run_back(self, gradients: Sequence[Tensor]) -> list[Tensor | None]:
        """Gradients in the weights, given gradients in the results."""
        _copy(gradients, self._gradients)
        with torch.inference_mode():
            self._compute_back()
        return [None if each is None else each.clone() for each in self._weight_gradients]


class _Differentiable(torch.autograd.Function):
    """A call whose results are differentiable in the weights."""

    @staticmethod
    def forward(ctx: Any, buffers: FixedBuffers, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.buffers = buffers
        buffers._in_buffers = ctx
        return buffers._run()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        buffers = ctx.buffers
        if buffers._in_buffers is not ctx:
            raise RuntimeError(
                "the buffers of this call have been used again; results can be differentiated "
                "once, before the next call"
            )
        buffers._in_buffers = None
        return None, *buffers._run_back(gradients)


def _copy(tensors: Sequence[Tensor], buffers: Sequence[Tensor]) -> None:
    with torch.inference_mode():
        for tensor, buffer in zip(tensors, buffers, strict=True):
            buffer.copy_(tensor)
