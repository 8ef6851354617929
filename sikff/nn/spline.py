"""Functions of a length as tables of quintic splines."""

from __future__ import annotations

from collections.abc import Callable
from math import comb, factorial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

DEGREE = 5
SAMPLES = 2  # in every interval, to which splines are fitted


class SplineTable(NamedTuple):
    """Several sets of m functions of a length, f(r) on [0, extent]: C^4 and zero from there on.

    Attributes:
        coefficients: of B-splines, [sets * rows, m].
        intervals: between knots, all of one length.
        extent: the length from which on all is zero.
        pieces: the splines between two knots, and their derivatives in the length: polynomials,
            [order, power, spline].
    """

    coefficients: Tensor
    intervals: int
    extent: float
    pieces: Tensor

    @classmethod
    def fitted(
        cls, function: Callable[[np.ndarray], np.ndarray], intervals: int, extent: float
    ) -> SplineTable:
        """Splines by least squares, float64.

        Args:
            function: lengths [s] -> values [sets, s, m], which vanish smoothly at ``extent``.
            intervals, extent: of the splines.
        """
        s = (np.arange(SAMPLES * intervals) + 0.5) / SAMPLES
        values = function(s * (extent / intervals))
        rows = intervals + DEGREE + 1
        design = np.zeros((len(s), rows))
        columns = s.astype(int)[:, None] + np.arange(DEGREE + 1)
        powers = (s % 1)[:, None] ** np.arange(DEGREE + 1)
        np.put_along_axis(design, columns, powers @ _polynomials(0), axis=1)
        q, r = np.linalg.qr(design[:, :intervals])  # the other splines reach beyond
        found = np.zeros((len(values), rows, values.shape[2]))
        found[:, :intervals] = np.linalg.solve(r, q.T @ values)
        orders = [(intervals / extent) ** k * _polynomials(k) for k in range(DEGREE + 2)]
        coefficients = torch.from_numpy(found.reshape(-1, values.shape[2]))
        return cls(coefficients, intervals, extent, torch.from_numpy(np.stack(orders)))

    def to(self, other: Tensor) -> SplineTable:
        """The same table with the type of another tensor, on its device."""
        return self._replace(coefficients=self.coefficients.to(other), pieces=self.pieces.to(other))

    @property
    def rows(self) -> int:
        """Coefficients of a function."""
        return self.intervals + DEGREE + 1

    def rows_of(self, r: Tensor, number: Tensor, filled: Tensor) -> tuple[Tensor, Tensor]:
        """Where lengths r [E] are in the sets ``number`` [E] of the table.

        Returns the rows [E, 6] of the splines that are not zero there (int32), and the fraction of
        an interval that is left of r [E]. Where ``filled`` [E] is 0, not 1, the functions are zero.
        """
        s = r.detach() * (self.intervals / self.extent)
        s = torch.fmax(s, self.intervals * (1 - filled))  # also turns NaN into a valid row
        s = s.clamp(max=self.intervals)
        full = s.floor()
        first = (full.int() + (self.rows * number).int()).unsqueeze(-1)
        rows = first + torch.arange(DEGREE + 1, dtype=torch.int32, device=r.device)
        return rows, s - full

    def __call__(self, r: Tensor, rows: Tensor, left: Tensor) -> Tensor:
        """The functions [E, m] at lengths r, with the results of :meth:`rows_of`; smooth in r."""
        values: Tensor = _Spline.apply(r, rows, left, self, 0)
        return values


class _Spline(torch.autograd.Function):
    """The derivative of that order in the length r; its own derivative is the next one."""

    @staticmethod
    def forward(
        ctx: Any, r: Tensor, rows: Tensor, left: Tensor, table: SplineTable, order: int
    ) -> Tensor:
        ctx.save_for_backward(r, rows, left)
        ctx.table, ctx.order = table, order
        lowest, *higher = table.pieces[min(order, DEGREE + 1)]  # from the sixth on they are zero
        weights, t = higher.pop(), left.unsqueeze(-1)
        for power in (*reversed(higher), lowest):
            weights = torch.addcmul(power, t, weights)
        return F.embedding_bag(rows, table.coefficients, per_sample_weights=weights, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        derivative = _Spline.apply(*ctx.saved_tensors, ctx.table, ctx.order + 1)
        return (gradients[0] * derivative).sum(-1), None, None, None, None


def _polynomials(order: int) -> np.ndarray:
    """Derivatives of the B-splines that are not zero between two knots: [power, spline].

    B(x) = 1/5! sum_j (-1)^j (6 over j) (x - j)^5 over all j < x, of which spline k sees
    x = t + 5 - k, with t from 0 to 1.
    """
    if order:
        return np.pad(_polynomials(order - 1)[1:], ((0, 1), (0, 0))) * np.arange(1.0, 7.0)[:, None]
    n, found = DEGREE, np.zeros((DEGREE + 1, DEGREE + 1))
    for power, k in np.ndindex(found.shape):
        terms = ((-1) ** j * comb(n + 1, j) * (n - k - j) ** (n - power) for j in range(n - k + 1))
        found[power, k] = comb(n, power) * sum(terms) / factorial(n)
    return found
