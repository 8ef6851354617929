"""G-MLPs: equivariant networks with either nonlinearity."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import GMLP, equivariance_error
from sikff.nn.gmlp import default_nonlinearity
from symmetry_cases import (
    FINITE,
    NAMES,
    TILTED,
    every_irrep,
    group,
    outside,
    randn,
    random_type,
    relative_error,
    seeded,
)
from tolerances import TOLERANCES, Tolerance

D = torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_gated_is_equivariant(name: str, dtype: torch.dtype, tolerance: Tolerance) -> None:
    g = group(name)
    net = GMLP(random_type(g, 0), random_type(g, 1), hidden_fields=4, nonlinearity="gated")
    error = equivariance_error(
        seeded(net).to(dtype), net.in_type, net.out_type, dtype=dtype, n_elements=4
    )
    assert error < tolerance.equivariance


@pytest.mark.parametrize("name", [name for name in NAMES if name != "C1"])  # only invariants
def test_the_dense_product_equals_one_for_each_irrep(name: str) -> None:
    """The same values, and derivatives as training on forces takes them."""
    in_type, out_type = random_type(group(name), 0), random_type(group(name), 1)
    net = seeded(GMLP(in_type, out_type, hidden_fields=4, nonlinearity="gated")).double()
    x = randn(5, in_type.size, seed=0).requires_grad_()

    def values() -> list[torch.Tensor]:
        y = net(x)
        (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        inputs = [x, net.trunk.mix.weight]
        return [y, gradient, *torch.autograd.grad(gradient.square().sum(), inputs)]

    results = []
    for net.trunk.is_narrow in (True, False):
        results.append(values())
    for one, other in zip(*results, strict=True):
        assert other.abs().max() > 1e-3
        assert relative_error(one, other) < TOLERANCES[D].parity


@pytest.mark.parametrize("name", [*FINITE, TILTED])
def test_sampled_is_exact_for_finite_groups(name: str) -> None:
    g = group(name)
    net = GMLP(
        random_type(g, 0), random_type(g, 1), hidden_fields=3, layers=3, nonlinearity="sampled"
    )
    error = equivariance_error(seeded(net).double(), net.in_type, net.out_type, n_elements=4)
    assert error < TOLERANCES[D].equivariance


@pytest.mark.parametrize("name", ["SO(2)", "SO(3)"])
def test_sampled_is_close_for_continuous_groups(name: str) -> None:
    g = group(name)
    net = GMLP(every_irrep(g), every_irrep(g), hidden_fields=3, nonlinearity="sampled")
    error = equivariance_error(seeded(net).double(), net.in_type, net.out_type, n_elements=4)
    assert TOLERANCES[D].equivariance < error < 1e-2


def test_the_default_is_exact() -> None:
    assert default_nonlinearity(group("O(3)")) == "gated"
    assert default_nonlinearity(group("Ih")) == "sampled"
    assert len(GMLP(every_irrep(group("C4")), every_irrep(group("C4"))).trunk.stack) == 2
    assert len(GMLP(every_irrep(group("SO(2)")), every_irrep(group("SO(2)"))).trunk.stack) == 0


@pytest.mark.parametrize("nonlinearity", ["gated", "sampled"])
@pytest.mark.parametrize("name", ["O(3)", "SO(2)", "C6v", "Td"])
def test_every_output_depends_on_every_input(name: str, nonlinearity: str) -> None:
    t = every_irrep(group(name))
    net = seeded(GMLP(t, t, hidden_fields=4, layers=3, nonlinearity=nonlinearity)).double()
    x = randn(10, t.size, seed=0)
    y = net(x)
    for block in t.blocks:
        assert y[:, block.start : block.stop].abs().max() > 1e-3
        changed = x.clone()
        changed[:, block.start : block.stop] *= -0.5
        assert relative_error(net(changed), y) > 1e-3
    assert relative_error(net(2 * x), 2 * y) > 1e-2  # it is not linear


@pytest.mark.parametrize(
    ("name", "larger"), [("SO(2)", "C_inf_v"), ("O", "Oh"), ("Td", "Oh"), ("C4", "SO(2)")]
)
def test_it_breaks_larger_groups(name: str, larger: str) -> None:
    g, big = group(name), group(larger)
    t = FieldType.vector(g, 3) + FieldType.scalar(g)
    net = seeded(GMLP(t, t, hidden_fields=4, nonlinearity="sampled")).double()
    rho_of = FieldType.vector(big, 3) + FieldType.scalar(big)
    x = randn(10, t.size, seed=0)
    errors = []
    for h in outside(big, g):
        rho = rho_of.representation(h)
        errors.append(relative_error(net(x @ rho.T), net(x) @ rho.T))
    assert min(errors) > 1e-3


def test_without_invariants_the_gates_are_constant() -> None:
    g = group("SO(3)")
    t = FieldType.vector(g)
    net = seeded(GMLP(t, t, layers=1)).double()
    assert not net.trunk.has_invariants
    x = randn(4, 3, seed=0)
    assert relative_error(net(2 * x), 2 * net(x)) < TOLERANCES[D].parity
    assert equivariance_error(net, t, t) < TOLERANCES[D].equivariance
