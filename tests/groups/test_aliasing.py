"""Finite groups that low frequencies cannot tell from continuous ones."""

from itertools import combinations_with_replacement

import pytest

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.groups.aliasing import continuous_equivalent
from symmetry_cases import class_average

AXIS = (1.0, -2.0, 0.5)


def test_directions_are_resolved_at_frequency_zero() -> None:
    """Of degree 1: the least that harmonics have, whatever the frequencies of the features."""
    alike = {
        name: continuous_equivalent(SymmetryGroup(name), 0)
        for name in ("C1", "Cs", "C2", "Ci", "D3")
    }
    assert {name for name, larger in alike.items() if larger is None} == {"C1", "Cs"}


@pytest.mark.parametrize("max_frequency", [1, 2])
@pytest.mark.parametrize(
    "name", ["C1", "Ci", "Cs", "C3", "C4", "C7v", "C6v", "D3d", "D4", "S8", "D7h", "Td", "O", "Oh"]
)
def test_aliases_have_the_same_couplings(name: str, max_frequency: int) -> None:
    """Of three irreps of the larger group, counted by characters."""
    group = SymmetryGroup(name, AXIS)
    larger = SymmetryGroup.from_generators(group.generators, lie_axes=[group.axis])
    types = [FieldType(larger, [(1, irrep)]) for irrep in larger.irreps(max_frequency)]
    same = all(
        abs(class_average(group, [*three]) - class_average(larger, [*three])) < 1e-6
        for three in combinations_with_replacement(types, 3)
    )
    assert continuous_equivalent(group, max_frequency) == (larger if same else None)


@pytest.mark.parametrize(
    ("name", "enough", "continuous"),
    [
        ("C12v", 4, "C_inf_v"),
        ("C9v", 3, "C_inf_v"),
        ("C10", 4, "SO(2)"),
        ("D7h", 3, "D_inf_h"),
        ("D4d", 2, "D_inf_h"),
        ("S8", 2, "C_inf_h"),
        ("C2", 1, "SO(2)"),
        ("Td", 1, "O(3)"),
        ("Oh", 2, "O(3)"),
        ("I", 2, "SO(3)"),
    ],
)
def test_the_lowest_frequency_that_resolves_a_group(
    name: str, enough: int, continuous: str
) -> None:
    group = SymmetryGroup(name, AXIS)
    assert continuous_equivalent(group, enough) is None
    larger = continuous_equivalent(group, enough - 1)
    assert larger is not None and larger.name == continuous and group <= larger


@pytest.mark.parametrize("name", ["O(3)", "SO(3)", "SO(2)", "C_inf_v"])
def test_continuous_groups_have_no_alias(name: str) -> None:
    assert continuous_equivalent(SymmetryGroup(name), 0) is None
