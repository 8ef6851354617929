"""The operations of a function of tensors, listed while it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx.node import map_aggregate
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
# The same whatever the values of their inputs.
CONSTANT = {aten.new_zeros.default, aten.zeros_like.default, aten.ones_like.default}
# Their results are zero but for a part, which is a gradient.
PARTLY_ZERO = {
    aten.select_backward.default: aten.select.int,
    aten.slice_backward.default: aten.slice.Tensor,
}

# Of their results only the first is used.
OF_MANY = {aten._embedding_bag_forward_only.default}


@dataclass(frozen=True)
class Place:
    """Where a tensor lies: in the memory of which result, of how many bytes, and how."""

    number: int
    n_bytes: int
    dtype: torch.dtype
    size: torch.Size
    stride: tuple[int, ...]
    offset: int

    def tensor(self, memory: dict[int, Tensor]) -> Tensor:
        """The tensor there, in memory [bytes] of each number."""
        own = memory[self.number][: self.n_bytes].view(self.dtype)
        return own.as_strided(self.size, self.stride, own.storage_offset() + self.offset)

    @property
    def is_whole(self) -> bool:
        """Whether the tensor is all that lies there, in order."""
        in_order = torch.empty(self.size, device="meta").stride()
        return self.stride == in_order and self.n_bytes == self.size.numel() * self.dtype.itemsize


@dataclass(frozen=True)
class Placed:
    """Nested lists of values, with the place of every tensor that depends on the inputs."""

    values: Any
    used: set[int]  # numbers of these places

    def tensors(self, memory: dict[int, Tensor]) -> Any:
        """The same lists with tensors in that memory."""
        return map_aggregate(
            self.values, lambda leaf: leaf.tensor(memory) if isinstance(leaf, Place) else leaf
        )


@dataclass(frozen=True)
class Operation:
    """What was called, with which positional and named inputs, and what it made or changed."""

    target: Any
    inputs: Placed
    result: Place


class NotReplayableError(ValueError):
    """An operation that cannot be listed, as one of another version of torch may be."""


class Recorder(TorchDispatchMode):
    """Lists the operations that depend on some tensors and make new ones, while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.inputs: dict[int, Tensor] = {}
        self._numbers: dict[StorageWeakRef, int] = {}  # of the memory of tensors, dead ones too
        self._fixed: set[int | None] = {None}  # what must not be changed; None: constants

    def add_input(self, tensor: Tensor) -> None:
        """A tensor on which operations may depend."""
        number = self._numbers.setdefault(_memory(tensor), len(self._numbers))
        self._fixed.add(number)
        self.inputs[number] = tensor

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """As torch asks its modes; True would import its compiler, which takes two seconds."""
        return False

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = target(*args, **(kwargs or {}))
        try:
            inputs = self.placed((args, kwargs or {}))
            if inputs.used and target not in CONSTANT:
                self._record(target, inputs, (*args, *(kwargs or {}).values()), result)
        except NotReplayableError:
            raise
        except Exception as error:  # tensors without memory of their own, such as sparse ones
            raise NotReplayableError(
                f"{target} cannot be recorded ({type(error).__name__}: {error})"
            ) from error
        return result

    def placed(self, values: Any) -> Placed:
        """Nested lists of tensors and other values with places."""
        used: set[int] = set()

        def place(leaf: Any) -> Any:
            number = self._numbers.get(_memory(leaf)) if isinstance(leaf, Tensor) else None
            if number is None:
                return leaf
            used.add(number)
            return _place(number, leaf)

        return Placed(map_aggregate(values, place), used)

    def _record(self, target: Any, inputs: Placed, given: Sequence[Any], result: Any) -> None:
        results = list(result) if isinstance(result, Sequence) else [result]
        if target in OF_MANY:
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
        if any(self._numbers.get(_memory(each)) in self._fixed for each in changed):
            raise NotReplayableError(
                f"{target} changes an input or a constant; it cannot be replayed"
            )
        new = [each for each in results if _memory(each) not in self._numbers]
        if len(new) > 1:
            raise NotReplayableError(f"{target} has several results; only one can be replayed")
        for tensor in new:
            number = self._numbers[_memory(tensor)] = len(self._numbers)
            if target in PARTLY_ZERO:
                self._fixed.add(number)
        for tensor in (*new, *changed):
            result = _place(self._numbers[_memory(tensor)], tensor)
            self.operations.append(Operation(target, inputs, result))


def _has_dynamic_size(target: Any, given: Sequence[Any]) -> bool:
    """Whether the size of the result depends on values; by numbers one indexes without that."""
    if target is aten.index.Tensor:
        return any(each is not None and each.dtype == torch.bool for each in given[1])
    return torch.Tag.dynamic_output_shape in target.tags


def _memory(tensor: Tensor) -> StorageWeakRef:
    """Names the memory of a tensor, and of no other one, also when it has been freed."""
    return StorageWeakRef(tensor.untyped_storage())


def _place(number: int, tensor: Tensor) -> Place:
    form = (tensor.size(), tensor.stride(), int(tensor.storage_offset()))
    return Place(number, tensor.untyped_storage().nbytes(), tensor.dtype, *form)
