"""A device that is none: tensors live on the CPU, but are told to be elsewhere and cannot be mixed.

It has values, so that results can be compared, and it counts what a GPU would have to do: launches
of kernels, values that the host reads and must wait for, and copies from the host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing

NAME = "pretend"
aten = torch.ops.aten
# Besides operations whose result has a size that depends on values.
READS = {aten._local_scalar_dense, aten.equal, aten.is_nonzero, aten.bincount, aten.item}
COPIES = {aten._to_copy, aten.copy_}
# Results on the device of Python numbers or of nothing: without tensors as arguments.
UNREAD = {aten.lift_fresh, aten.lift_fresh_copy, aten.detach, aten.alias}
is_available = hasattr(backend_registration, "_setup_privateuseone_for_python_backend")


class MixedDevicesError(RuntimeError):
    """An operation of tensors on both devices, which a GPU refuses or waits for."""


class PretendTensor(Tensor):
    """A tensor on the device; ``on_host`` holds its values."""

    on_host: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> PretendTensor:
        tensor = Tensor._make_wrapper_subclass(
            cls,
            values.size(),
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=torch.device(NAME, 0),
        )
        tensor.on_host = values
        return tensor

    def tolist(self) -> Any:
        """Of other subclasses torch refuses it."""
        return self.cpu().tolist()

    def __repr__(self) -> str:
        return f"PretendTensor({self.on_host})"

    @classmethod
    def __torch_dispatch__(cls, target: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise MixedDevicesError(f"{target} outside of the context of the device")


class Counts(TorchDispatchMode):
    """What was done on the device while it was active.

    Attributes:
        launches: operations on the device that are no views.
        reads: names of those whose result, or its size, the host had to wait for.
        uploads: bytes of each copy from the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.launches: Counter[str] = Counter()
        self.reads: list[str] = []
        self.uploads: list[int] = []

    @property
    def total(self) -> int:
        """The number of launches."""
        return self.launches.total()

    def clear(self) -> None:
        """Starts from zero."""
        self.launches.clear()
        self.reads.clear()
        self.uploads.clear()

    def __torch_dispatch__(
        self, target: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in tensors if isinstance(x, PretendTensor)]
        asked = kwargs.get("device")
        elsewhere = asked is not None and torch.device(asked).type == NAME
        if asked is not None:
            kwargs["device"] = torch.device("cpu") if elsewhere else asked
        packet = target.overloadpacket
        if here and packet not in COPIES and any(x.ndim for x in tensors if x not in _Set(here)):
            raise MixedDevicesError(
                f"{target} of tensors {[(x.device.type, tuple(x.shape)) for x in tensors]}"
            )
        to_host = bool(here) and (
            (packet is aten._to_copy and asked is not None and not elsewhere)
            or (packet is aten.copy_ and not isinstance(args[0], PretendTensor))
        )
        self._count(target, packet, here, tensors, args, kwargs, elsewhere, to_host)
        unwrapped = pytree.tree_map_only(PretendTensor, lambda x: x.on_host, (args, kwargs))
        result = target(*unwrapped[0], **unwrapped[1])
        if packet is aten.copy_:
            return args[0]
        if (not here and not elsewhere) or to_host:
            return result
        wrapped = pytree.tree_map_only(Tensor, PretendTensor, result)
        return return_and_correct_aliasing(target, args, kwargs, wrapped)

    def _count(
        self,
        target: Any,
        packet: Any,
        here: list[Tensor],
        tensors: list[Tensor],
        args: Any,
        kwargs: Any,
        elsewhere: bool,
        to_host: bool,
    ) -> None:
        name = str(target)
        if to_host:
            self.reads.append(name)
            return
        uploaded = packet in COPIES and len(here) < len(tensors) and (here or elsewhere)
        if uploaded:
            source = args[0] if packet is aten._to_copy else args[1]
            self.uploads.append(source.numel() * source.element_size())
            return
        if not here:
            if elsewhere:
                self.launches[name] += 1
            return
        masks = packet is aten.index and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        dynamic = torch.Tag.dynamic_output_shape in target.tags and packet is not aten.index
        sized = kwargs.get("output_size") is not None  # as repeat_interleave can be told
        if packet in READS or masks or (dynamic and not sized):
            self.reads.append(name)
        elif not target.is_view and packet not in UNREAD:
            self.launches[name] += 1


class _Set:
    """Membership by identity, which tensors do not have."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._ids = {id(x) for x in tensors}

    def __contains__(self, tensor: Tensor) -> bool:
        return id(tensor) in self._ids


@cache
def register() -> None:
    """Makes the name of the device known to torch, once in a process."""
    module = SimpleNamespace(
        device_count=lambda: 1,
        is_available=lambda: True,
        current_device=lambda: 0,
        is_initialized=lambda: True,
        _is_in_bad_fork=lambda: False,
        manual_seed_all=lambda seed: None,
        get_rng_state=lambda device=0: torch.empty(0),
        set_rng_state=lambda state, device=0: None,
        is_autocast_available=lambda: False,
        get_amp_supported_dtype=lambda: [],
    )
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=module)


@contextmanager
def pretend_device() -> Iterator[Counts]:
    """Inside, tensors may be on the device "pretend"; yields the counts."""
    register()
    with torch.autograd.set_multithreading_enabled(False), Counts() as counts:
        yield counts
