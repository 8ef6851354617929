"""What depends on weights alone is computed once where weights do not change any more."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn

T = TypeVar("T")
KEPT = "_of_frozen_weights"


def of_weights(layer: nn.Module, make: Callable[[], T]) -> T:
    """``make()``, a function of the layer's weights; of a frozen layer, what it gave at first.

    A layer has one such function at most, or is given what it keeps by :func:`keep`.
    """
    if KEPT not in layer.__dict__:
        return make()
    if layer.__dict__[KEPT] is None:
        layer.__dict__[KEPT] = make()
    return layer.__dict__[KEPT]


def keep(layer: nn.Module, value: Any) -> None:
    """What a frozen layer has instead of a function of its weights, until :func:`thaw`."""
    layer.__dict__[KEPT] = value


def kept(layer: nn.Module) -> Any:
    """What a frozen layer keeps, or None."""
    return layer.__dict__.get(KEPT)


def freeze(model: nn.Module) -> None:
    """From now on the weights have no gradient, and must not change until :func:`thaw`."""
    model.requires_grad_(False)
    for layer in model.modules():
        layer.__dict__[KEPT] = None


def thaw(model: nn.Module) -> None:
    """Forgets what :func:`freeze` has kept. It leaves ``requires_grad`` as it is."""
    for layer in model.modules():
        layer.__dict__.pop(KEPT, None)
