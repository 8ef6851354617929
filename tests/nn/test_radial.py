"""Radial functions and shells."""

import numpy as np
import pytest
import torch

from sikff.nn import BesselBasis, GaussianBasis, GaussianShell, PolynomialEnvelope
from symmetry_cases import relative_error
from tolerances import TOLERANCES

D = torch.float64


def derivatives(function, r: torch.Tensor, order: int) -> list[torch.Tensor]:
    r = r.clone().requires_grad_()
    values = [function(r)]
    for _ in range(order):
        values.append(torch.autograd.grad(values[-1].sum(), r, create_graph=True)[0])
    return [v.detach() for v in values]


@pytest.mark.parametrize("power", [4, 6])
def test_the_envelope_is_c3_at_the_cutoff(power: int) -> None:
    envelope = PolynomialEnvelope(2.5, power)
    at = derivatives(envelope, torch.tensor([2.5 - 1e-7], dtype=D), 4)
    for value in at[:4]:
        assert value.abs() < 1e-4
    assert at[4].abs() > 1.0  # and no smoother
    assert torch.equal(envelope(torch.tensor([2.5, 2.6, 99.0])), torch.zeros(3))
    values = envelope(torch.linspace(0, 2.5, 50, dtype=D))
    assert values[0] == 1
    assert (values.diff() <= 0).all()


def test_bessel_basis() -> None:
    basis = BesselBasis(5, 3.0).double()
    r = torch.tensor([0.3, 1.0, 2.9], dtype=D)
    n = torch.arange(1, 6, dtype=D)
    expected = torch.sin(n * np.pi * r[:, None] / 3) / r[:, None]
    factor = basis(r)[0, 0] / expected[0, 0]
    assert relative_error(basis(r), factor * expected) < TOLERANCES[D].parity
    assert basis(torch.tensor([3.0], dtype=D)).abs().max() < TOLERANCES[D].rounding
    assert torch.isfinite(basis(torch.tensor([1e-6], dtype=D))).all()
    order = basis(torch.linspace(0.2, 2.9, 100, dtype=D)).pow(2).mean()
    assert 0.05 < order < 5
    r = torch.linspace(0, 3, 20001, dtype=D)[1:]
    gram = torch.trapezoid(
        basis(r)[:, :, None] * basis(r)[:, None, :] * r[:, None, None] ** 2, r, dim=0
    )
    assert relative_error(gram, gram[0, 0] * torch.eye(5, dtype=D)) < 1e-3


def test_gaussian_basis() -> None:
    basis = GaussianBasis(4, 3.0).double()
    r = torch.tensor([0.0, 1.0, 3.0], dtype=D)
    y = basis(r)
    assert y.argmax(1).tolist() == [0, 1, 3]
    expected = 2 * torch.exp(torch.tensor(-0.5, dtype=D))
    assert relative_error(y[0, 1], expected) < TOLERANCES[D].parity
    assert GaussianBasis(1, 2.0)(torch.zeros(1)).shape == (1, 1)


def test_gaussian_shell() -> None:
    shell = GaussianShell(0.5).double()
    y = shell(torch.tensor([0.0, 0.5], dtype=D))
    expected = torch.tensor([1.0, np.exp(-0.5)], dtype=D)
    assert relative_error(y, expected) < TOLERANCES[torch.float32].rounding
    y.sum().backward()
    assert shell.log_sigma.grad > 0.1
