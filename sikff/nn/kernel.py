"""Implicit steerable kernels: a small G-equivariant network of x and a (paper, section 3)."""

from math import inf
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import Irrep, SymmetryGroup
from sikff.groups.couplings import clebsch_gordan
from sikff.nn.channel_product import ChannelProduct
from sikff.nn.constants import ConstantModule, ToCanonical, check_size
from sikff.nn.contraction import Contraction
from sikff.nn.gmlp import Trunk, default_nonlinearity
from sikff.nn.harmonics import Harmonics
from sikff.nn.radial import BesselBasis, GaussianBasis, GaussianShell, PolynomialEnvelope
from sikff.nn.spline import SplineTable
from sikff.nn.weight_cache import stored

TINY = 1e-12  # added to |x|^2: the direction of x = 0 is the zero vector


class TensorProduct(ConstantModule):
    """All equivariant products of two features that are of given irreps, without weights.

    [..., d_left], [..., d_right] (canonical) -> [..., out_type.size].
    """

    table: Tensor

    def __init__(self, left: FieldType, right: FieldType, irreps: tuple[Irrep, ...]) -> None:
        super().__init__()
        columns: dict[Irrep, list[np.ndarray]] = {irrep: [] for irrep in irreps}
        for a in left.blocks:
            for b in right.blocks:
                for c in irreps:
                    for cg in clebsch_gordan(a.irrep, b.irrep, c):
                        for i, j in np.ndindex(a.copies, b.copies):
                            full = np.zeros((c.dim, left.size, right.size))
                            rows = a.start + i + a.copies * np.arange(a.irrep.dim)
                            cols = b.start + j + b.copies * np.arange(b.irrep.dim)
                            full[np.ix_(range(c.dim), rows, cols)] = cg
                            columns[c].append(full)
        self.out_type = FieldType(left.group, [(len(v), c) for c, v in columns.items()]).canonical
        stacked = [np.stack(columns[block.irrep], axis=1) for block in self.out_type.blocks]
        parts = [s.reshape(-1, left.size * right.size) for s in stacked]
        self.register_constant("table", np.concatenate(parts).T)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        return (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2) @ self.table


class EdgeBasis(NamedTuple):
    """What kernels compute h of. Kernels with the same degree and cutoff share it.

    Attributes:
        harmonics: of the directions, [E, d].
        radial: functions of the lengths, [E, n_radial].
        shell: by which h falls off with the length, [E, 1].
        attr: attributes, [E, a], or None.
    """

    harmonics: Tensor
    radial: Tensor
    shell: Tensor
    attr: Tensor | None = None

    def hidden(self, kernel: "ImplicitKernel") -> Tensor:
        """The last hidden activation h(x, a) of a kernel, by its G-MLP."""
        features, radial, shell, attr = self
        invariants = [radial]
        if kernel.attr_type is None or kernel.to_canonical is None:
            if attr is not None:
                raise ValueError("this kernel takes no attributes; build it with attr_type=...")
        else:
            if attr is None:
                raise ValueError(f"this kernel needs attributes [E, {kernel.attr_type.size}]")
            check_size("ImplicitKernel (attr)", attr, kernel.attr_type)
            attr, n = kernel.to_canonical(attr), kernel.attr_type.n_invariants
            invariants.append(attr[:, :n])
            if kernel.product is not None:
                products = kernel.product(features, attr[:, n:])
                features = torch.cat([features, products], dim=-1)
        return kernel.trunk(features, invariants, shell)


class SplineBasis(NamedTuple):
    """What kernels with a spline table look h up by.

    Attributes:
        harmonics: of the directions, [E, d].
        r: the lengths, [E].
        rows, left: where they are in the table, see :meth:`SplineTable.rows_of`, [E, 6] and [E].
    """

    harmonics: Tensor
    r: Tensor
    rows: Tensor
    left: Tensor

    def hidden(self, kernel: "ImplicitKernel") -> Tensor:
        """The last hidden activation h(x, a) of a kernel, by its spline table."""
        factors = cast(SplineTable, kernel.table)(self.r, self.rows, self.left)
        return kernel.trunk.multiplied(self.harmonics, factors)


class ImplicitKernel(nn.Module):
    """k(x, a) with k(g x, rho_a(g) a) = rho_out(g) k(x, a) rho_in(g)^-1 for all g in G   (3).

    The direction x / |x| enters through its harmonics up to ``max_degree``, |x| through radial
    functions. So covariant parts of k follow the direction down to x = 0, where they are zero; with
    the paper's polynomials of x they would decay. Attributes enter directly and multiplied with the
    harmonics. A G-MLP, in which all invariants gate the covariant channels, maps these to the
    hidden activation h(x, a), and the last linear map W, by Clebsch-Gordan coefficients onto
    rho_in (x) rho_out, to the kernel. h decays with a Gaussian shell of learned width (paper, B.1),
    or vanishes smoothly at a ``cutoff``.

    Args:
        in_type, out_type: types of the features the kernel maps between.
        attr_type: type of the attributes a, or None.
        hidden_fields: copies of each irrep in the hidden activation.
        layers: layers of the G-MLP; 1 is the classical steerable kernel (basis x weights).
        max_degree: largest degree L of the harmonics (default: :func:`default_degree`).
        nonlinearity: "gated", "sampled" or None for the exact default (see :class:`GMLP`).
        activation: name of the pointwise activation.
        cutoff: length beyond which the kernel is zero (C^3); None: Gaussian shell.
        sigma: initial width of the Gaussian shell, in units of x.
        n_radial: number of radial functions.
        width: hidden width of the MLP of the invariants.
        scale: constant factor, such as 1/sqrt(average number of neighbours).
        channelwise: h multiplies features channel by channel; needs the same multiplicity for all
            irreps of in_type and out_type.
        irreps: of the hidden activation, each irrep once for each copy; "sampled" has one copy of
            each (default: :func:`useful_irreps`).

    Raises:
        ValueError: types of different groups, wrong sizes, a length that is not positive, missing
            or unexpected attributes.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        attr_type: FieldType | None = None,
        *,
        hidden_fields: int = 16,
        layers: int = 2,
        max_degree: int | None = None,
        nonlinearity: str | None = None,
        activation: str = "silu",
        cutoff: float | None = None,
        sigma: float = 1.0,
        n_radial: int = 8,
        width: int | None = None,
        scale: float = 1.0,
        channelwise: bool = False,
        irreps: tuple[Irrep, ...] | None = None,
    ) -> None:
        super().__init__()
        group = in_type.group
        for name, t in (("out_type", out_type), ("attr_type", attr_type)):
            if t is not None and t.group != group:
                raise ValueError(f"in_type is of group {group}, {name} of {t.group}; use one group")
        for name, length in (("cutoff", cutoff), ("sigma", sigma)):
            if length is not None and not 0 < length < inf:
                raise ValueError(f"{name} is {length}; expected a length above 0")
        self.in_type, self.out_type, self.attr_type = in_type, out_type, attr_type
        self.scale = scale
        max_degree = default_degree(in_type, out_type) if max_degree is None else max_degree
        irreps = useful_irreps(in_type, out_type) if irreps is None else irreps
        nonlinearity = default_nonlinearity(group) if nonlinearity is None else nonlinearity

        self.harmonics = Harmonics(group, max_degree)
        y_type = self.harmonics.out_type
        if nonlinearity == "sampled":  # it multiplies irreps, and products of any can be useful
            all_irreps = {i.index: i for i in (*irreps, *y_type.irreps)}
            irreps = tuple(all_irreps[index] for index in sorted(all_irreps))
        features = y_type
        self.to_canonical, self.product = None, None
        if attr_type is not None:
            self.to_canonical = ToCanonical(attr_type)
            if attr_type.covariant.size:
                wanted = (group.irreps(0)[0], *(i for i in irreps if not i.is_trivial))
                self.product = TensorProduct(y_type, attr_type.covariant, wanted)
                features = features + self.product.out_type
        if cutoff is None:
            self.radial: nn.Module = GaussianBasis(n_radial, 3 * sigma)
            self.envelope: nn.Module = GaussianShell(sigma)
        else:
            self.radial = BesselBasis(n_radial, cutoff)
            self.envelope = PolynomialEnvelope(cutoff)
        if channelwise:
            counts = {n for t in (in_type, out_type) for n, _ in t.canonical.fields}
            if len(counts) != 1:
                raise ValueError(
                    "channelwise kernels need one multiplicity for all irreps of in_type and "
                    f"out_type; got {sorted(counts)}"
                )
            hidden_fields = counts.pop()
        self.trunk = Trunk(
            features,
            irreps,
            hidden_fields,
            layers,
            nonlinearity,
            activation,
            n_invariants=n_radial + (0 if attr_type is None else attr_type.n_invariants),
            width=width,
            norms=self.product is not None,
            first_is_one=True,
        )
        hidden = self.trunk.out_type
        self.in_basis = ToCanonical(in_type)
        self.out_basis = ToCanonical(out_type, inverse=True)
        self.contraction: ChannelProduct | Contraction
        if channelwise:
            self.contraction = ChannelProduct(hidden, in_type, out_type)
        else:
            self.contraction = Contraction(hidden, in_type, out_type)

    @property
    def is_radial(self) -> bool:
        """Whether h(x, a) is harmonics multiplied by :meth:`factors` of |x| and a alone.

        So it is if the constant is the only invariant among the harmonics, as for O(3), SO(3), and
        I_h up to degree 5, no attribute is covariant, and h is gated.
        """
        invariants = self.harmonics.out_type.n_invariants
        return invariants == 1 and self.product is None and not self.trunk.stack

    def polar(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Harmonics [E, d] of the directions of x [E, 3], and the lengths [E]."""
        rows = x.T.contiguous()
        r = torch.sqrt((rows * rows).sum(0) + TINY)
        return self.harmonics((rows / r).T), r

    def basis(
        self, x: Tensor, attr: Tensor | None = None, weights: Tensor | None = None
    ) -> EdgeBasis:
        """The basis of h for x [E, 3]; h is multiplied by ``weights`` [E], if given."""
        harmonics, r = self.polar(x)
        shell = self.envelope(r) * (self.scale if weights is None else self.scale * weights)
        return EdgeBasis(harmonics, self.radial(r), shell.unsqueeze(-1), attr)

    @property
    def table(self) -> SplineTable | None:
        """Splines of :meth:`factors`, where a frozen kernel has them."""
        table: SplineTable | None = stored(self, "table")
        return table

    def factors(self, r: Tensor, attr: Tensor) -> Tensor:
        """Factors of the mixed harmonics of a radial kernel: r [E], attr [E, a] -> [E, n]."""
        shell = self.scale * self.envelope(r).unsqueeze(-1)
        attr = attr if self.to_canonical is None else self.to_canonical(attr)
        return shell * self.trunk.factors([torch.ones_like(shell), self.radial(r), attr])

    def hidden(self, edges: EdgeBasis | SplineBasis) -> Tensor:
        """The last hidden activation h(x, a), [E, hidden size]."""
        return edges.hidden(self)

    def forward(self, x: Tensor, attr: Tensor | None = None) -> Tensor:
        """The explicit kernel [E, d_out, d_in] at x [E, 3], attr [E, a], for grids and tests."""
        matrix = self.contraction.matrix(self.hidden(self.basis(x, attr)))
        matrix = self.out_basis(matrix.transpose(1, 2)).transpose(1, 2)
        return matrix if self.in_basis.is_identity else matrix @ self.in_basis.matrix.T


def default_degree(in_type: FieldType, out_type: FieldType) -> int:
    """Largest degree of harmonics that kernels between two types can use, clamped to 2 to 4."""
    return min(max(in_type.max_frequency + out_type.max_frequency, 2), 4)


def useful_irreps(in_type: FieldType, out_type: FieldType) -> tuple[Irrep, ...]:
    """Irreps r with a Clebsch-Gordan path r (x) in -> out; others would not contribute."""
    candidates = in_type.group.irreps(in_type.max_frequency + out_type.max_frequency)
    return tuple(
        r
        for r in candidates
        if any(len(clebsch_gordan(r, s, o)) for s in in_type.irreps for o in out_type.irreps)
    )


def restricted_irreps(
    in_type: FieldType, out_type: FieldType, max_degree: int, group: SymmetryGroup
) -> tuple[Irrep, ...]:
    """Irreps of the hidden activation, restricted to a subgroup; each once for each copy.

    For a kernel without covariant attributes.
    """
    available = FieldType.harmonic(in_type.group, max_degree).irreps
    useful = [irrep for irrep in useful_irreps(in_type, out_type) if irrep in available]
    parts = FieldType(in_type.group, [(1, irrep) for irrep in useful]).restrict(group)
    return tuple(irrep for n, irrep in parts.fields for _ in range(n))
