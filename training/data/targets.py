"""Labels as tensors."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Targets(NamedTuple):
    """Labels of B structures of N atoms in all; None for those not needed.

    A structure that lacks a label has NaN instead.
    """

    energy: Tensor | None = None  # [B] eV, float64
    forces: Tensor | None = None  # [N, 3] eV/Å
    stress: Tensor | None = None  # [B, 3, 3] eV/Å^3


def labelled(target: Tensor) -> Tensor:
    """Which of n rows have a label, bool [n]."""
    return ~target.reshape(len(target), -1).isnan().any(dim=1)
