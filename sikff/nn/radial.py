"""Functions of the distance: radial bases, and envelopes that make kernels local."""

from math import pi, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from sikff.nn.constants import ConstantModule


class BesselBasis(ConstantModule):
    """sqrt(2/c) sin(n pi r/c) / r, n = 1..size, scaled to order one: r [...] -> [..., size]."""

    frequencies: Tensor

    def __init__(self, size: int, cutoff: float) -> None:
        super().__init__()
        self.size, self.cutoff = size, cutoff
        self.register_constant("frequencies", np.arange(1, size + 1) * (pi / cutoff))

    def forward(self, r: Tensor) -> Tensor:
        r = r.unsqueeze(-1)
        return torch.sin(r * self.frequencies) / (r * (pi / (sqrt(2.0) * self.cutoff)))


class GaussianBasis(ConstantModule):
    """Gaussians at 0 ... extent, one spacing wide: r [...] -> [..., size]; smooth at r = 0."""

    centres: Tensor

    def __init__(self, size: int, extent: float) -> None:
        super().__init__()
        self.size = size
        self.spacing = extent / max(size - 1, 1)
        self.register_constant("centres", np.linspace(0, extent, size))

    def forward(self, r: Tensor) -> Tensor:
        return 2 * torch.exp(-0.5 * ((r.unsqueeze(-1) - self.centres) / self.spacing) ** 2)


class PolynomialEnvelope(nn.Module):
    """Decays from 1 to 0 at the cutoff with three vanishing derivatives: C^3, r [...] -> [...].

    1 - x^p (a - x (b - x (c - d x))) with x = r / cutoff; the exponent p is ``power``.
    """

    def __init__(self, cutoff: float, power: int = 6) -> None:
        super().__init__()
        self.cutoff, self.power = cutoff, power

    def forward(self, r: Tensor) -> Tensor:
        x = (r / self.cutoff).clamp(max=1)
        p = self.power
        a = (p + 1) * (p + 2) * (p + 3) / 6
        b = p * (p + 2) * (p + 3) / 2
        c = p * (p + 1) * (p + 3) / 2
        d = p * (p + 1) * (p + 2) / 6
        return 1 - x**p * (a - x * (b - x * torch.rsub(x, c, alpha=d)))  # rsub: c - d x in one step


class GaussianShell(nn.Module):
    """exp(-r^2 / (2 sigma^2)) with a learned sigma (paper, appendix B.1): r [...] -> [...]."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.tensor(sigma).log())

    def forward(self, r: Tensor) -> Tensor:
        return torch.exp(-0.5 * (r * torch.exp(-self.log_sigma)) ** 2)
