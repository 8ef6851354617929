"""equivariance_error measures violations of equivariance."""

import pytest
import torch

from sikff.field_types import FieldType
from sikff.nn import equivariance_error
from symmetry_cases import group
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def test_the_error_is_proportional_to_the_violation() -> None:
    vector = FieldType.vector(group("SO(3)"))
    assert equivariance_error(lambda x: 3 * x, vector, vector) < LIMITS.rounding
    slightly = torch.tensor([1.0, 1.0, 1.001], dtype=torch.float64)
    assert 1e-4 < equivariance_error(lambda x: x * slightly, vector, vector) < 1e-2
    assert equivariance_error(torch.relu, vector, vector) > 0.1
    axial = FieldType.vector(group("SO(2)"))
    assert equivariance_error(lambda x: x * slightly, axial, axial) < LIMITS.rounding


def test_it_takes_several_inputs_and_a_seed() -> None:
    g = group("SO(3)")
    vector = FieldType.vector(g)
    assert equivariance_error(torch.linalg.cross, [vector, vector], vector) < LIMITS.rounding
    o3 = FieldType.vector(group("O(3)"))
    assert equivariance_error(torch.linalg.cross, [o3, o3], o3) > 0.5
    one, two = (equivariance_error(torch.relu, vector, vector, seed=s) for s in (0, 1))
    assert one != two
    assert one == equivariance_error(torch.relu, vector, vector, seed=0)


def test_a_zero_output_raises() -> None:
    vector = FieldType.vector(group("SO(3)"))
    with pytest.raises(ValueError, match="output is zero"):
        equivariance_error(torch.zeros_like, vector, vector)
    with pytest.raises(ValueError, match="of one group"):
        equivariance_error(torch.clone, vector, FieldType.vector(group("O(3)")))
