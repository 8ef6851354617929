"""Splines in a table: values and derivatives, the end of the table, several sets."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sikff.nn import SplineTable
from symmetry_cases import relative_error
from tolerances import TOLERANCES

D = torch.float64
EXTENT = 4.0


def wave(r: torch.Tensor) -> torch.Tensor:
    """Two sets of two functions that vanish smoothly at EXTENT, [2, E, 2]."""
    end = (1 - r / EXTENT) ** 6
    first = torch.stack([torch.sin(3 * r), torch.cos(r)], dim=-1)
    second = torch.stack([torch.exp(-r), r**2], dim=-1)
    return torch.stack([first, second]) * end[:, None]


def table(intervals: int = 256) -> SplineTable:
    found = SplineTable.fitted(lambda r: wave(torch.from_numpy(r)).numpy(), intervals, EXTENT)
    assert found.coefficients.shape == (2 * found.rows, 2)
    return found


def values_of(splines: SplineTable, r: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    return splines(r, *splines.rows_of(r, number, torch.ones_like(r)))


def derivatives(values: torch.Tensor, r: torch.Tensor, order: int) -> list[torch.Tensor]:
    """Of the sum over functions, by every length."""
    found = [values.sum(-1)]
    for _ in range(order):
        found.append(torch.autograd.grad(found[-1].sum(), r, create_graph=True)[0])
    return found


@pytest.mark.parametrize("number", [0, 1])
def test_values_and_derivatives_are_those_of_the_function(number: int) -> None:
    r = torch.linspace(0.0, EXTENT, 1001, dtype=D)[:-1].clone().requires_grad_()
    found = derivatives(values_of(table(), r, torch.full((1000,), number)), r, 3)
    expected = derivatives(wave(r)[number], r, 3)
    for order, limit in enumerate((1e-11, 1e-8, 1e-6, 1e-4)):  # a power of the knots' distance each
        error = relative_error(found[order], expected[order])
        assert error < limit, order
        coarse = derivatives(values_of(table(32), r, torch.full((1000,), number)), r, order)[order]
        assert relative_error(coarse, expected[order]) > 10 * error


def test_the_fourth_derivative_has_no_jumps_and_the_fifth_has() -> None:
    knots = torch.arange(1, 31, dtype=D) * (EXTENT / 32)
    coarse, jumps = table(32), []
    for side in (-1e-9, 1e-9):
        r = (knots + side).requires_grad_()
        jumps.append(derivatives(values_of(coarse, r, torch.zeros(30, dtype=torch.long)), r, 5))
    for before, after in zip(jumps[0][:5], jumps[1][:5], strict=True):
        assert relative_error(after, before) < 1e-5
    assert relative_error(jumps[1][5], jumps[0][5]) > 1e-3


@given(beyond=st.floats(0, 1e30), dtype=st.sampled_from([torch.float32, D]))
def test_it_is_exactly_zero_from_its_end_on(beyond: float, dtype: torch.dtype) -> None:
    splines = table(16).to(torch.zeros(0, dtype=dtype))
    r = torch.tensor([EXTENT + beyond, 1.0], dtype=dtype, requires_grad=True)
    found = derivatives(values_of(splines, r, torch.tensor([1, 1])), r, 2)
    for each in found:
        assert each[0] == 0
        assert each[1] != 0


def test_empty_places_are_exactly_zero() -> None:
    r = torch.tensor([1.0, 1.0], dtype=D, requires_grad=True)
    filled = torch.tensor([1.0, 0.0], dtype=D)
    splines = table()
    places = splines.rows_of(r, torch.tensor([0, 0]), filled)
    found = derivatives(splines(r, *places), r, 2)
    assert all(each[0] != 0 and each[1] == 0 for each in found)


def test_gradients_of_gradients() -> None:
    splines, number = table(32), torch.tensor([0, 1, 1])
    r = torch.tensor([0.01, 1.3, 3.9], dtype=D, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: values_of(splines, r, number), r)
    assert torch.autograd.gradgradcheck(lambda r: values_of(splines, r, number), r)


def test_what_it_can_represent_it_represents() -> None:
    """A quintic B-spline of its own is fitted up to rounding."""
    own = table(16)
    wanted = own.coefficients.clone()

    def function(r: np.ndarray) -> np.ndarray:
        lengths = torch.from_numpy(r)
        numbers = [torch.full((len(r),), n) for n in (0, 1)]
        return torch.stack([values_of(own, lengths, number) for number in numbers]).numpy()

    again = SplineTable.fitted(function, 16, EXTENT).coefficients
    assert relative_error(again, wanted) < TOLERANCES[D].parity
