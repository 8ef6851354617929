"""Energies of free atoms, in float64 whatever the dtype of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor


class FreeAtoms(torch.nn.Module):
    """Energies E0 of free atoms: a buffer outside the state dict, float64 whatever the model's."""

    energies: Tensor

    def __init__(self, energies: Sequence[float]) -> None:
        super().__init__()
        self._exact = np.array(energies, dtype=np.float64)
        self.register_buffer("energies", torch.tensor(self._exact), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        module = super()._apply(fn, recurse)
        self.energies = torch.tensor(self._exact, device=self.energies.device)
        return module
