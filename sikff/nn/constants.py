"""Constant buffers of layers, exact in every dtype, and the change to a type's canonical basis."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import FieldType


class ConstantModule(nn.Module):
    """A module with constant buffers that are exact in every dtype.

    A constant is a buffer outside the state dict with a float64 original: after ``.double()`` or
    ``.to(...)`` it is cast from that original, never from a rounded copy. Like parameters,
    constants start in torch's default dtype.
    """

    def __init__(self) -> None:
        super().__init__()
        self._constants: dict[str, np.ndarray] = {}

    def register_constant(self, name: str, values: np.ndarray) -> None:
        """Add a copy of a float64 array as the buffer ``name``."""
        self._constants[name] = np.array(values, dtype=np.float64)
        buffer = torch.from_numpy(self._constants[name]).to(torch.get_default_dtype())
        self.register_buffer(name, buffer, persistent=False)

    @property
    def constants(self) -> Mapping[str, np.ndarray]:
        """The float64 originals of the constant buffers, by name."""
        return self._constants

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        # torch calls this for every change of dtype or device; buffers are then cast already
        module = super()._apply(fn, recurse)
        for name, original in self._constants.items():
            cast = getattr(self, name)
            if cast.device.type != "meta":
                setattr(self, name, torch.from_numpy(original).to(cast.device, cast.dtype))
        return module


class ToCanonical(ConstantModule):
    """Changes features [..., d] of a type to its canonical type, or back (``inverse``)."""

    matrix: Tensor

    def __init__(self, field_type: FieldType, inverse: bool = False) -> None:
        super().__init__()
        self.is_identity = field_type.is_canonical
        if not self.is_identity:
            # row vectors: x_canonical = x_type B, x_type = x_canonical B^T
            basis = field_type.change_of_basis
            self.register_constant("matrix", basis.T if inverse else basis)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.is_identity else x @ self.matrix


def check_size(name: str, x: Tensor, field_type: FieldType) -> None:
    """Raise ValueError unless the last dimension of ``x`` fits the type."""
    if x.shape[-1] != field_type.size:
        raise ValueError(
            f"{name}: expected features [..., {field_type.size}] of {field_type!r}, "
            f"got shape {tuple(x.shape)}"
        )
