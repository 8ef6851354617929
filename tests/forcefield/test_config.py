"""Invalid configs raise, and say why."""

import pytest
from pydantic import ValidationError

from sikff import ForceFieldConfig, SymmetryGroup


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"elements": ("H", "Xx")}, "chemical symbols"),
        ({"elements": ("H", "H")}, "distinct"),
        ({"elements": ()}, "distinct"),
        ({"group": "Q7"}, "unknown symmetry group"),
        ({"axis": (0, 0, 0)}, "axis must be"),
        ({"cutoff": -1.0}, "greater than 0"),
        ({"cutoff": float("nan")}, "greater than 0|finite"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"chanels": 3}, "chanels"),
        ({"elements": (1, "H")}, "distinct"),
        ({"atomic_energies": {"H": float("nan")}}, "finite"),
        ({"environment": {"plane_origin": (0, 0, float("inf"))}, "group": "C6v"}, "finite"),
        ({"elements": (0, 119)}, "chemical symbols"),
        ({"elements": "HO"}, "tuple"),
        ({"atomic_energies": {"He": 1.0}}, "name He"),
        ({"atomic_energies": {2: 1.0}}, "name He"),
        ({"atomic_energies": {"H": 1.0, 1: 1.0}}, "expected each element once"),
        ({"environment": {"plane_origin": (0, 0, 0)}, "group": "O(3)"}, "keeps its normal"),
        ({"environment": {"plane_origin": (0, 0, 0)}, "group": "D_inf_h"}, "keeps its normal"),
        (
            {"environment": {"plane_origin": (0, 0, 0), "slit_width": 9}, "group": "Oh"},
            "round, such as",
        ),
        ({"environment": {"slit_width": 9.0}}, "slit_width without plane_origin; set plane_or"),
        ({"environment": {"surfaces": ("Au",)}}, "surfaces without plane_origin; set plane_or"),
        ({"environment": {"plane_origin": (0, 0, 0), "surfaces": ("Au", "Au")}}, "different names"),
        ({"environment": {"plane_origin": (0, 0, 0), "surfaces": ("vacuum",)}}, "may name anyway"),
        (
            {"environment": {"field": True, "field_min": 1.0, "field_max": 0.0}},
            "than field_min",
        ),
        ({"environment": {"field": True, "field_max": -1.0}}, r"than field_min \(1.0\)"),
        ({"environment": {"field_max": 1.0}}, "field_max without field; set field"),
        ({"environment": {"charge_min": 0}}, "charge_min without charge; set charge"),
        ({"environment": {"charge": True, "spin_max": 2}}, "spin_max without spin; set spin"),
        (
            {"environment": {"spin": True, "spin_min": 3, "spin_max": 2}},
            r"spin_min is 3, more than spin_max \(2\)",
        ),
        (
            {"environment": {"plane_range": 6.0, "height_min": 1.0}},
            "height_min without plane_or",
        ),
        ({"vacuum_group": "O(3)"}, "needs an environment"),
        (
            {"vacuum_group": "O(3)", "group": "Td", "environment": {"field": True}},
            "needs an environment",
        ),
        (
            {"group": "C_inf_v", "environment": {"field": True}, "vacuum_group": "C4"},
            "must contain",
        ),
    ],
)
def test_invalid_settings_raise(options: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ForceFieldConfig(**{"elements": ("H", "O"), **options})


def test_a_field_in_a_mirror_plane_is_an_environment() -> None:
    environment = {"field": True}
    config = ForceFieldConfig(
        elements=("H",), group="Cs", environment=environment, vacuum_group="O(3)"
    )
    assert len(config.symmetry_group.invariant_vectors) == 2


def test_elements_are_symbols_or_atomic_numbers() -> None:
    symbols = ForceFieldConfig(elements=("H", "O"), atomic_energies={"O": -2.0})
    for elements, key in (((1, 8), 8), (["1", "O"], "8")):
        assert ForceFieldConfig(elements=elements, atomic_energies={key: -2.0}) == symbols


def test_it_is_frozen_and_survives_json() -> None:
    config = ForceFieldConfig(elements=("H", "O"), group="C6v", axis=(1, 1, 0))
    with pytest.raises(ValidationError):
        config.cutoff = 3.0
    assert ForceFieldConfig.model_validate_json(config.model_dump_json()) == config
    assert config.symmetry_group == SymmetryGroup("C6v", axis=(1, 1, 0))
