"""Samples of a data set as tensors: selected, moved between devices, rotated, labelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Generic, Self, TypeVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """Inputs of a model: a dataclass of tensors whose first dimension counts samples.

    Subclasses list the fields that all samples share in `SHARED`, and those that hold vectors
    [..., 3] in `VECTORS`.
    """

    SHARED: ClassVar[tuple[str, ...]] = ()
    VECTORS: ClassVar[tuple[str, ...]] = ()

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))

    def select(self, chosen: Tensor) -> Self:
        """The samples with these numbers [K], in this order."""
        return self._map(lambda name, x: x if name in self.SHARED else x.index_select(0, chosen))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Self:
        """The same samples on a device, with floating-point tensors of a precision."""
        return self._map(lambda _, x: _moved(x, device, dtype))

    def rotated(self, matrix: Tensor) -> Self:
        """The samples under an orthogonal matrix [3, 3]."""
        return self._map(lambda name, x: x @ matrix.to(x).T if name in self.VECTORS else x)

    def _map(self, function: Callable[[str, Tensor], Tensor]) -> Self:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(name, x) for name, x in tensors.items()})


X = TypeVar("X", bound=Samples)


@dataclass(frozen=True, eq=False)
class Labelled(Generic[X]):
    """N samples with labels [N, ...]."""

    inputs: X
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, chosen: Tensor) -> Labelled[X]:
        """The samples with these numbers [K], in this order."""
        return Labelled(self.inputs.select(chosen), self.labels.index_select(0, chosen))

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Labelled[X]:
        """The same on a device, with floating-point tensors of a precision."""
        return Labelled(self.inputs.to(device, dtype), _moved(self.labels, device, dtype))


def _moved(x: Tensor, device: torch.device | str, dtype: torch.dtype) -> Tensor:
    return x.to(device, dtype if x.is_floating_point() else x.dtype)


@torch.no_grad()
def predict(model: Callable[[X], Tensor], inputs: X, portion: int) -> Tensor:
    """Predictions [N, ...] for any number of samples, a portion at a time."""
    first = next(getattr(inputs, field.name) for field in fields(inputs))
    numbers = torch.arange(len(inputs), device=first.device)
    return torch.cat([model(inputs.select(chosen)) for chosen in numbers.split(portion)])
