"""Conditions: read from info and parameters, with errors for bad values."""

from typing import Any

import ase
import ase.io
import numpy as np
import pytest

from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions


def test_conditions_are_equal_values_whatever_they_were_read_from(tmp_path) -> None:
    atoms = ase.Atoms("H", info={"electric_field": np.array([0, 0, 1]), "surface": "NaCl"})
    atoms.info["surface_origin"] = [0, 0, 3]
    expected = Conditions((0.0, 0.0, 1.0), (0.0, 0.0, 3.0), "NaCl")
    assert Conditions.of(atoms.info) == expected
    ase.io.write(tmp_path / "a.xyz", atoms)
    assert Conditions.of(ase.io.read(tmp_path / "a.xyz").info) == expected
    assert Conditions.of({}, {"surface": np.str_("NaCl")}) == Conditions(surface="NaCl")
    assert Conditions.of({"surface": None}, {"surface": "NaCl"}).surface == "NaCl"
    assert Conditions.of({}) == Conditions() == ((0, 0, 0), None, None, 0, None)


@pytest.mark.parametrize("name", ["REF_electric_field", "external_field", "external_E_field"])
def test_fields_are_read_by_the_names_of_other_programs(name: str) -> None:
    for info in ({name: [0, 0, 1]}, {name: np.array([0, 0, 1.0]), "electric_field": (0, 0, 1)}):
        assert Conditions.of(info) == Conditions((0.0, 0.0, 1.0))


@pytest.mark.parametrize(
    ("info", "charge", "spin"),
    [
        ({"charge": -1, "spin": 2}, -1, 2),
        ({"total_charge": 1.0, "total_spin": np.array([3])}, 1, 3),
        ({"charge": np.int64(2), "total_charge": 2.0, "spin": np.float32(1)}, 2, 1),
        ({"charge": 0, "spin": 0}, 0, None),  # UMA's data for crystals
        ({"charge": None, "spin": 0, "total_spin": 2}, 0, 2),
        ({}, 0, None),
    ],
)
def test_charge_and_spin_are_read_by_the_names_of_other_programs(
    info: dict[str, Any], charge: int, spin: int | None
) -> None:
    conditions = Conditions.of(info)
    assert conditions == Conditions(charge=charge, spin=spin)
    assert type(conditions.charge) is int
    assert conditions.unpaired == (spin or 1) - 1


@pytest.mark.parametrize(
    ("info", "given", "message"),
    [
        ({"charge": 0.5}, {}, "charge is 0.5; expected the total charge in e, a whole number from"),
        ({"charge": "anion"}, {}, "charge is 'anion'; expected the total charge"),
        ({"charge": [1, -1]}, {}, r"charge is \[1, -1\]; expected"),
        ({"charge": True}, {}, "charge is True; expected"),
        ({"charge": [[1], [2, 3]]}, {}, r"charge is \[\[1\], \[2, 3\]\]; expected"),
        ({"total_charge": 10**6}, {}, "total_charge is 1000000; .* from -1000 to 1000, or no such"),
        ({"spin": -1}, {}, "spin is -1; expected the spin multiplicity 2S"),
        ({"total_spin": np.nan}, {}, "total_spin is nan; expected the spin mult"),
        ({"charge": 1, "total_charge": 2}, {}, "got charge 1, total_charge 2; expected one of"),
        ({"spin": 1, "total_spin": 2}, {}, "got spin 1, total_spin 2; expected one of them, or"),
        ({"spin": 2}, {"spin": 1}, "atoms.info has spin 2, the calculator 1; expected one of"),
        ({"electric_field": [1.0]}, {}, r"electric_field is \[1.0\]; expected three finite"),
        ({"electric_field": "up"}, {}, "electric_field is 'up'; expected three finite"),
        ({"electric_field": [[1], [2, 3]]}, {}, "expected three finite numbers in V/Å"),
        ({}, {"surface_origin": [0, 0, np.nan]}, "surface_origin is .* three finite numbers in Å"),
        ({"external_field": [0, 0, 1], "electric_field": [0, 0, 2]}, {}, "or the same in all"),
        ({"external_field": [0, 0, 1]}, {"electric_field": [0, 0, 2]}, "the calculator"),
        ({"surface": True}, {}, "surface is True; expected the name of a surface, or"),
        ({"surface": "Pt"}, {"surface": "Au"}, "atoms.info has surface Pt, the calculator Au"),
        (
            {"surface_origin": [0, 0, 1]},
            {"surface_origin": [0, 0, 2]},
            r"atoms.info has surface_origin \[0.0, 0.0, 1.0\], .* or the same in both",
        ),
    ],
)
def test_bad_values_raise(info: dict[str, Any], given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Conditions.of(info, given)


def test_the_surface_of_a_graph_is_an_index_into_those_of_the_model() -> None:
    names = ("graphene", "NaCl")

    def index(surface: str | None, surfaces: tuple[str, ...] = names) -> int:
        conditions = Conditions(surface=surface)
        atoms = ase.Atoms("H")
        graph = AtomicGraph.from_atoms(atoms, 1.0, ("H",), conditions=conditions, surfaces=surfaces)
        return int(graph.surface)

    assert [index(name) for name in (*names, "vacuum")] == [0, 1, -1]
    assert index(None, ()) == index(None, ("graphene",)) == 0
    with pytest.raises(ValueError, match="'Pt'; the model expects one of graphene, NaCl, vacuum"):
        index("Pt")
    with pytest.raises(ValueError, match="no surface is named; the model expects one of graphene"):
        index(None)
    with pytest.raises(ValueError, match="'graphene'; the model expects no name"):
        index("graphene", ())


def test_batches_hold_the_conditions_of_each_structure() -> None:
    given = [Conditions(), Conditions((0, 0, 1), (0, 0, 2), "vacuum", -2, 3)]
    graphs = [AtomicGraph.from_atoms(ase.Atoms("H"), 1.0, ("H",), conditions=c) for c in given]
    batch = AtomicGraph.batch_of(graphs)
    assert batch.field.tolist() == [[0, 0, 0], [0, 0, 1]]
    assert batch.origin.isfinite().tolist() == [[False] * 3, [True] * 3]
    assert batch.surface.tolist() == [0, -1]
    assert batch.charge.tolist() == [0, -2]
    assert batch.unpaired.tolist() == [0, 2]
