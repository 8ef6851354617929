"""Layers restricted to a subgroup compute the same as the original ones."""

from typing import NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn import MLP, ChannelProduct, Contraction, ImplicitKernel, Linear
from sikff.nn.kernel import restricted_irreps
from sikff.nn.restrict_layers import (
    Restriction,
    containment,
    restrict_contraction,
    restrict_kernel,
    restrict_linear,
    restrict_mlp,
    restrict_product,
)
from symmetry_cases import TILTED_AXIS, elements, every_irrep, randn, relative_error, seeded
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
CHANNELS = 2


class Pair(NamedTuple):
    """A type with two channels, and its restriction."""

    whole: FieldType
    part: FieldType
    restriction: Restriction

    def features(self, n: int, seed: int) -> tuple[Tensor, Tensor]:
        x = randn(n, self.whole.size, seed=seed)
        return x, self.restriction.apply(x, 1)


@st.composite
def pairs(draw: st.DrawFn, count: int) -> list[Pair]:
    """Random types of one group and their restrictions to one subgroup."""
    axis = draw(st.sampled_from([(0.0, 0.0, 1.0), tuple(TILTED_AXIS.tolist())]))
    names = [("O(3)", "C_inf_v"), ("O(3)", "Td"), ("SO(3)", "C3"), ("SO(2)", "C4"), ("C6v", "C2")]
    larger, smaller = (SymmetryGroup(name, axis) for name in draw(st.sampled_from(names)))
    made = []
    for _ in range(count):
        irreps = larger.irreps(2)
        copies = draw(st.lists(st.integers(0, 2), min_size=len(irreps), max_size=len(irreps)))
        fields = [(CHANNELS * n, irrep) for n, irrep in zip(copies, irreps, strict=True)]
        whole = FieldType(larger, [*fields[1:], (CHANNELS, irreps[0])]).canonical
        part = Restriction.of(whole, smaller, CHANNELS)
        made.append(Pair(whole, whole.restrict(smaller), part))
    return made


@settings(max_examples=10)
@given(pairs(2))
def test_a_restricted_linear_map_computes_the_same(types: list[Pair]) -> None:
    inputs, outputs = types
    old = seeded(Linear(inputs.whole, outputs.whole)).double()
    new = Linear(inputs.part, outputs.part).double()
    assert len(new.weight) >= len(old.weight)
    restrict_linear(old, new, inputs.restriction, outputs.restriction)
    x, restricted = inputs.features(5, 0)
    assert relative_error(new(restricted), outputs.restriction.apply(old(x), 1)) < LIMITS.parity


@settings(max_examples=6)
@given(pairs(3))
def test_restricted_bilinear_maps_compute_the_same(types: list[Pair]) -> None:
    left, right, outputs = types
    (h, of_left), (f, of_right) = left.features(5, 0), right.features(5, 1)
    restrictions = left.restriction, right.restriction, outputs.restriction
    old = seeded(Contraction(left.whole, right.whole, outputs.whole)).double()
    new = Contraction(left.part, right.part, outputs.part).double()
    restrict_contraction(old, new, *restrictions)
    wanted = old(h[:, :, None] * f[:, None, :])
    got = new(of_left[:, :, None] * of_right[:, None, :])
    assert relative_error(got, outputs.restriction.apply(wanted, 1)) < LIMITS.parity

    product = seeded(ChannelProduct(left.whole, right.whole, outputs.whole, CHANNELS)).double()
    other = ChannelProduct(left.part, right.part, outputs.part, CHANNELS).double()
    restrict_product(product, other, *restrictions)
    wanted, got = (
        layer(*(x.T.unflatten(0, (-1, CHANNELS)) for x in factors)).flatten(0, 1).T
        for layer, factors in ((product, (h, f)), (other, (of_left, of_right)))
    )
    assert relative_error(got, outputs.restriction.apply(wanted, 1)) < LIMITS.parity


@settings(max_examples=6)
@given(pairs(1))
def test_containment_of_fields(types: list[Pair]) -> None:
    """So that gates of the parts, equal to those of the whole, act as those do."""
    whole, part, restriction = types[0]
    contains = containment(whole, part.group, CHANNELS)
    assert contains.shape == (whole.n_fields // CHANNELS, part.n_fields // CHANNELS)
    assert torch.equal(contains.sum(0), torch.ones(contains.shape[1], dtype=contains.dtype))
    gates = randn(len(contains), seed=0)
    spread = [torch.repeat_interleave(g, 1) for g in (gates, gates @ contains)]
    x, restricted = types[0].features(4, 1)
    gated = [_gated(x, spread[0], whole), _gated(restricted, spread[1], part)]
    assert relative_error(gated[1], restriction.apply(gated[0], 1)) < LIMITS.parity


def _gated(x: Tensor, gates: Tensor, field_type: FieldType) -> Tensor:
    """Every field, the same in all channels, times its gate."""
    y, n = x.clone(), 0
    for irrep, copies, start, stop in field_type.blocks:
        block = x[:, start:stop].unflatten(1, (irrep.dim, copies // CHANNELS, CHANNELS))
        of_irrep = gates[n : n + copies // CHANNELS]
        y[:, start:stop] = (block * of_irrep[:, None]).flatten(1)
        n += copies // CHANNELS
    return y


@pytest.mark.parametrize("smaller", ["C_inf_v", "SO(2)", "C3v", "D_inf_h"])
def test_a_restricted_kernel_computes_the_same_and_has_more_weights(smaller: str) -> None:
    larger = SymmetryGroup("O(3)")
    part = SymmetryGroup(smaller, axis=(1, 2, 2))
    t, scalar = every_irrep(larger, 1, n=CHANNELS), FieldType.scalar(larger, 3)
    options = {"nonlinearity": "gated", "hidden_fields": 3, "max_degree": 2, "cutoff": 3.0}
    old = seeded(ImplicitKernel(t, t, scalar, **options)).double()
    u, n = t.restrict(part), 4  # an attribute more
    irreps = restricted_irreps(t, t, 2, part)
    new = ImplicitKernel(u, u, FieldType.scalar(part, n), **options, irreps=irreps).double()
    restriction = Restriction.of(t, part, CHANNELS)
    attributes = torch.eye(n, 3, dtype=torch.float64)
    restrict_kernel(old, new, restriction, restriction, attributes)
    x, a = randn(6, 3, seed=0), randn(6, n, seed=1)
    wanted = restriction.apply(restriction.apply(old(x, a[:, :3]), 1), 2)
    assert relative_error(new(x, a), wanted) < LIMITS.parity

    seeded(new)
    basis = restriction.matrix.kron(torch.eye(CHANNELS, dtype=torch.float64))

    def broken(g: Tensor) -> float:
        """By how much the new kernel, in the basis of O(3), fails the constraint (3)."""
        turned, still = (basis @ new(y, a) @ basis.T for y in (x @ g.T, x))
        rho = t.representation(g)
        return relative_error(turned, rho @ still @ rho.T)

    assert max(broken(g) for g in elements(part)) < LIMITS.equivariance
    assert max(broken(g) for g in larger.sample(4, seed=3)) > 1e-2


def test_a_restricted_mlp_computes_the_same() -> None:
    old, new = MLP([3, 8, 2]).double(), MLP([5, 8, 4]).double()
    seeded(old)
    inputs, outputs = randn(5, 3, seed=0), randn(2, 4, seed=1)
    restrict_mlp(old, new, inputs, outputs)
    x = randn(6, 5, seed=2)
    assert relative_error(new(x), old(x @ inputs) @ outputs) < LIMITS.parity
    one = MLP([3, 2], bias=False).double()
    other = MLP([5, 4], bias=False).double()
    restrict_mlp(one, other, inputs, outputs)
    assert relative_error(other(x), one(x @ inputs) @ outputs) < LIMITS.parity
