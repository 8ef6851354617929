"""The G-equivariant multi-layer perceptron (paper, section 3: phi of Lemma 1)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sikff.field_types import FieldType
from sikff.groups import Irrep, SymmetryGroup
from sikff.nn.constants import ConstantModule, ToCanonical, check_size
from sikff.nn.linear import Linear
from sikff.nn.mlp import MLP
from sikff.nn.nonlinearity import Gate, Sampled, SquaredNorms
from sikff.nn.weight_cache import cached

NONLINEARITIES = ("gated", "sampled")
NARROW = 32  # with so few features one dense product is faster than one for each irrep


class Trunk(ConstantModule):
    """All but the last layer of a G-MLP: features and invariants -> last hidden activation.

    The covariant channels are mixed linearly and multiplied by gates. An ordinary MLP of all
    invariants, with ``layers - 1`` hidden layers, computes the gates and the hidden invariants.
    Exact for every group. With ``nonlinearity="sampled"`` another ``layers - 1`` equivariant
    linear maps follow, each with the paper's sampled activation. One layer: no nonlinearity, the
    hidden activation is (invariants) x (covariants), the classical kernel basis.

    Args:
        in_type: type of the features v.
        irreps: irreps of the hidden activation, ``fields`` copies for each time that an irrep is
            listed. The MLP computes those of the first trivial one.
        fields: number of hidden fields.
        layers: number of layers (the last linear map, outside, included).
        nonlinearity: "gated" or "sampled".
        activation: name of the pointwise activation.
        n_invariants: number of further invariants passed to ``forward``.
        width: hidden width of the MLP of the invariants (default: max(2 * fields, 32)).
        norms: also feed the squared norms of the mixed covariants to the MLP.
        first_is_one: whether the first feature is always 1, as the harmonic of degree 0 is.

    Raises:
        ValueError: fewer than 1 layer or field, or an unknown nonlinearity or activation.
    """

    spread: Tensor
    ones: Tensor

    def __init__(
        self,
        in_type: FieldType,
        irreps: tuple[Irrep, ...],
        fields: int,
        layers: int,
        nonlinearity: str = "gated",
        activation: str = "silu",
        n_invariants: int = 0,
        width: int | None = None,
        norms: bool = True,
        first_is_one: bool = False,
    ) -> None:
        super().__init__()
        if layers < 1 or fields < 1:
            raise ValueError(f"a G-MLP has at least 1 layer and 1 field; got {layers}, {fields}")
        if nonlinearity not in NONLINEARITIES:
            raise ValueError(f"nonlinearity must be 'gated' or 'sampled'; got {nonlinearity!r}")
        self.in_type = in_type
        group = in_type.group
        reachable = [i for i in irreps if in_type.multiplicity(i)]
        trivial = [i for i in reachable if i.is_trivial][1:]
        others = [i for i in reachable if not i.is_trivial]
        covariant = FieldType(group, [(fields, i) for i in trivial + others]).canonical
        self.to_canonical = ToCanonical(in_type)
        self.mix = Linear(in_type.canonical, covariant)
        self.is_narrow = in_type.size <= NARROW
        gated = (FieldType.scalar(group, fields) + covariant).canonical
        self.register_constant("spread", Gate(gated).constants["spread"])
        ones = np.repeat([1.0, 0.0], [fields, covariant.size])
        self.first_is_one = first_is_one
        self.register_constant(
            "ones", np.outer(np.arange(in_type.size) < 1, ones) if first_is_one else ones
        )
        self.norms = SquaredNorms(covariant) if norms and layers > 1 and covariant.size else None
        n_in = in_type.n_invariants + n_invariants + (covariant.n_fields if self.norms else 0)
        width = max(2 * fields, 32) if width is None else width
        self.has_invariants = n_in > 0
        sizes = [max(n_in, 1)] + [width] * (layers - 1) + [fields + covariant.n_fields]
        self.mlp = MLP(sizes, activation)
        self.fields = fields
        self.out_type = gated
        self.stack = nn.ModuleList()
        if nonlinearity == "sampled":
            for _ in range(layers - 1):
                sampled = Sampled(group, fields, irreps=irreps, activation=activation)
                self.stack.append(Linear(self.out_type, sampled.in_type, bias=True))
                self.stack.append(sampled)
                self.out_type = sampled.out_type

    def forward(
        self, v: Tensor, invariants: Sequence[Tensor] = (), shell: Tensor | None = None
    ) -> Tensor:
        """v [..., d], all invariants [..., n] -> last hidden activation [..., out_type.size].

        ``shell`` [..., 1] is an invariant that multiplies the result.
        """
        check_size("G-MLP", v, self.in_type)
        v = self.to_canonical(v)
        inputs = [v[..., : self.in_type.n_invariants], *invariants]
        if self.norms is not None:
            inputs.append(self.norms(self._mixed(v)[..., self.fields :]))
        if not self.has_invariants:
            inputs.append(torch.ones_like(v[..., :1]))
        factors = self.mlp(torch.cat(inputs, dim=-1), self.spread)
        if shell is not None and self.first_is_one and not self.stack:
            return self._mixed(v * shell) * factors  # cheaper than h * shell, which is wider
        h = self._mixed(v) * factors
        for layer in self.stack:
            h = layer(h)
        return h if shell is None else h * shell

    def factors(self, invariants: Sequence[Tensor]) -> Tensor:
        """Factors of the mixed channels, by field: all invariants [..., n] -> [..., m]."""
        return self.mlp(torch.cat(tuple(invariants), dim=-1))

    def multiplied(self, v: Tensor, factors: Tensor) -> Tensor:
        """The last hidden activation of v [..., d] with given factors (not for ``sampled``)."""
        return self._mixed(v) * (factors @ self.spread)

    def _mixed(self, v: Tensor) -> Tensor:
        """Ones for hidden invariants, then mixed covariant channels: [..., fields + covariants].

        It is linear in v if ``first_is_one`` (the ones are then v[..., 0]), otherwise affine.
        """
        if self.is_narrow:
            matrix = cached(self, self._padded).T
            return F.linear(v, matrix) if self.first_is_one else F.linear(v, matrix, self.ones)
        one = v[..., :1] if self.first_is_one else v.new_ones(*v.shape[:-1], 1)
        return torch.cat([one.expand(*v.shape[:-1], self.fields), self.mix(v)], dim=-1)

    def _padded(self) -> Tensor:
        """The dense matrix of :meth:`_mixed`."""
        padded = F.pad(self.mix.matrix(), (self.fields, 0))
        return padded + self.ones if self.first_is_one else padded


class GMLP(nn.Module):
    """A G-equivariant MLP in_type -> out_type: a :class:`Trunk` and one equivariant linear map.

    Args:
        in_type, out_type: field types of one group.
        hidden_fields: copies of each irrep in the hidden activations.
        layers: number of linear layers (1: products with the gates are the only nonlinearity).
        nonlinearity: "gated" (exact, any group) or "sampled" (the paper's; exact if G is finite).
            Default: sampled for finite groups, where it can produce every irrep; gated otherwise.
        activation: "silu", "gelu", "elu", ...

    Shapes: [..., in_type.size] -> [..., out_type.size].
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        hidden_fields: int = 16,
        layers: int = 2,
        nonlinearity: str | None = None,
        activation: str = "silu",
    ) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        frequency = max(in_type.max_frequency, out_type.max_frequency)
        self.trunk = Trunk(
            in_type,
            in_type.group.irreps(frequency),
            hidden_fields,
            layers,
            default_nonlinearity(in_type.group) if nonlinearity is None else nonlinearity,
            activation,
        )
        self.output = Linear(self.trunk.out_type, out_type, bias=True)

    def forward(self, v: Tensor) -> Tensor:
        return self.output(self.trunk(v))


def default_nonlinearity(group: SymmetryGroup) -> str:
    """The exact one: sampled on the group itself if it is finite, gated otherwise."""
    return "gated" if group.lie_dimension else "sampled"
