"""Names and aliases of groups, and their generators."""

import numpy as np
import pytest
import torch

from sikff.groups import SymmetryGroup
from sikff.groups.names import continuous_name, parse, rotation
from symmetry_cases import turn_about
from tolerances import TOLERANCES

EXACT = TOLERANCES[torch.float64].algebra

# name -> order: the whole table of point groups, counted by hand
ORDERS = {
    "C1": 1, "Ci": 2, "Cs": 2, "C2": 2, "C5": 5, "C2v": 4, "C3v": 6, "C6v": 12, "C2h": 4,
    "C3h": 6, "C4h": 8, "S4": 4, "S6": 6, "S8": 8, "D2": 4, "D3": 6, "D6": 12, "D2h": 8,
    "D3h": 12, "D4h": 16, "D2d": 8, "D3d": 12, "D4d": 16, "T": 12, "Td": 24, "Th": 24, "O": 24,
    "Oh": 48, "I": 60, "Ih": 120,
}  # fmt: skip

ALIASES = {
    "O(2)": "C_inf_v",
    "C∞v": "C_inf_v",
    "Cinfv": "C_inf_v",
    "c_inf_v": "C_inf_v",
    "C∞": "SO(2)",
    "so2": "SO(2)",
    "C∞h": "C_inf_h",
    "D∞": "D_inf",
    "D∞h": "D_inf_h",
    "o(3)": "O(3)",
    " SO(3) ": "SO(3)",
    "C_6v": "C6v",
    "ih": "Ih",
    "C1h": "Cs",
    "S2": "Ci",
    "D1": "C2",
    "C1v": "Cs",
    "D1h": "C2v",
    "D1d": "C2h",
}


@pytest.mark.parametrize("name", ORDERS)
def test_a_point_group_has_its_order_and_keeps_its_name(name: str) -> None:
    g = SymmetryGroup(name)
    assert g.name == name
    assert g.order == ORDERS[name]
    assert g.elements.shape == (ORDERS[name], 3, 3)
    assert g.lie_dimension == 0
    assert g.has_improper == (name[-1] in "vhdis" or name[0] == "S")


@pytest.mark.parametrize(("alias", "name"), ALIASES.items())
def test_aliases(alias: str, name: str) -> None:
    assert SymmetryGroup(alias).name == name


@pytest.mark.parametrize(
    ("name", "dimension", "components"),
    [
        ("O(3)", 3, 2),
        ("SO(3)", 3, 1),
        ("SO(2)", 1, 1),
        ("C_inf_v", 1, 2),
        ("C_inf_h", 1, 2),
        ("D_inf", 1, 2),
        ("D_inf_h", 1, 4),
    ],
)
def test_continuous_groups(name: str, dimension: int, components: int) -> None:
    g = SymmetryGroup(name)
    assert (g.name, g.lie_dimension, len(g.elements)) == (name, dimension, components)
    assert g.order == float("inf")


@pytest.mark.parametrize(
    "name", ["", "O(4)", "C0", "C0v", "S3", "C2d", "D4v", "C1001", "Tv", "Iv", "C-3", "SO3v", None]
)
def test_an_unknown_name_raises_with_a_list_of_names(name: str) -> None:
    with pytest.raises(ValueError, match=r"unknown symmetry group .*O\(3\).*Ih.*from_generators"):
        SymmetryGroup(name)


@pytest.mark.parametrize(
    ("name", "matrix"),
    [
        ("C3v", np.diag([1.0, -1.0, 1.0])),  # the mirror through x and z
        ("D3", np.diag([1.0, -1.0, -1.0])),  # the twofold axis along x
        ("D2d", np.diag([1.0, -1.0, -1.0])),
        ("Cs", np.diag([1.0, 1.0, -1.0])),
        ("T", np.diag([1.0, -1.0, -1.0])),
        ("O", turn_about(np.array([1.0, 0, 0]), np.pi / 2)),
        ("Td", -turn_about(np.array([1.0, 0, 0]), np.pi / 2)),
        ("I", np.diag([1.0, -1.0, -1.0])),
        ("I", np.diag([-1.0, -1.0, 1.0])),
    ],
)
def test_standard_orientation_is_the_documented_one(name: str, matrix: np.ndarray) -> None:
    assert SymmetryGroup(name).contains(matrix)
    assert not SymmetryGroup(name).contains(-matrix)


def test_rotations_are_right_handed() -> None:
    quarter = rotation(np.array([0.0, 0.0, 2.0]), np.pi / 2)
    np.testing.assert_allclose(quarter @ [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], atol=EXACT)
    axis = np.array([1.0, 2.0, -0.5])
    np.testing.assert_allclose(rotation(axis, 0.7), turn_about(axis, 0.7), atol=EXACT)


def test_parse_gives_a_dimension_and_generators() -> None:
    dimension, generators = parse("D6h")
    assert dimension == 0
    assert len(generators) == 3
    assert parse("SO(3)") == (3, [])


def test_no_continuous_group_has_impossible_components() -> None:
    with pytest.raises(RuntimeError, match="no continuous group"):
        continuous_name(3, frozenset({(1, 1), (-1, 1)}))
