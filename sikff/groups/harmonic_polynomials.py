"""Real harmonic polynomials and the rotation matrices D^l they define.

Convention, used everywhere: the polar axis is z, and the components of degree l are ordered
m = 0, cos 1, sin 1, cos 2, sin 2, ... so that degree 1 reads (z, x, y). Each polynomial has mean
square 1 over the unit sphere.
"""

from functools import lru_cache
from math import comb, factorial, sqrt

import numpy as np

Array = np.ndarray


@lru_cache
def monomial_exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Exponents (a, b, c) of the monomials x^a y^b z^c of the given degree."""
    return tuple(
        (a, b, degree - a - b) for a in range(degree, -1, -1) for b in range(degree - a, -1, -1)
    )


def _multiply(p: dict, q: dict) -> dict:
    """Product of two polynomials {(a, b, c): coefficient of x^a y^b z^c}."""
    product: dict[tuple[int, int, int], float] = {}
    for (a, b, c), u in p.items():
        for (d, e, f), v in q.items():
            key = (a + d, b + e, c + f)
            product[key] = product.get(key, 0.0) + u * v
    return product


@lru_cache
def _azimuthal(m: int) -> tuple[dict, dict]:
    """Real and imaginary part of (x + i y)^m as polynomials."""
    real: dict[tuple[int, int, int], float] = {}
    imag: dict[tuple[int, int, int], float] = {}
    for k in range(m + 1):
        part, sign = (real, (-1) ** (k // 2)) if k % 2 == 0 else (imag, (-1) ** (k // 2))
        part[(m - k, k, 0)] = float(sign * comb(m, k))
    return real, imag


@lru_cache
def _zonal(l: int, m: int) -> dict:
    """The factor of r^l P_l^m(cos theta) that depends on z and r^2 only."""
    r_squared = {(2, 0, 0): 1.0, (0, 2, 0): 1.0, (0, 0, 2): 1.0}
    total: dict[tuple[int, int, int], float] = {}
    radial: dict[tuple[int, int, int], float] = {(0, 0, 0): 1.0}
    for k in range((l - m) // 2 + 1):
        c = (-1) ** k * comb(l, k) * comb(2 * l - 2 * k, l) / 2**l
        c *= factorial(l - 2 * k) / factorial(l - 2 * k - m)
        for key, value in _multiply(radial, {(0, 0, l - 2 * k - m): c}).items():
            total[key] = total.get(key, 0.0) + value
        radial = _multiply(radial, r_squared)
    return total


@lru_cache
def harmonic_polynomials(l: int) -> Array:
    """Coefficients [2l+1, n_monomials] of the harmonic polynomials H_l (paper, appendix B.1)."""
    column = {key: i for i, key in enumerate(monomial_exponents(l))}
    rows = np.zeros((2 * l + 1, len(column)))
    for m in range(l + 1):
        norm = sqrt((2 - (m == 0)) * (2 * l + 1) * factorial(l - m) / factorial(l + m))
        for part, row in zip(_azimuthal(m), (max(2 * m - 1, 0), 2 * m), strict=True):
            for key, value in _multiply(part, _zonal(l, m)).items():
                rows[row, column[key]] += norm * value
    rows.setflags(write=False)
    return rows


def evaluate_harmonics(l: int, points: Array) -> Array:
    """H_l at points [..., 3], as [..., 2l+1]."""
    exponents = np.array(monomial_exponents(l))
    monomials = np.prod(points[..., None, :] ** exponents, axis=-1)
    return monomials @ harmonic_polynomials(l).T


def sphere_points(n: int) -> Array:
    """n points spread evenly over the unit sphere (a Fibonacci lattice), [n, 3]."""
    k = np.arange(n) + 0.5
    z, phi = 1 - 2 * k / n, k * np.pi * (1 + sqrt(5))
    rho = np.sqrt(1 - z**2)
    return np.stack([rho * np.cos(phi), rho * np.sin(phi), z], axis=-1)


@lru_cache
def _fit_points(l: int) -> tuple[Array, Array]:
    """Points on the sphere, and the pseudo-inverse of the harmonics of degree l on them."""
    points = sphere_points(8 * l + 8)
    return points, np.linalg.pinv(evaluate_harmonics(l, points))


def wigner_d(l: int, parity: int, matrices: Array) -> Array:
    """Matrices [..., 2l+1, 2l+1] of O(3)'s irrep (l, parity) at matrices [..., 3, 3].

    Defined by H_l(g x) = D(g) H_l(x) for the natural parity (-1)^l, times det g otherwise.
    """
    points, inverse = _fit_points(l)
    values = evaluate_harmonics(l, np.einsum("...ij,pj->...pi", matrices, points))
    d = np.swapaxes(inverse @ values, -1, -2)
    if parity != (-1) ** l:
        d = d * np.sign(np.linalg.det(matrices))[..., None, None]
    return d
