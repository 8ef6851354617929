"""Harmonic polynomials and Wigner matrices, against what defines them."""

import numpy as np
import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.groups.harmonic_polynomials import (
    evaluate_harmonics,
    harmonic_polynomials,
    monomial_exponents,
    sphere_points,
    wigner_d,
)
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra
DEGREES = range(6)


def sphere_quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points [n, 3] and weights [n] that average polynomials of the degree exactly."""
    z, w = np.polynomial.legendre.leggauss(degree + 1)
    phi = 2 * np.pi * np.arange(2 * degree + 3) / (2 * degree + 3)
    z, phi = (a.ravel() for a in np.meshgrid(z, phi, indexing="ij"))
    rho = np.sqrt(1 - z**2)
    points = np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=1)
    return points, np.repeat(w / 2, 2 * degree + 3) / (2 * degree + 3)


def test_they_are_orthogonal_with_mean_square_one() -> None:
    points, weights = sphere_quadrature(10)
    all_ = np.concatenate([evaluate_harmonics(l, points) for l in DEGREES], axis=1)
    np.testing.assert_allclose(all_.T @ (weights[:, None] * all_), np.eye(36), atol=EXACT)


@pytest.mark.parametrize("l", DEGREES)
def test_their_laplacian_vanishes(l: int) -> None:
    lower = {e: k for k, e in enumerate(monomial_exponents(l - 2))} if l >= 2 else {}
    laplacian = np.zeros((2 * l + 1, max(len(lower), 1)))
    for k, exponents in enumerate(monomial_exponents(l)):
        for axis in range(3):
            n = exponents[axis]
            if n >= 2:
                reduced = tuple(e - 2 * (i == axis) for i, e in enumerate(exponents))
                laplacian[:, lower[reduced]] += n * (n - 1) * harmonic_polynomials(l)[:, k]
    np.testing.assert_allclose(laplacian, 0.0, atol=EXACT * np.abs(harmonic_polynomials(l)).max())


def test_degree_one_reads_z_x_y() -> None:
    x = np.array([[0.3, -0.5, 0.7]])
    np.testing.assert_allclose(evaluate_harmonics(1, x), np.sqrt(3) * x[:, [2, 0, 1]], atol=EXACT)


@pytest.mark.parametrize("l", DEGREES)
def test_components_have_their_azimuthal_order(l: int) -> None:
    """A turn about z by t mixes (cos m, sin m) by the angle m t."""
    t = 0.4
    c, s = np.cos(t), np.sin(t)
    d = wigner_d(l, (-1) ** l, np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]))
    expected = np.zeros_like(d)
    expected[0, 0] = 1
    for m in range(1, l + 1):
        block = [[np.cos(m * t), -np.sin(m * t)], [np.sin(m * t), np.cos(m * t)]]
        expected[2 * m - 1 : 2 * m + 1, 2 * m - 1 : 2 * m + 1] = block
    np.testing.assert_allclose(d, expected, atol=EXACT)


@pytest.mark.parametrize("l", DEGREES)
@pytest.mark.parametrize("parity", [1, -1])
def test_wigner_matrices(l: int, parity: int) -> None:
    g, h = SymmetryGroup("O(3)").sample(8, seed=1).numpy().reshape(2, 4, 3, 3)
    d_g, d_h = wigner_d(l, parity, g), wigner_d(l, parity, h)
    np.testing.assert_allclose(wigner_d(l, parity, g @ h), d_g @ d_h, atol=EXACT)
    np.testing.assert_allclose(wigner_d(l, parity, -g), parity * d_g, atol=EXACT)
    identity = np.broadcast_to(np.eye(2 * l + 1), d_g.shape)
    np.testing.assert_allclose(d_g @ d_g.swapaxes(1, 2), identity, atol=EXACT)
    if parity == (-1) ** l:
        x = sphere_points(5)
        for rotation, d in zip(g, d_g, strict=True):
            expected = evaluate_harmonics(l, x) @ d.T
            np.testing.assert_allclose(evaluate_harmonics(l, x @ rotation.T), expected, atol=EXACT)


def test_sphere_points_cover_the_sphere() -> None:
    points = sphere_points(200)
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1.0, atol=EXACT)
    assert np.abs(points.mean(0)).max() < 0.01
    assert np.abs(points.T @ points / 200 - np.eye(3) / 3).max() < 0.01
