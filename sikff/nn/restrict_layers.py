"""Restricts layers of a group G to a subgroup H: sets weights with which they compute the same.

Every G-equivariant map is H-equivariant, so it is a linear combination of the maps that a layer of
H has weights for. These are orthogonal, so each weight is an inner product. Gates, which act on
whole irreducible fields of G, act in the same way on the fields of H into which they split.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn.channel_product import ChannelProduct
from sikff.nn.contraction import Contraction
from sikff.nn.kernel import ImplicitKernel
from sikff.nn.linear import Linear
from sikff.nn.mlp import MLP
from sikff.nn.nonlinearity import Gate

ROWS = 8  # left features of a contraction in one explicit map; all at once would be large


@dataclass(frozen=True)
class Restriction:
    """The change of basis between features of G, [D components x C channels], and of H.

    Attributes:
        matrix: orthogonal, from components of H to components of G, [D, D].
        channels: C.
    """

    matrix: Tensor
    channels: int = 1

    @classmethod
    def of(cls, field_type: FieldType, group: SymmetryGroup, channels: int = 1) -> Restriction:
        """The change of basis of a canonical type with multiplicities divisible by ``channels``."""
        matrix = _one_channel(field_type, channels).restriction_matrix(group)
        return cls(torch.tensor(matrix), channels)

    def apply(self, x: Tensor, dim: int) -> Tensor:
        """Changes dimension ``dim`` of x from features of G to features of H."""
        x = x.movedim(dim, -1).unflatten(-1, (-1, self.channels))
        return torch.einsum("...dc,dk->...kc", x, self.matrix).flatten(-2).movedim(-1, dim)

    def rows(self) -> Tensor:
        """Basis vectors of the features of H (rows) in the basis of G, [D C, D C]."""
        return self.apply(_eye(len(self.matrix) * self.channels), 1).T


def containment(field_type: FieldType, group: SymmetryGroup, channels: int = 1) -> Tensor:
    """1 where a field of a canonical type (row) contains a field of its restriction (column)."""
    one = _one_channel(field_type, channels)
    of_larger, of_smaller = (Gate(t).constants["spread"] for t in (one, one.restrict(group)))
    overlap = of_larger @ one.restriction_matrix(group) ** 2 @ of_smaller.T
    return torch.tensor(overlap > 1e-6, dtype=torch.float64)


def restrict_linear(old: Linear, new: Linear, inputs: Restriction, outputs: Restriction) -> None:
    """Set the weights of ``new`` so that it computes what ``old`` does.

    Args:
        old, new: float64 layers between canonical types of G and their restrictions to H, without
            bias; likewise below.
        inputs, outputs: change of basis of the features.
    """

    def maps() -> Iterator[tuple[Tensor, Tensor]]:
        yield new.matrix(), inputs.apply(outputs.apply(old.matrix(), 1), 0)

    _set_weights(new.weight, maps())


def restrict_contraction(
    old: Contraction, new: Contraction, left: Restriction, right: Restriction, outputs: Restriction
) -> None:
    """The same for bilinear maps."""

    def maps() -> Iterator[tuple[Tensor, Tensor]]:
        left_old, left_new = left.rows().split(ROWS), _eye(new.left_type.size).split(ROWS)
        for x_old, x_new in zip(left_old, left_new, strict=True):
            target = right.apply(outputs.apply(old.matrix(x_old), 1), 2)
            yield new.matrix(x_new), target

    _set_weights(new.weight, maps())


def restrict_product(
    old: ChannelProduct,
    new: ChannelProduct,
    left: Restriction,
    right: Restriction,
    outputs: Restriction,
) -> None:
    """The same for channelwise products."""

    def maps() -> Iterator[tuple[Tensor, Tensor]]:
        matrices = (outputs.matrix, left.matrix, right.matrix)
        yield new.coupling(), torch.einsum("coab,oO,aA,bB->cOAB", old.coupling(), *matrices)

    _set_weights(new.weight, maps())


def restrict_mlp(
    old: MLP, new: MLP, inputs: Tensor | None = None, outputs: Tensor | None = None
) -> None:
    """The same for MLPs of invariants.

    Args:
        inputs: matrix from inputs of ``new`` (rows) to those of ``old``, [n_new, n_old].
        outputs: matrix from outputs of ``old`` (rows) to those of ``new``, [n_old, n_new].
    """
    for k, weight in enumerate(old.weights):
        matrix, bias = weight, None if old.biases is None else old.biases[k]
        if k == 0 and inputs is not None:  # layers divide by the square root of their fan-in
            matrix = inputs @ matrix * (len(inputs) / len(matrix)) ** 0.5
        if k == len(old.weights) - 1 and outputs is not None:
            matrix, bias = matrix @ outputs, None if bias is None else bias @ outputs
        new.weights[k].data.copy_(matrix)
        if bias is not None and new.biases is not None:
            new.biases[k].data.copy_(bias)


def restrict_kernel(
    old: ImplicitKernel,
    new: ImplicitKernel,
    inputs: Restriction,
    outputs: Restriction,
    attributes: Tensor,
) -> None:
    """The same for gated kernels, not channelwise ones, whose attributes are invariant.

    Args:
        attributes: matrix from attributes of ``new`` (rows) to those of ``old``.
    """
    group, fields = new.in_type.group, old.trunk.fields
    of_old, of_new = (kernel.harmonics.constants["coefficients"] for kernel in (old, new))
    harmonics = Restriction(torch.tensor(np.linalg.lstsq(of_old, of_new, rcond=None)[0]))
    hidden = Restriction.of(old.trunk.out_type, group, fields)
    covariant = Restriction(hidden.matrix[1:, 1:], fields)  # the MLP makes the invariants
    restrict_linear(old.trunk.mix, new.trunk.mix, harmonics, covariant)
    n_old, n_new = (k.harmonics.out_type.n_invariants for k in (old, new))
    n_radial = len(old.trunk.mlp.weights[0]) - n_old - attributes.shape[1]
    invariants = torch.block_diag(harmonics.rows()[:n_new, :n_old], _eye(n_radial), attributes)
    gates = torch.kron(containment(old.trunk.out_type, group, fields), _eye(fields))
    restrict_mlp(old.trunk.mlp, new.trunk.mlp, invariants, gates)
    contractions = cast(Contraction, old.contraction), cast(Contraction, new.contraction)
    restrict_contraction(*contractions, hidden, inputs, outputs)


def _one_channel(field_type: FieldType, channels: int) -> FieldType:
    return FieldType(field_type.group, [(n // channels, irrep) for n, irrep in field_type.fields])


def _eye(n: int) -> Tensor:
    return torch.eye(n, dtype=torch.float64)


def _set_weights(weight: torch.nn.Parameter, maps: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Set weights so that a map that is linear in them, with orthogonal coefficients, has a value.

    With M = sum_k w_k M_k, the weights are w_k = <M_k, target> / <M_k, M_k>. Both products are
    gradients: of <M, target>, and of <M, M> / 2 at w = 1, where <M_k, M> = <M_k, M_k>.

    Args:
        maps: (M, target) piece by piece. It is iterated lazily, after all weights are set to 1.
    """
    weight.data.fill_(1.0)
    overlaps, squares = torch.zeros_like(weight), torch.zeros_like(weight)
    for value, target in maps:
        overlaps += torch.autograd.grad(value, weight, target, retain_graph=True)[0]
        squares += torch.autograd.grad(value, weight, value.detach())[0]
    weight.data.copy_(overlaps / squares)
