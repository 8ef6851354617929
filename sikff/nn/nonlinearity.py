"""Equivariant nonlinearities: gated (exact), sampled (the paper's quotient activation), norms."""

from math import pi

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.matrices import minimal_rotation, rotation
from sikff.nn.constants import ConstantModule, ToCanonical, check_size
from sikff.nn.mlp import activation_scale, find_activation

Array = np.ndarray


class SquaredNorms(nn.Module):
    """The invariants |f_k|^2 / dim of all irreducible fields, [..., d] -> [..., n]; smooth.

    Fields are in the order of the canonical type.
    """

    def __init__(self, in_type: FieldType) -> None:
        super().__init__()
        self.in_type = in_type
        self.to_canonical = ToCanonical(in_type)
        self._blocks = [(slice(b.start, b.stop), b.irrep.dim) for b in in_type.canonical.blocks]

    def forward(self, x: Tensor) -> Tensor:
        check_size("SquaredNorms", x, self.in_type)
        squares = self.to_canonical(x) ** 2
        return torch.cat(
            [squares[..., s].unflatten(-1, (dim, -1)).mean(-2) for s, dim in self._blocks], dim=-1
        )


class RMSNorm(nn.Module):
    """Divides each feature vector by sqrt(mean square + eps): exact for every group."""

    def __init__(self, in_type: FieldType, eps: float = 1e-5) -> None:
        super().__init__()
        self.in_type, self.eps = in_type, eps

    def forward(self, x: Tensor) -> Tensor:
        check_size("RMSNorm", x, self.in_type)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps)


class Gate(ConstantModule):
    """Multiplies each irreducible field by an invariant: exact for every group.

    Features [..., d] of a canonical type and gates [..., n_fields] -> features [..., d].

    Attributes:
        spread: 1 where a component (column) belongs to a field (row), [n_fields, d].

    Raises:
        ValueError: a type that is not canonical.
    """

    spread: Tensor

    def __init__(self, field_type: FieldType) -> None:
        super().__init__()
        if not field_type.is_canonical:
            raise ValueError(f"Gate works on canonical types; got {field_type!r}, use .canonical")
        self.in_type = self.out_type = field_type
        spread, n = np.zeros((field_type.n_fields, field_type.size)), 0
        for irrep, copies, start, stop in field_type.blocks:
            spread[n : n + copies, start:stop] = np.tile(np.eye(copies), irrep.dim)
            n += copies
        self.register_constant("spread", spread)

    def forward(self, x: Tensor, gates: Tensor) -> Tensor:
        return x * (gates @ self.spread)


class Gated(nn.Module):
    """Activates invariants and multiplies every other field by a sigmoid: exact for every group.

    The input has one more invariant for each gated field, before the fields themselves:
    in_type = gates + fields.
    """

    def __init__(self, fields: FieldType, activation: str = "silu") -> None:
        super().__init__()
        self.out_type = fields.canonical
        self.n_gates = fields.covariant.n_fields
        self.in_type = FieldType.scalar(fields.group, self.n_gates) + self.out_type
        self.gate = Gate(fields.covariant)
        self.activation = find_activation(activation)
        self.scale = activation_scale(self.activation)

    def forward(self, x: Tensor) -> Tensor:
        """[..., n_gates + d] -> [..., d]."""
        check_size("Gated", x, self.in_type)
        gates, scalars, rest = x.split(
            [self.n_gates, self.out_type.n_invariants, self.gate.in_type.size], dim=-1
        )
        rest = self.gate(rest, 2 * torch.sigmoid(gates)) if self.n_gates else rest
        return torch.cat([self.activation(scalars) * self.scale, rest], dim=-1)


def _sample_points(group: SymmetryGroup, band: int, oversample: int) -> tuple[Array, Array]:
    """Quadrature on G/H: elements [k, 3, 3] of the standard group and weights [k].

    Finite groups: all elements (H trivial). Axial: circle x components (H trivial).
    SO(3), O(3): one rotation to each point of a Gauss-Legendre grid on the sphere
    (H = rotations about z), times the components.
    """
    if group.lie_dimension == 0:
        rotations, weights = np.eye(3)[None], np.ones(1)
    elif group.lie_dimension == 1:
        n = oversample * (2 * band + 1)
        rotations = np.array([rotation(np.eye(3)[2], 2 * pi * k / n) for k in range(n)])
        weights = np.full(n, 1 / n)
    else:
        n_z, n_phi = oversample * (band + 1), oversample * (2 * band + 1)
        z, w = np.polynomial.legendre.leggauss(n_z)
        phi = 2 * pi * (np.arange(n_phi) + 0.5) / n_phi
        z, phi = (a.ravel() for a in np.meshgrid(z, phi, indexing="ij"))
        rho = np.sqrt(1 - z**2)
        points = np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1)
        rotations = np.array([minimal_rotation(p) for p in points])
        weights = np.repeat(w / 2, n_phi) / n_phi
    components = group.elements
    elements = np.einsum("aij,bjk->abik", rotations, components).reshape(-1, 3, 3)
    return elements, np.repeat(weights, len(components)) / len(components)


class Sampled(ConstantModule):
    """The paper's quotient (Fourier) activation: sample functions on G/H, activate, transform back.

    A field is a band-limited function f(g) = sum_r sqrt(d_r) <rho_r(g) v_r, x_r> with one copy of
    each irrep r. For finite groups the samples are the group itself: exact. For continuous groups
    the circle or the sphere is sampled: equivariant up to aliasing, which falls with
    ``oversample`` (exponentially for smooth activations). Measure it with
    :func:`sikff.nn.equivariance_error`.

    Args:
        group: the symmetry group.
        n_fields: number of such functions.
        max_frequency: band limit; or
        irreps: the irreps of the functions, instead of all up to ``max_frequency``.
        activation: "silu", "gelu" (smooth), "elu" (the paper's), ...
        oversample: samples per degree of freedom (continuous groups). Largest relative errors
            measured for features of unit variance, silu: 6e-2, 7e-4, 5e-7 at 2, 4, 8; at 8, gelu
            3e-6, elu 6e-4. Features three times larger make it 4e-4 (silu) to 2e-3 (elu).
    """

    samples: Tensor
    back: Tensor

    def __init__(
        self,
        group: SymmetryGroup,
        n_fields: int,
        max_frequency: int = 2,
        irreps: tuple | None = None,
        activation: str = "silu",
        oversample: int = 8,
    ) -> None:
        super().__init__()
        irreps = group.irreps(max_frequency) if irreps is None else irreps
        self.in_type = FieldType(group, [(n_fields, irrep) for irrep in irreps]).canonical
        self.out_type = self.in_type
        self.n_fields = n_fields
        self.activation = find_activation(activation)
        self.scale = activation_scale(self.activation)
        band = self.in_type.max_frequency
        elements, weights = _sample_points(group.standard, band, oversample)
        columns = []
        for irrep in self.in_type.irreps:
            rho = irrep.representation(group.orientation @ elements @ group.orientation.T)
            if group.lie_dimension == 3:
                direction = np.eye(irrep.dim)[0]  # m = 0: invariant under rotations about z
            else:
                direction = np.cos(1.0 + np.arange(irrep.dim))
                direction /= np.linalg.norm(direction)
            columns.append(np.sqrt(irrep.dim) * rho @ direction)
        matrix = np.concatenate(columns, axis=1)
        back = (matrix * weights[:, None]).T
        n = len(self.in_type.irreps)  # a sample is a sum over them; scaled to unit variance
        self.register_constant("samples", matrix / np.sqrt(n))
        self.register_constant("back", back * np.sqrt(n))

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., d] -> [..., d]."""
        check_size("Sampled", x, self.in_type)
        fields = x.unflatten(-1, (-1, self.n_fields))  # canonical blocks stack: [D, n_fields]
        values = self.samples @ fields
        return (self.back @ (self.activation(values) * self.scale)).flatten(-2)
