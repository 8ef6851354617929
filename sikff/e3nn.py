"""Conversion to and from e3nn: its notation, and the change of basis between features.

e3nn is imported when one of these functions is called.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch

from sikff.groups.harmonic_polynomials import evaluate_harmonics, sphere_points


def e3nn_o3() -> ModuleType:
    """The module e3nn.o3, of any e3nn since 0.4.4."""
    with torch.serialization.safe_globals([slice]):  # e3nn < 0.5 loads a file that contains one
        from e3nn import o3
    return o3


def parse_irreps(irreps: str) -> list[tuple[int, int, int]]:
    """Parses ``"16x0e + 8x1o"`` into [(multiplicity, l, parity), ...].

    Raises:
        ValueError: not in e3nn's notation.
    """
    return [(mul, ir.l, ir.p) for mul, ir in e3nn_o3().Irreps(irreps)]


def harmonic_basis(l: int) -> np.ndarray:
    """Orthogonal B [2l+1, 2l+1] with (our components) = B (e3nn's components) for degree l."""
    points = sphere_points(8 * l + 8)
    theirs = e3nn_o3().spherical_harmonics(
        l, torch.from_numpy(points), normalize=True, normalization="component"
    )
    return np.linalg.lstsq(theirs.numpy(), evaluate_harmonics(l, points), rcond=None)[0].T
