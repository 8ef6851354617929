"""Recorded operations, each of them made a call that finds its memory ready."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sikff.forcefield.recorder import PARTLY_ZERO, Operation, Place, Placed

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


class Plan:
    """A call for every operation, and memory for all that they make.

    Memory that nobody needs any more is taken by later results. What is joined to a whole, one
    part after the other in memory, is made in its place there.

    Args:
        operations: in their order.
        inputs: tensors that they read, which lie where they lie now.
        asked: what must be there at the end.

    Attributes:
        calls: one for each operation, without arguments.
        asked: the tensors that were asked for.
        n_bytes: memory of results, and
        n_bytes_written: that which they write.
    """

    def __init__(
        self, operations: Sequence[Operation], inputs: dict[int, Tensor], asked: Placed
    ) -> None:
        self.calls: list[Callable[[], Any]] = []
        self.n_bytes = self.n_bytes_written = 0
        self._device = next(iter(inputs.values())).device
        self._memory = {number: _bytes_of(tensor) for number, tensor in inputs.items()}
        self._parts = _parts(operations)
        self._free: list[Tensor] = []
        kept = {*inputs, *asked.used, *self._parts}
        kept |= {each.result.number for each in operations if each.target in PARTLY_ZERO}
        ending = _ending(operations, self._parts)
        for k, operation in enumerate(operations):
            self.calls.append(self._call(operation))
            self._free += [self._memory.pop(number) for number in ending[k] if number not in kept]
        self.asked = list(asked.tensors(self._memory))

    def _call(self, operation: Operation) -> Callable[[], Any]:
        target, place = operation.target, operation.result
        args, kwargs = operation.inputs.tensors(self._memory)
        if target in PARTLY_ZERO:
            self._memory[place.number] = self._new(place.n_bytes).zero_()
            part = PARTLY_ZERO[target](place.tensor(self._memory), *args[2:])
            return partial(part.copy_, args[0])
        if target is aten.cat.default and self._parts.keys() & operation.inputs.used:
            return self._rest_of_whole(operation, args[0])
        if place.number in self._memory:  # of a result before, which is changed
            return partial(target, *args, **kwargs)
        self._provide(place)
        return _into(place.tensor(self._memory), target, args, kwargs)

    def _rest_of_whole(self, operation: Operation, tensors: Sequence[Tensor]) -> Callable[[], Any]:
        """Copies those parts that have not been made in their place."""
        sizes = [len(tensor) for tensor in tensors]
        own = operation.result.tensor(self._memory).split(sizes)
        pairs = [
            (there, tensor)
            for there, tensor in zip(own, tensors, strict=True)
            if there.data_ptr() != tensor.data_ptr()
        ]

        def copied() -> None:
            for there, tensor in pairs:
                there.copy_(tensor)

        return copied

    def _provide(self, place: Place) -> None:
        """Memory for a result: in its whole, or the smallest that is free and fits, or new."""
        if place.number in self._parts:
            whole, start = self._parts[place.number]
            if whole.number not in self._memory:
                self._provide(whole)
            self._memory[place.number] = self._memory[whole.number][start:]
            return
        size = -(-place.n_bytes // ALIGNMENT) * ALIGNMENT
        self.n_bytes_written += size
        lengths = {k: len(block) for k, block in enumerate(self._free)}
        fitting = [k for k, n in lengths.items() if size <= n <= max(4 * size, 4096)]
        if fitting:
            self._memory[place.number] = self._free.pop(min(fitting, key=lengths.__getitem__))
        else:
            self.n_bytes += size
            self._memory[place.number] = self._new(size)

    def _new(self, n_bytes: int) -> Tensor:
        return torch.empty(n_bytes, dtype=torch.uint8, device=self._device)


def _parts(operations: Sequence[Operation]) -> dict[int, tuple[Place, int]]:
    """Results that are joined in the order of memory and changed by nobody, each with the place of
    the whole and the byte in it where it starts."""
    makers = Counter(operation.result.number for operation in operations)
    made = {
        operation.result.number
        for operation in operations
        if makers[operation.result.number] == 1 and operation.target not in PARTLY_ZERO
    }
    found: dict[int, tuple[Place, int]] = {}
    for operation in operations:
        (tensors, *dim), whole = operation.inputs.values[0], operation.result
        if operation.target is not aten.cat.default or dim not in ([], [0]) or not whole.is_whole:
            continue
        start = 0
        for each in tensors:
            if isinstance(each, Place) and each.is_whole and each.number in made - found.keys():
                found[each.number] = (whole, start)
            start += each.numel() * each.dtype.itemsize
    return found


def _ending(
    operations: Sequence[Operation], parts: dict[int, tuple[Place, int]]
) -> dict[int, list[int]]:
    """Which results are needed for the last time, for each operation; a whole as its parts are."""
    last = {used: k for k, operation in enumerate(operations) for used in operation.inputs.used}
    for part, (whole, _) in parts.items():
        last[whole.number] = max(last[part], last.get(whole.number, 0))
    ending: dict[int, list[int]] = defaultdict(list)
    for number, k in last.items():
        ending[k].append(number)
    return ending


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
