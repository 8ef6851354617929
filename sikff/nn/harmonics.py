"""Harmonic polynomials of x, restricted to G (paper, appendix B.1)."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from sikff.fields import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.harmonics import evaluate_harmonics, monomial_exponents, sphere_points
from sikff.groups.intertwiners import restriction
from sikff.nn.tables import Tabulated

Array = np.ndarray


class Harmonics(Tabulated):
    """All harmonic polynomials H_l(x), l <= max_degree, in G's irreps: [..., 3] -> [..., d].

    For unit vectors every component has unit variance over the sphere. The whole map is one table
    of polynomial coefficients, in which frame, parity and the splitting into irreps are absorbed.

    Attributes:
        out_type: the (canonical) type of the result.
    """

    coefficients: Tensor
    forms: Tensor
    ones: Tensor

    def __init__(self, group: SymmetryGroup, max_degree: int) -> None:
        super().__init__()
        parts = [
            (irrep, l, t)
            for l in range(max_degree + 1)
            for irrep, t in restriction(group, l, (-1) ** l)
        ]
        self.out_type = FieldType(group, [(1, irrep) for irrep, _, _ in parts]).canonical
        copies: dict[int, list[tuple[int, Array]]] = {}
        for irrep, l, t in parts:
            copies.setdefault(irrep.index, []).append((l, t))
        points = sphere_points(16 * (max_degree + 1) ** 2)
        in_frame = points @ group.frame
        exponents = [e for l in range(max_degree + 1) for e in monomial_exponents(l)]
        degree = np.array([sum(e) for e in exponents])
        monomials = np.prod(points[:, None, :] ** np.array(exponents), axis=-1)
        columns = np.zeros((len(exponents), self.out_type.size))
        for block in self.out_type.blocks:
            for k, (l, t) in enumerate(copies[block.irrep.index]):
                values = evaluate_harmonics(l, in_frame) @ t
                fit = np.linalg.lstsq(monomials[:, degree == l], values, rcond=None)[0]
                for c in range(block.irrep.dim):
                    columns[degree == l, block.start + c * block.copies + k] = fit[:, c]
        self.register_table("coefficients", columns)
        self.n_factors = max(max_degree, 1)
        forms, ones = _factors(exponents, self.n_factors)
        self.register_table("forms", forms)
        self.register_table("ones", ones)

    def forward(self, x: Tensor) -> Tensor:
        monomials, *factors = F.linear(x, self.forms, self.ones).chunk(self.n_factors, -1)
        for factor in factors:
            monomials = monomials * factor
        return monomials @ self.coefficients


def _factors(exponents: list[tuple[int, int, int]], n: int) -> tuple[Array, Array]:
    """Monomials as products of n factors, each of them x, y, z or 1: the linear forms of all first
    factors, all second ones, ... [n monomials, 3], and their constants."""
    forms = np.zeros((n, len(exponents), 3))
    for k, e in enumerate(exponents):
        axes = np.repeat(np.arange(3), e)
        forms[np.arange(len(axes)), k, axes] = 1
    return forms.reshape(-1, 3), 1 - forms.sum(-1).ravel()
