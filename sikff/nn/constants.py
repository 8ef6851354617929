"""Numeric tables of layers, and the change to a type's canonical irrep basis."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import FieldType


class Tabulated(nn.Module):
    """A module whose tables are exact in every dtype.

    A table is a buffer outside the state dict that keeps its float64 original: after ``.double()``
    or ``.to(...)`` it is cast from that original, never from a rounded copy. Like parameters,
    tables start in torch's default dtype.
    """

    def __init__(self) -> None:
        super().__init__()
        self._originals: dict[str, np.ndarray] = {}

    def register_table(self, name: str, values: np.ndarray) -> None:
        """Add a float64 array as the buffer ``name``."""
        self._originals[name] = np.array(values, dtype=np.float64)
        table = torch.from_numpy(self._originals[name]).to(torch.get_default_dtype())
        self.register_buffer(name, table, persistent=False)

    @property
    def originals(self) -> Mapping[str, np.ndarray]:
        """The float64 originals by name."""
        return self._originals

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        module = super()._apply(fn, recurse)
        for name, original in self._originals.items():
            moved = getattr(self, name)
            if moved.device.type != "meta":
                setattr(self, name, torch.from_numpy(original).to(moved.device, moved.dtype))
        return module


class ToCanonical(Tabulated):
    """Features [..., d] of a type -> the same features in its canonical type (or back)."""

    matrix: Tensor

    def __init__(self, field_type: FieldType, inverse: bool = False) -> None:
        super().__init__()
        self.is_identity = field_type.is_canonical
        if not self.is_identity:
            # row vectors: x_canonical = x_type B, x_type = x_canonical B^T
            basis = field_type.change_of_basis
            self.register_table("matrix", basis.T if inverse else basis)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.is_identity else x @ self.matrix


def check_size(name: str, x: Tensor, field_type: FieldType) -> None:
    """Raise ValueError unless the last dimension of ``x`` fits the type."""
    if x.shape[-1] != field_type.size:
        raise ValueError(
            f"{name}: expected features [..., {field_type.size}] of {field_type!r}, "
            f"got shape {tuple(x.shape)}"
        )
