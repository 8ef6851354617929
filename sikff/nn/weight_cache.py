"""Caches weight-only expressions (scaled matrices, coupling tables) of frozen modules."""

from collections.abc import Callable
from operator import is_
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
CACHE = "_weight_cache"  # attribute of frozen layers: function name -> entries


def cached(layer: nn.Module, function: Callable[..., T], *constants: Tensor | None) -> T:
    """``function(*constants)``, an expression of the layer's weights; computed once if frozen.

    Args:
        layer: whose weights are read.
        function: a method of the layer.
        constants: further inputs; the result is cached for these very tensors.
    """
    cache = layer.__dict__.get(CACHE)
    if cache is None:
        return function(*constants)
    entries: list[tuple[tuple[Tensor | None, ...], T]] = cache.setdefault(function.__name__, [])
    for inputs, result in entries:
        if all(map(is_, inputs, constants)):
            return result
    with torch.inference_mode(False):  # tensors made in inference mode would be of no use outside
        result = function(*constants)
    entries.append((constants, result))
    return result


def store(layer: nn.Module, name: str, value: Any) -> None:
    """Adds a value to the cache of a frozen layer; :func:`thaw` drops it."""
    layer.__dict__[CACHE][name] = value


def stored(layer: nn.Module, name: str) -> Any:
    """A value added by :func:`store`, or None."""
    return layer.__dict__.get(CACHE, {}).get(name)


def freeze(model: nn.Module) -> None:
    """Turns gradients of all weights off and caches on; weights may change after :func:`thaw`."""
    model.requires_grad_(False)
    for layer in model.modules():
        layer.__dict__[CACHE] = {}


def thaw(model: nn.Module) -> None:
    """Empties the caches and turns them off. Leaves ``requires_grad`` as it is."""
    for layer in model.modules():
        layer.__dict__.pop(CACHE, None)
