"""Leaves the modes of torch that other programs have entered: inference, autocast and the like."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch


@contextmanager
def plain_autograd(device: torch.device) -> Iterator[None]:
    """Records gradients, outside inference mode and autocast, whatever the caller has entered."""
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
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Sets the type of new floating-point tensors inside; of all threads, so keep it short."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
