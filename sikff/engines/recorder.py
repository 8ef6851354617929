"""Lists the operations of a function of tensors while it runs."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate

from sikff.engines.torch_private import EMBEDDING_BAG, DispatchMode, storage_key

aten = torch.ops.aten
# Their results do not depend on the values of their inputs.
CONSTANT = {aten.new_zeros.default, aten.zeros_like.default, aten.ones_like.default}
# Backward of select and slice: zeros but for one slice. The buffer is filled with zeros once, then
# only the slice is written.
MOSTLY_ZERO = {
    aten.select_backward.default: aten.select.int,
    aten.slice_backward.default: aten.slice.Tensor,
}
# Of their results only the first is used.
FIRST_RESULT_ONLY = {EMBEDDING_BAG}


@dataclass(frozen=True)
class BufferView:
    """A tensor in a buffer: the number and size of the buffer, and how the tensor lies in it."""

    buffer: int
    n_bytes: int  # of the buffer
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def tensor(self, buffers: Mapping[int, Tensor]) -> Tensor:
        """The tensor, given buffers of bytes by number."""
        own = buffers[self.buffer][: self.n_bytes].view(self.dtype)
        return own.as_strided(self.size, self.stride, own.storage_offset() + self.offset)

    @property
    def fills_buffer(self) -> bool:
        """Whether the tensor is contiguous and all that is in the buffer."""
        contiguous = torch.empty(self.size, device="meta").stride()
        n_bytes = self.size.numel() * self.dtype.itemsize
        return self.stride == contiguous and self.n_bytes == n_bytes


@dataclass(frozen=True)
class Arguments:
    """Nested lists of values, with views of buffers for tensors that depend on the inputs."""

    values: Any
    buffers: set[int]  # numbers of those that are viewed

    def tensors(self, buffers: Mapping[int, Tensor]) -> Any:
        """The same lists with tensors for views."""
        return map_aggregate(
            self.values, lambda leaf: leaf.tensor(buffers) if isinstance(leaf, BufferView) else leaf
        )


@dataclass(frozen=True)
class Operation:
    """What was called, with which positional and named arguments, and what it made or changed."""

    target: Any
    inputs: Arguments
    result: BufferView


class NotReplayableError(ValueError):
    """An operation that cannot be recorded or planned, as one of another torch may be."""


class Recorder(DispatchMode):
    """Lists the operations that depend on its inputs and make new tensors, while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.inputs: dict[int, Tensor] = {}
        self._numbers: dict[Hashable, int] = {}  # of buffers, by storage
        self._read_only: set[int | None] = {None}  # buffers; None: constants

    def add_input(self, tensor: Tensor) -> None:
        """A tensor on which operations may depend."""
        number = self._numbers.setdefault(storage_key(tensor), len(self._numbers))
        self._read_only.add(number)
        self.inputs[number] = tensor

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = target(*args, **kwargs)
        try:
            inputs = self.arguments((args, kwargs))
            if inputs.buffers and target not in CONSTANT:
                self._record(target, inputs, (*args, *kwargs.values()), result)
        except NotReplayableError:
            raise
        except Exception as error:  # of tensors without storage, such as sparse ones
            raise NotReplayableError(
                f"{target} cannot be recorded ({type(error).__name__}: {error})"
            ) from error
        return result

    def arguments(self, values: Any) -> Arguments:
        """Nested lists of tensors and other values, with views of buffers."""
        buffers: set[int] = set()

        def view(leaf: Any) -> Any:
            number = self._numbers.get(storage_key(leaf)) if isinstance(leaf, Tensor) else None
            if number is None:
                return leaf
            buffers.add(number)
            return _view(number, leaf)

        return Arguments(map_aggregate(values, view), buffers)

    def _record(self, target: Any, inputs: Arguments, given: Sequence[Any], result: Any) -> None:
        results = list(result) if isinstance(result, Sequence) else [result]
        if target in FIRST_RESULT_ONLY:
            del results[1:]
        if not all(isinstance(each, Tensor) for each in results):
            raise NotReplayableError(
                f"{target} makes a number of its inputs; it cannot be replayed"
            )
        if _has_dynamic_size(target, given):
            raise NotReplayableError(
                f"{target} makes a result whose size depends on values; it cannot be replayed"
            )
        changed = [each for each in results if any(each is one for one in given)]
        if any(self._numbers.get(storage_key(each)) in self._read_only for each in changed):
            raise NotReplayableError(
                f"{target} changes an input or a constant; it cannot be replayed"
            )
        new = [each for each in results if storage_key(each) not in self._numbers]
        if len(new) > 1:
            raise NotReplayableError(f"{target} has several results; only one can be replayed")
        for tensor in new:
            number = self._numbers[storage_key(tensor)] = len(self._numbers)
            if target in MOSTLY_ZERO:
                self._read_only.add(number)
        # views of known storage are neither new nor changed: they cost nothing in a replay
        for tensor in (*new, *changed):
            view = _view(self._numbers[storage_key(tensor)], tensor)
            self.operations.append(Operation(target, inputs, view))


def _has_dynamic_size(target: Any, given: Sequence[Any]) -> bool:
    """Whether the size of the result depends on values; indexing by numbers does not."""
    if target is aten.index.Tensor:
        return any(each is not None and each.dtype == torch.bool for each in given[1])
    return torch.Tag.dynamic_output_shape in target.tags


def _view(number: int, tensor: Tensor) -> BufferView:
    form = (tensor.size(), tensor.stride(), int(tensor.storage_offset()))
    return BufferView(number, tensor.untyped_storage().nbytes(), tensor.dtype, *form)
