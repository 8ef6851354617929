"""Multi-layer perceptrons of invariants, and activations scaled to unit variance."""

from collections.abc import Callable
from itertools import pairwise
from math import pi, sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sikff.nn.weight_cache import cached

Activation = Callable[[Tensor], Tensor]

ACTIVATIONS: dict[str, Activation] = {
    "silu": F.silu,
    "gelu": F.gelu,
    "elu": F.elu,
    "tanh": torch.tanh,
    "softplus": F.softplus,
}


def activation_scale(activation: Activation) -> float:
    """The factor that gives activation(z), z ~ N(0, 1), a mean square of 1."""
    z = torch.linspace(-12, 12, 24001, dtype=torch.float64)
    density = torch.exp(-0.5 * z**2) / sqrt(2 * pi)
    return float(torch.trapezoid(activation(z) ** 2 * density, z) ** -0.5)


def find_activation(name: str) -> Activation:
    """The activation of that name.

    Raises:
        ValueError: there is none; the message lists all names.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"unknown activation {name!r}; expected one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """A multi-layer perceptron on the last dimension; unit-variance in, unit-variance out.

    Args:
        sizes: widths from input to output; activations follow all layers but the last.
        activation: name of the activation.
        bias: without biases (and an activation with f(0) = 0), zero in gives zero out.

    Raises:
        ValueError: an unknown activation.
    """

    def __init__(self, sizes: list[int], activation: str = "silu", bias: bool = True) -> None:
        super().__init__()
        self.activation = find_activation(activation)
        self.scale = activation_scale(self.activation)
        pairs = list(pairwise(sizes))
        self.weights = nn.ParameterList(torch.randn(a, b) for a, b in pairs)
        self.biases = nn.ParameterList(torch.zeros(b) for _, b in pairs) if bias else None

    def forward(self, x: Tensor, after: Tensor | None = None) -> Tensor:
        """[..., sizes[0]] -> [..., sizes[-1]], or times a matrix ``after`` [sizes[-1], m].

        ``after`` is a constant: while weights are frozen, the product with it is cached.
        """
        for k, (matrix, bias) in enumerate(cached(self, self._maps, after)):
            x = F.linear(self.activation(x) if k else x, matrix, bias)
        return x

    def _maps(self, after: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
        """Transposed matrix and bias of each layer."""
        maps = []
        for k, weight in enumerate(self.weights):
            scale = (self.scale if k else 1.0) / sqrt(len(weight))
            matrix, bias = weight * scale, None if self.biases is None else self.biases[k]
            if after is not None and k == len(self.weights) - 1:
                matrix, bias = matrix @ after, None if bias is None else bias @ after
            maps.append((matrix.T, bias))
        return maps
