"""Plans a replay: a call and a buffer for every recorded operation."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sikff.engines.recorder import (
    FIRST_RESULT_ONLY,
    MOSTLY_ZERO,
    Arguments,
    BufferView,
    NotReplayableError,
    Operation,
)
from sikff.engines.torch_private import TO_COPY

ALIGNMENT = 64  # bytes
aten = torch.ops.aten


def _silu_backward(gradient: Tensor, x: Tensor, *, out: Tensor) -> Tensor:
    return aten.silu_backward.grad_input(gradient, x, grad_input=out)


# Operations that write into a given tensor; results of others are copied there.
OUT_VARIANTS: dict[Any, Callable[..., Any]] = {
    aten.add.Tensor: torch.add,
    aten.addmm.default: torch.addmm,
    aten.addcmul.default: torch.addcmul,
    aten.bmm.default: torch.bmm,
    aten.cat.default: torch.cat,
    aten.clamp.default: torch.clamp,
    aten.cos.default: torch.cos,
    aten.div.Tensor: torch.div,
    aten.floor.default: torch.floor,
    aten.fmax.default: torch.fmax,
    aten.index_add.default: torch.index_add,
    aten.index_select.default: torch.index_select,
    aten.le.Scalar: torch.le,
    aten.mm.default: torch.mm,
    aten.mul.Scalar: torch.mul,
    aten.mul.Tensor: torch.mul,
    aten.neg.default: torch.neg,
    aten.pow.Tensor_Scalar: torch.pow,
    aten.rsub.Scalar: aten.rsub.Scalar_out,
    aten.sigmoid.default: torch.sigmoid,
    aten.silu.default: aten.silu.out,
    aten.silu_backward.default: _silu_backward,
    aten.sin.default: torch.sin,
    aten.sqrt.default: torch.sqrt,
    aten.stack.default: torch.stack,
    aten.sub.Tensor: torch.sub,
    aten.sum.dim_IntList: torch.sum,
    aten.where.self: torch.where,
}

COPIES = (aten.clone.default, TO_COPY)


@dataclass(frozen=True)
class CatSlice:
    """The slice of a concatenated tensor that one input fills: along ``dim`` from ``start`` on."""

    joined: BufferView
    dim: int
    start: int
    length: int

    def tensor(self, buffers: dict[int, Tensor]) -> Tensor:
        return self.joined.tensor(buffers).narrow(self.dim, self.start, self.length)


class Plan:
    """A call without arguments for every operation, and buffers for all results.

    Buffers are recycled after their last reader. Inputs of ``cat`` are written straight into the
    concatenated buffer where the layout allows.

    Args:
        operations: in their order.
        inputs: tensors that they read, by number; they stay where they are.
        wanted: tensors that are needed at the end.

    Attributes:
        calls: one for each operation.
        results: the wanted tensors.
        n_bytes: memory of results, and
        n_bytes_written: written by all calls.

    Raises:
        NotReplayableError: if an operation fails as it is planned, or at its first call.
    """

    def __init__(
        self, operations: Sequence[Operation], inputs: dict[int, Tensor], wanted: Arguments
    ) -> None:
        self.calls: list[Callable[[], Any]] = []
        self.n_bytes = self.n_bytes_written = 0
        self._device = next(iter(inputs.values())).device
        self._buffers = {number: _bytes_of(tensor) for number, tensor in inputs.items()}
        self._slices = _written_in_place(operations, wanted)
        self._joined = {each.joined.buffer for each in self._slices.values()}
        self._free: list[Tensor] = []
        # never recycled: inputs, slices of other buffers, zeros that are written once
        kept = {*inputs, *self._slices}
        kept |= {each.result.buffer for each in operations if each.target in MOSTLY_ZERO}
        last_used = _last_used(operations, self._slices, wanted)
        for k, operation in enumerate(operations):
            self.calls.append(self._first_call(operation))
            self._free += [self._buffers.pop(n) for n in last_used[k] if n not in kept]
        self.results = list(wanted.tensors(self._buffers))

    def _first_call(self, operation: Operation) -> Callable[[], Any]:
        """The call of an operation, made once, as operations of another torch may fail."""
        try:
            call = self._call(operation)
            call()
        except Exception as error:
            raise NotReplayableError(
                f"{operation.target} cannot be replayed ({type(error).__name__}: {error})"
            ) from error
        return call

    def _call(self, operation: Operation) -> Callable[[], Any]:
        target, result = operation.target, operation.result
        if result.buffer in self._joined:
            return self._join(operation)
        args, kwargs = operation.inputs.tensors(self._buffers)
        if target in MOSTLY_ZERO:
            self._buffers[result.buffer] = self._new(result.n_bytes).zero_()
            part = MOSTLY_ZERO[target](result.tensor(self._buffers), *args[2:])
            return partial(part.copy_, args[0])
        if result.buffer in self._buffers:  # an earlier result that is changed in place
            return partial(target, *args, **kwargs)
        return _into(self._allocated(result), target, args, kwargs)

    def _join(self, operation: Operation) -> Callable[[], Any]:
        """A ``cat`` of which only those inputs are copied that were not written in place."""
        if operation.result.buffer not in self._buffers:  # all inputs are in place elsewhere
            self._allocated(operation.result)
        pairs = []
        for part, each in _cat_slices(operation):
            if not isinstance(each, BufferView):
                pairs.append((part.tensor(self._buffers), each))
            elif self._slices.get(each.buffer) != part:
                pairs.append((part.tensor(self._buffers), each.tensor(self._buffers)))

        def copy() -> None:
            for part, tensor in pairs:
                part.copy_(tensor)

        return copy

    def _allocated(self, view: BufferView) -> Tensor:
        """A result's memory: its slice of a ``cat``, or the smallest free buffer, or a new one."""
        if view.buffer in self._slices:
            part = self._slices[view.buffer]
            if part.joined.buffer not in self._buffers:
                self._allocated(part.joined)
            if part.dim > 0:
                return part.tensor(self._buffers).view(view.size)
            row = part.joined.stride[0] * view.dtype.itemsize
            self._buffers[view.buffer] = self._buffers[part.joined.buffer][part.start * row :]
            return view.tensor(self._buffers)
        size = -(-view.n_bytes // ALIGNMENT) * ALIGNMENT
        self.n_bytes_written += size
        lengths = {k: len(buffer) for k, buffer in enumerate(self._free)}
        # a much larger buffer is left to results that need it
        fitting = [k for k, n in lengths.items() if size <= n <= max(4 * size, 4096)]
        if fitting:
            self._buffers[view.buffer] = self._free.pop(min(fitting, key=lengths.__getitem__))
        else:
            self.n_bytes += size
            self._buffers[view.buffer] = self._new(size)
        return view.tensor(self._buffers)

    def _new(self, n_bytes: int) -> Tensor:
        return torch.empty(n_bytes, dtype=torch.uint8, device=self._device)


def _written_in_place(operations: Sequence[Operation], wanted: Arguments) -> dict[int, CatSlice]:
    """Inputs of ``cat`` that may be computed in their slice, by buffer.

    They are written once and never changed. Along dim 0 the slice is contiguous, so that any
    operation may write it; along others only a copy with no other reader may.
    """
    writers = Counter(operation.result.buffer for operation in operations)
    readers = Counter(number for each in operations for number in each.inputs.buffers)
    readers.update(wanted.buffers)
    written_once = {
        operation.result.buffer: operation
        for operation in operations
        if writers[operation.result.buffer] == 1 and operation.target not in MOSTLY_ZERO
    }
    found: dict[int, CatSlice] = {}
    for operation in operations:
        joined = operation.result
        if operation.target is not aten.cat.default or not joined.fills_buffer:
            continue
        slices = _cat_slices(operation) if writers[joined.buffer] == 1 else []
        times = Counter(each.buffer for _, each in slices if isinstance(each, BufferView))
        for part, each in slices:
            if not (isinstance(each, BufferView) and each.fills_buffer):
                continue
            if (
                each.dtype != joined.dtype
                or each.buffer not in written_once
                or each.buffer in found
            ):
                continue
            if part.dim == 0:
                start = part.start * joined.stride[0] * joined.dtype.itemsize
                allowed = start % ALIGNMENT == 0  # else products of matrices may round differently
            else:
                alone = readers[each.buffer] == times[each.buffer] == 1
                allowed = alone and _copies_to(part, written_once[each.buffer])
            if allowed:
                found[each.buffer] = part
    return found


def _cat_slices(operation: Operation) -> list[tuple[CatSlice, Any]]:
    """Slices and inputs of a ``cat``, without the empty vectors that torch lets it skip."""
    (tensors, *dim), joined = operation.inputs.values[0], operation.result
    along = dim[0] % len(joined.size) if dim else 0
    found, start = [], 0
    for each in tensors:
        size = each.size if isinstance(each, BufferView) else each.shape
        if len(size) == len(joined.size):
            found.append((CatSlice(joined, along, start, size[along]), each))
            start += size[along]
    return found


def _copies_to(part: CatSlice, operation: Operation) -> bool:
    """Whether an operation is a copy whose result can be a view of the slice."""
    if operation.target not in COPIES or not operation.result.fills_buffer:
        return False
    there = torch.empty(part.joined.size, device="meta").narrow(part.dim, part.start, part.length)
    try:
        there.view(operation.result.size)
    except RuntimeError:
        return False
    return True


def _last_used(
    operations: Sequence[Operation], slices: dict[int, CatSlice], wanted: Arguments
) -> dict[int, list[int]]:
    """Buffers that each operation is the last to read; a ``cat`` lives as long as its slices."""
    last = {used: k for k, operation in enumerate(operations) for used in operation.inputs.buffers}
    last |= dict.fromkeys(wanted.buffers, len(operations))
    for number, part in slices.items():
        last[part.joined.buffer] = max(last[number], last.get(part.joined.buffer, 0))
    of_operation: dict[int, list[int]] = defaultdict(list)
    for number, k in last.items():
        of_operation[k].append(number)
    return of_operation


def _bytes_of(tensor: Tensor) -> Tensor:
    """The storage of a tensor as bytes."""
    storage = torch.empty(0, dtype=torch.uint8, device=tensor.device)
    return storage.set_(tensor.untyped_storage())


def _into(out: Tensor, target: Any, args: Any, kwargs: Any) -> Callable[[], Any]:
    """A call that writes the result of an operation into ``out``."""
    if target in COPIES:
        return partial(out.copy_, args[0])
    if target in OUT_VARIANTS:
        return partial(OUT_VARIANTS[target], *args, **kwargs, out=out)

    def compute() -> None:
        result = target(*args, **kwargs)
        out.copy_(result[0] if target in FIRST_RESULT_ONLY else result)

    return compute
