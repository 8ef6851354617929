"""Leaves the modes of torch that other programs have entered: inference, autocast and the like."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

_settled_in = os.getpid()  # the process that imported this, or a child with one thread


def leave_threads_behind() -> None:
    """Takes one thread in a process that was forked after the import of this module.

    If the parent has used several, the child's next parallel operation waits for threads that a
    fork does not copy, for ever. Done once in a process, with a warning: a program may then take
    more, at its own risk.
    """
    global _settled_in
    if os.getpid() == _settled_in:
        return
    _settled_in, before = os.getpid(), torch.get_num_threads()
    torch.set_num_threads(1)  # also if 1 is told: torch counts late in a thread that is forked
    if before > 1:
        warnings.warn(
            f"this process was forked from one that may have used {before} threads, without which "
            "torch would hang here: it takes one thread now. For more start processes by spawn "
            "or forkserver, not fork",
            stacklevel=2,
        )


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Sets torch's number of threads on the CPU inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def plain_autograd(device: torch.device) -> Iterator[None]:
    """Records gradients, outside inference mode and autocast, whatever the caller has entered."""
    leave_threads_behind()
    kind = device.type
    casts = torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
    with (
        torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext(),
        torch.autocast(kind, enabled=False) if casts else nullcontext(),
        torch.enable_grad(),
    ):
        yield


@contextmanager
def plain_torch() -> Iterator[None]:
    """Like `plain_autograd` on every device, and new tensors are on the CPU.

    For whole jobs, such as a training run: inside, they make tensors, copy models and differentiate
    as in a program of their own. May decorate a function.
    """
    elsewhere = torch.empty(0).device.type != "cpu"
    with (
        plain_autograd(torch.device("cpu")),
        plain_autograd(torch.device("cuda")),
        torch.device("cpu") if elsewhere else nullcontext(),
    ):
        yield


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """Makes torch take deterministic algorithms inside, if wanted; of all threads."""
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    if wanted:
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets the type of new floating-point tensors inside; of all threads, so keep it short."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
