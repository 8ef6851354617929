"""The one table of tolerances.

Every comparison that only rounding spoils takes its limit from here, so that nobody loosens a
single test to make it pass. Errors are relative to the size of the numbers compared unless the
entry names a unit. Limits of another kind, such as those of a time step, a quadrature or a fit,
stand in the test that explains them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch


@dataclass(frozen=True)
class Tolerance:
    """Largest error accepted from one floating-point type."""

    algebra: float  # group tables: homomorphism, orthogonality, intertwining
    equivariance: float  # f(g x) against rho(g) f(x), exact layers
    invariance: float  # energies under the group, translation, relabelling; what MD keeps
    parity: float  # two ways to the same number: batch or single, fast or plain, saved or fresh
    gradient: float  # analytic derivatives that differ only in the order of sums
    rounding: float  # numbers after a few operations
    forces_fd: float  # forces against central differences of the energy, eV/Å
    stress_fd: float  # stress against central differences of the energy, eV/Å^3


TOLERANCES: Mapping[torch.dtype, Tolerance] = MappingProxyType(
    {
        torch.float64: Tolerance(
            algebra=1e-10,
            equivariance=1e-10,
            invariance=1e-9,
            parity=1e-10,
            gradient=1e-9,
            rounding=1e-14,
            forces_fd=1e-6,
            stress_fd=1e-7,
        ),
        torch.float32: Tolerance(
            algebra=1e-5,
            equivariance=1e-5,
            invariance=1e-5,
            parity=1e-5,
            gradient=1e-4,
            rounding=1e-6,
            forces_fd=1e-2,
            stress_fd=1e-3,
        ),
    }
)

WRITTEN = 1e-6  # what the eight decimals of extended XYZ and of logs leave of a number

DTYPES: tuple[torch.dtype, ...] = tuple(TOLERANCES)
