"""Harmonic polynomials of x, restricted to G (paper, appendix B.1)."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.couplings import restriction
from sikff.groups.harmonic_polynomials import evaluate_harmonics, monomial_exponents, sphere_points
from sikff.nn.constants import ConstantModule


class Harmonics(ConstantModule):
    """All harmonic polynomials H_l(x), l <= max_degree, in G's irreps: [..., 3] -> [..., d].

    For unit vectors every component has unit variance over the sphere. The whole map is one matrix
    of polynomial coefficients, which contains the group's orientation, the parity and the splitting
    into irreps.

    Attributes:
        out_type: the (canonical) type of the result.
    """

    coefficients: Tensor

    def __init__(self, group: SymmetryGroup, max_degree: int) -> None:
        super().__init__()
        # the irreps of G that the harmonics of each degree split into
        parts = [
            (irrep, l, t)
            for l in range(max_degree + 1)
            for irrep, t in restriction(group, l, (-1) ** l)
        ]
        self.out_type = FieldType(group, [(1, irrep) for irrep, _, _ in parts]).canonical
        copies: dict[int, list[tuple[int, np.ndarray]]] = {}
        for irrep, l, t in parts:
            copies.setdefault(irrep.index, []).append((l, t))
        # coefficients of the monomials by a fit degree by degree, exact with so many points
        points = sphere_points(16 * (max_degree + 1) ** 2)
        standard = points @ group.orientation
        exponents = [e for l in range(max_degree + 1) for e in monomial_exponents(l)]
        degree = np.array([sum(e) for e in exponents])
        monomials = np.prod(points[:, None, :] ** np.array(exponents), axis=-1)
        columns = np.zeros((len(exponents), self.out_type.size))
        for block in self.out_type.blocks:
            for k, (l, t) in enumerate(copies[block.irrep.index]):
                values = evaluate_harmonics(l, standard) @ t
                fit = np.linalg.lstsq(monomials[:, degree == l], values, rcond=None)[0]
                for c in range(block.irrep.dim):
                    columns[degree == l, block.start + c * block.copies + k] = fit[:, c]
        self.register_constant("coefficients", columns)
        self.max_degree = max_degree
        for l, (parents, factors) in enumerate(_monomial_recursion(max_degree), start=2):
            self.register_constant(f"parents_{l}", np.eye(l * (l + 1) // 2)[parents])
            self.register_constant(f"factors_{l}", np.eye(3)[factors])

    def forward(self, x: Tensor) -> Tensor:
        constant, coefficients = self.coefficients[0], self.coefficients[1:]
        if not len(coefficients):
            return constant.expand(*x.shape[:-1], -1)
        rows = x.reshape(-1, 3).T.contiguous()  # [3, n]: products of contiguous rows are fastest
        monomials = [rows]
        for l in range(2, self.max_degree + 1):
            parents, factors = getattr(self, f"parents_{l}"), getattr(self, f"factors_{l}")
            monomials.append((parents @ monomials[-1]) * (factors @ rows))
        all_monomials = torch.cat(monomials) if len(monomials) > 1 else rows
        harmonics = F.linear(all_monomials.T, coefficients.T, constant)
        return harmonics if x.ndim == 2 else harmonics.unflatten(0, x.shape[:-1])


def _monomial_recursion(max_degree: int) -> list[tuple[list[int], list[int]]]:
    """For each degree l >= 2: which monomial of degree l-1, times which of x, y, z."""
    steps = []
    for l in range(2, max_degree + 1):
        lower = {e: i for i, e in enumerate(monomial_exponents(l - 1))}
        parents, factors = [], []
        for e in monomial_exponents(l):
            axis = next(k for k in range(3) if e[k])
            reduced = (e[0] - (axis == 0), e[1] - (axis == 1), e[2] - (axis == 2))
            parents.append(lower[reduced])
            factors.append(axis)
        steps.append((parents, factors))
    return steps
