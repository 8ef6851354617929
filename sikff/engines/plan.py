"""Recorded operations, each of them made a call that finds its memory ready."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sikff.engines.recorder import (
    OF_MANY,
    PARTLY_ZERO,
    NotReplayableError,
    Operation,
    Place,
    Placed,
)

ALIGNMENT = 64  # bytes
aten = torch.ops.aten


def _silu_backward(gradient: Tensor, x: Tensor, *, out: Tensor) -> Tensor:
    return aten.silu_backward.grad_input(gradient, x, grad_input=out)


# These write where they are told to; the result of any other is copied there.
INTO: dict[Any, Callable[..., Any]] = {
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


COPIES = (aten.clone.default, aten._to_copy.default)


@dataclass(frozen=True)
class Part:
    """Where a result is joined to a whole: from ``start`` on along ``dim``."""

    whole: Place
    dim: int
    start: int
    length: int

    def tensor(self, memory: dict[int, Tensor]) -> Tensor:
        return self.whole.tensor(memory).narrow(self.dim, self.start, self.length)


class Plan:
    """A call for every operation, and memory for all that they make.

    Memory that nobody needs any more is taken by later results. What is joined to a whole is made
    in its place there, where it can be.

    Args:
        operations: in their order.
        inputs: tensors that they read, which lie where they lie now.
        asked: what must be there at the end.

    Attributes:
        calls: one for each operation, which take no arguments.
        results: the tensors that were asked for.
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
        self._parts = _parts(operations, asked)
        self._wholes = {part.whole.number for part in self._parts.values()}
        self._free: list[Tensor] = []
        kept = {*inputs, *self._parts}
        kept |= {each.result.number for each in operations if each.target in PARTLY_ZERO}
        ending = _ending(operations, self._parts, asked)
        for k, operation in enumerate(operations):
            self.calls.append(self._first_call(operation))
            self._free += [self._memory.pop(number) for number in ending[k] if number not in kept]
        self.results = list(asked.tensors(self._memory))

    def _first_call(self, operation: Operation) -> Callable[[], Any]:
        """The call of an operation, tried once, as those of other versions of torch may fail."""
        try:
            call = self._call(operation)
            call()
        except Exception as error:
            raise NotReplayableError(
                f"{operation.target} cannot be replayed ({type(error).__name__}: {error})"
            ) from error
        return call

    def _call(self, operation: Operation) -> Callable[[], Any]:
        target, place = operation.target, operation.result
        if place.number in self._wholes:
            return self._rest_of_whole(operation)
        args, kwargs = operation.inputs.tensors(self._memory)
        if target in PARTLY_ZERO:
            self._memory[place.number] = self._new(place.n_bytes).zero_()
            part = PARTLY_ZERO[target](place.tensor(self._memory), *args[2:])
            return partial(part.copy_, args[0])
        if place.number in self._memory:  # of a result before, which is changed
            return partial(target, *args, **kwargs)
        return _into(self._provided(place), target, args, kwargs)

    def _rest_of_whole(self, operation: Operation) -> Callable[[], Any]:
        """Copies those parts that have not been made in their place."""
        if operation.result.number not in self._memory:  # all of them belong elsewhere
            self._provided(operation.result)
        pairs = []
        for part, each in _joined(operation):
            if not isinstance(each, Place):
                pairs.append((part.tensor(self._memory), each))
            elif self._parts.get(each.number) != part:
                pairs.append((part.tensor(self._memory), each.tensor(self._memory)))

        def copied() -> None:
            for there, tensor in pairs:
                there.copy_(tensor)

        return copied

    def _provided(self, place: Place) -> Tensor:
        """Memory for a result: in its whole, or the smallest that is free and fits, or new."""
        if place.number in self._parts:
            part = self._parts[place.number]
            if part.whole.number not in self._memory:
                self._provided(part.whole)
            if part.dim > 0:
                return part.tensor(self._memory).view(place.size)
            row = part.whole.stride[0] * place.dtype.itemsize
            self._memory[place.number] = self._memory[part.whole.number][part.start * row :]
            return place.tensor(self._memory)
        size = -(-place.n_bytes // ALIGNMENT) * ALIGNMENT
        self.n_bytes_written += size
        lengths = {k: len(block) for k, block in enumerate(self._free)}
        fitting = [k for k, n in lengths.items() if size <= n <= max(4 * size, 4096)]
        if fitting:
            self._memory[place.number] = self._free.pop(min(fitting, key=lengths.__getitem__))
        else:
            self.n_bytes += size
            self._memory[place.number] = self._new(size)
        return place.tensor(self._memory)

    def _new(self, n_bytes: int) -> Tensor:
        return torch.empty(n_bytes, dtype=torch.uint8, device=self._device)


def _parts(operations: Sequence[Operation], asked: Placed) -> dict[int, Part]:
    """Results that can be made in the whole to which they are joined: nobody changes them, and
    where they are not one piece of its memory, they are copies that nobody else needs."""
    makers = Counter(operation.result.number for operation in operations)
    users = Counter(number for each in operations for number in each.inputs.used)
    users.update(asked.used)
    made = {
        operation.result.number: operation
        for operation in operations
        if makers[operation.result.number] == 1 and operation.target not in PARTLY_ZERO
    }
    found: dict[int, Part] = {}
    for operation in operations:
        whole = operation.result
        if operation.target is not aten.cat.default or not whole.is_whole:
            continue
        joined = _joined(operation) if makers[whole.number] == 1 else []
        times = Counter(each.number for _, each in joined if isinstance(each, Place))
        for part, each in joined:
            if not isinstance(each, Place) or not each.is_whole or each.dtype != whole.dtype:
                continue
            if each.number not in made or each.number in found:
                continue
            if part.dim == 0:
                start = part.start * whole.stride[0] * whole.dtype.itemsize
                can_be_there = start % ALIGNMENT == 0  # else products of matrices may differ
            else:
                alone = users[each.number] == times[each.number] == 1
                can_be_there = alone and _is_copied_there(made[each.number], part)
            if can_be_there:
                found[each.number] = part
    return found


def _joined(operation: Operation) -> list[tuple[Part, Any]]:
    """What a concatenation joins, and where; nothing of what is empty and has no dimensions."""
    (tensors, *dim), whole = operation.inputs.values[0], operation.result
    along = dim[0] % len(whole.size) if dim else 0
    found, start = [], 0
    for each in tensors:
        size = each.size if isinstance(each, Place) else each.shape
        if len(size) == len(whole.size):
            found.append((Part(whole, along, start, size[along]), each))
            start += size[along]
    return found


def _is_copied_there(operation: Operation, part: Part) -> bool:
    """Whether it copies, to a result that is a view of its part of the whole."""
    if operation.target not in COPIES or not operation.result.is_whole:
        return False
    there = torch.empty(part.whole.size, device="meta").narrow(part.dim, part.start, part.length)
    try:
        there.view(operation.result.size)
    except RuntimeError:
        return False
    return True


def _ending(
    operations: Sequence[Operation], parts: dict[int, Part], asked: Placed
) -> dict[int, list[int]]:
    """Which results are needed for the last time, for each operation; a whole as its parts are."""
    last = {used: k for k, operation in enumerate(operations) for used in operation.inputs.used}
    last |= dict.fromkeys(asked.used, len(operations))
    for number, part in parts.items():
        last[part.whole.number] = max(last[number], last.get(part.whole.number, 0))
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
    if target in COPIES:
        return partial(out.copy_, args[0])
    if target in INTO:
        return partial(INTO[target], *args, **kwargs, out=out)

    def computed() -> None:
        result = target(*args, **kwargs)
        out.copy_(result[0] if target in OF_MANY else result)

    return computed
