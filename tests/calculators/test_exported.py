"""Exported force fields against their models, before they are compiled; compiled in test_export."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import ase
import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list

from force_fields import crystal, ethanol, force_field, graph_of
from sikff import ForceField
from sikff.calculators.export import describe, export_program
from sikff.calculators.exported import ExportedModel
from sikff.calculators.table_form import inputs_of, trace_derivatives
from sikff.calculators.torchscript import SIGNATURE, script_energies
from sikff.engines import differentiate
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES

TINY = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
PLANE = {"plane_origin": (0.0, 0.0, -2.0)}
SQUARE = {"lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm"}
NAMED = {**PLANE, "surfaces": ("a", "b")}
SEEN = {"C-H": ((1.0, 1.05),), "H-H": ((1.5, 3.0),), "Al-Al": ((2.9, 3.0),)}
# Models of every kind, by name, and conditions under which they are called.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bare": ("O(3)", {"layers": 2, "max_frequency": 2, "correlation": 2}, {}),
    "field": ("O(3)", {"environment": {"field": True}}, {"field": (0.1, 0.2, 0.3)}),
    "plane and field": (
        "C_inf_v",
        {"environment": {**PLANE, "field": True}, "vacuum_group": "O(3)"},
        {"origin": (0.0, 0.0, -2.5), "field": (0, 0, 0.2)},
    ),
    "slit": ("D_inf_h", {"environment": {**PLANE, "slit_width": 12.0}, "zbl": True}, {}),
    "surfaces": ("SO(2)", {"environment": NAMED}, {"surface": "b"}),
    "vacuum": ("SO(2)", {"environment": NAMED}, {"surface": "vacuum"}),
    "places": ("C4v", {"environment": {**PLANE, **SQUARE}}, {}),
    "electrons": (
        "O(3)",
        {"environment": {"charge": True, "spin": True}},
        {"charge": -1, "spin": 2},
    ),
    "end of data": (
        "C_inf_v",
        {"environment": {**PLANE, "height_min": {"H": 3.0, "C": 2.5}}, "distances_seen": SEEN},
        {},
    ),
}


class Package:
    """In place of a compiled file: calls the traced function, and holds the same metadata."""

    def __init__(self, model: ForceField) -> None:
        self.function = trace_derivatives(model)
        self.metadata = {"sikff": json.dumps(describe(model, "CC0", "cpu"))}

    def get_metadata(self) -> dict[str, str]:
        return self.metadata

    def __call__(self, *tensors: torch.Tensor) -> Any:
        assert all(tensor.is_contiguous() for tensor in tensors)
        return self.function(*tensors)


@cache
def exported_from(group: str, options: str, dtype: torch.dtype) -> tuple[ForceField, ExportedModel]:
    model = force_field(group, **TINY | json.loads(options)).to(dtype)
    package = Package(model)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch._inductor, "aoti_load_package", lambda path: package)
        return model, ExportedModel(__file__)


def exported(
    kind: str, dtype: torch.dtype = torch.float64
) -> tuple[ForceField, ExportedModel, dict[str, Any]]:
    """The model of a kind, this model exported, and the conditions of the kind."""
    group, options, conditions = KINDS[kind]
    return *exported_from(group, json.dumps(options), dtype), conditions


def square() -> ase.Atoms:
    """A slab that repeats as the surface of "places" does."""
    atoms = ase.Atoms("Al2OH", [[0, 0, 0], [2.1, 2, 0.1], [1, 0.3, 2], [1.2, 0.2, 3]])
    atoms.set_cell([4.0, 4.0, 12.0])
    atoms.pbc = (True, True, False)
    return atoms


def arguments(atoms: ase.Atoms, model: ForceField) -> list[np.ndarray]:
    """Positions, numbers, neighbours and cell."""
    edges = neighbor_list("ijS", atoms, model.cutoff)
    return [atoms.positions, atoms.numbers, *edges, atoms.cell.array]


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_predicts_what_the_model_predicts(kind: str) -> None:
    model, function, conditions = exported(kind)
    limits, structures = TOLERANCES[torch.float64], [ethanol(), square(), ase.Atoms("H")]
    if model.config.environment.plane_origin is None:
        structures.append(crystal())
    for atoms in structures:
        atoms.translate((0.1, 0.2, 0.3))
        found = function(*arguments(atoms, model), **conditions)
        graph = graph_of(model, atoms, **conditions)
        expected = model(graph, stress=True)
        assert len(atoms) == 1 or expected.forces.abs().max() > 1e-3
        assert largest(found["energies"], expected.energies) < limits.parity
        assert largest(found["energy"], expected.energy[0]) < limits.parity
        assert largest(found["forces"], expected.forces) < limits.gradient
        strain = differentiate(model.atomic_energies, graph, stress=True).strain
        assert largest(found["strain_gradient"], strain[0]) < limits.gradient
        defined = torch.tensor(model.defined_stress(Conditions(**conditions)))
        defined &= expected.stress[0].isfinite()
        assert defined.any() == bool(atoms.cell.volume and kind != "places")
        assert torch.equal(found["stress"].isfinite(), defined)
        difference = (found["stress"] - expected.stress[0])[defined]
        assert not difference.numel() or difference.abs().max() < limits.gradient


def test_weights_of_single_precision() -> None:
    model, function, _ = exported("bare", torch.float32)
    atoms, limits = crystal(), TOLERANCES[torch.float32]
    found, expected = function(*arguments(atoms, model)), model(graph_of(model, atoms))
    assert found["forces"].dtype == torch.float64
    assert largest(found["energies"], expected.energies) < limits.parity
    assert largest(found["forces"], expected.forces) < limits.gradient


def test_types_and_layouts_of_inputs_change_nothing() -> None:
    model, function, _ = exported("bare")
    atoms = crystal()
    atoms.positions = atoms.positions.astype(np.float32)
    atoms.cell = atoms.cell.array.astype(np.float32)
    x, z, i, j, shifts, cell = arguments(atoms, model)
    expected = function(x, z, i, j, shifts, cell)["forces"]
    assert expected.abs().max() > 1e-3
    shuffled = np.random.default_rng(0).permutation(len(i))
    for inputs in (
        (x.T.copy().T, z[::-1][::-1], i, j, shifts.T.copy().T, cell.T.copy().T),
        (x.astype(np.float32), z.astype(np.int32), i.astype(np.int16), j, 1.0 * shifts, cell),
        (x.tolist(), z.tolist(), i.tolist(), j.tolist(), shifts.tolist(), cell.tolist()),
        (torch.tensor(x, requires_grad=True), *map(torch.tensor, (z, i, j, shifts, cell))),
    ):
        assert torch.equal(function(*inputs)["forces"], expected)
    moved = function(x, z, i[shuffled], j[shuffled], shifts[shuffled], cell)["forces"]
    assert largest(moved, expected) < TOLERANCES[torch.float64].gradient
    with torch.inference_mode():
        assert torch.equal(function(x, z, i, j, shifts, cell)["forces"], expected)


WRONG: dict[str, tuple[int, Callable[[np.ndarray], Any], str]] = {
    "unknown element": (1, lambda z: z + 80, r"does not know the atomic numbers \[93\]"),
    "atoms without numbers": (1, lambda z: z[1:], "3 positions and 2 numbers"),
    "fractions of numbers": (1, lambda z: z + 0.5, "numbers holds 13.5; expected whole numbers"),
    "no positions": (0, lambda x: x[:, :2], r"positions has shape \[3, 2\]"),
    "positions that are not finite": (0, lambda x: x * np.nan, "expected finite numbers"),
    "words": (0, lambda x: x.astype(str), "expected finite numbers of shape"),
    "a negative atom": (3, lambda j: j - 1, "i and j hold -1 to 2; expected 0 to 2"),
    "an atom too many": (2, lambda i: i + 1, "i and j hold 0 to 3; expected 0 to 2"),
    "one index for each edge": (3, lambda j: j[:-1], "one of each for a pair"),
    "shifts of others": (4, lambda shifts: shifts[:-1], "shifts has shape"),
    "shifts in Å": (4, lambda shifts: 1.5 * shifts, "shifts holds .* expected whole numbers"),
    "lengths of a cell": (5, lambda cell: cell[0], r"cell has shape \[3\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_inputs_raise(case: str) -> None:
    model, function, _ = exported("bare")
    inputs: list[Any] = arguments(crystal(), model)
    position, change, message = WRONG[case]
    inputs[position] = change(inputs[position])
    with pytest.raises(ValueError, match=message):
        function(*inputs)


def test_a_half_neighbour_list_raises() -> None:
    model, function, _ = exported("bare")
    x, z, i, j, shifts, cell = arguments(ethanol(), model)
    half = i < j
    with pytest.raises(ValueError, match="expected a full neighbour list"):
        function(x, z, i[half], j[half], shifts[half], cell)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("bare", {"field": (0, 0, 1)}, "field is .* which the model does not read"),
        ("bare", {"origin": (0, 0, 1)}, "origin is .* which the model does not read"),
        ("bare", {"charge": 1}, "charge is .* which the model does not read"),
        ("bare", {"spin": 2}, "unpaired is .* which the model does not read"),
        ("bare", {"surface": "gold"}, "surface is 'gold'; the model expects no name"),
        ("surfaces", {"surface": None}, "surface is None; the model expects one of a, b, vacuum"),
        ("surfaces", {"surface": "gold"}, "the model expects one of a, b, vacuum"),
        ("plane and field", {"field": (1, 0, 0)}, "the model reads it along"),
        ("electrons", {"spin": -1}, "spin is -1; expected the multiplicity"),
        ("electrons", {"charge": 0.5}, "charge holds 0.5; expected whole numbers"),
    ],
)
def test_conditions_that_a_model_does_not_read_raise(
    kind: str, given: dict[str, Any], message: str
) -> None:
    model, function, _ = exported(kind)
    with pytest.raises(ValueError, match=message):
        function(*arguments(ethanol(), model), **given)


def test_neighbours_through_a_surface_and_off_its_lattice_raise() -> None:
    model, function, _ = exported("places")
    atoms = square()
    atoms.pbc = True
    atoms.cell[2, 2] = 4.5
    with pytest.raises(ValueError, match="leads through the surface"):
        function(*arguments(atoms, model))
    function(*arguments(atoms, model), surface="vacuum")
    atoms = square()
    atoms.cell[0, 0] = 4.1
    with pytest.raises(ValueError, match=r"0.1 Å off whole multiples of the lattice"):
        function(*arguments(atoms, model))


def test_the_function_itself_returns_nan_for_unknown_elements_and_atoms() -> None:
    """A program in C++ calls it without the loader."""
    model, function, _ = exported("bare")
    given = {each.name: each.example() for each in inputs_of(model)}
    energy, *others = function.function(*(given | {"numbers": given["numbers"] + 1}).values())
    assert energy.isfinite()
    for name, wrong in (("numbers", 7), ("numbers", -1), ("numbers", 300)):
        energy, *others = function.function(*(given | {name: given[name] + wrong}).values())
        assert energy.isnan() and all(each.isnan().all() for each in others)
    for sender in (97, -2):
        senders = torch.full_like(given["senders"], sender)
        wrong = given | {"numbers": given["numbers"] + 1, "senders": senders}
        energy, *others = function.function(*wrong.values())
        assert energy.isnan()


def test_the_exported_program_takes_any_numbers_of_atoms_and_neighbours() -> None:
    model, function, _ = exported("electrons")
    program = export_program(model)
    dynamic = [
        [d for d in node.meta["val"].shape if isinstance(d, torch.SymInt)]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    ]
    assert [len(sizes) for sizes in dynamic] == [1, 1, 0, 2, 2, 0, 0]
    atoms, called = ethanol(), program.module()
    function.function, traced = called, function.function
    try:
        found = function(*arguments(atoms, model), charge=1)
    finally:
        function.function = traced
    assert torch.equal(found["forces"], function(*arguments(atoms, model), charge=1)["forces"])


def test_the_description_says_what_the_model_is() -> None:
    model, function, _ = exported("electrons")
    described = function.metadata
    assert described["elements"] == ["H", "C", "O", "Al"]
    assert described["atomic_numbers"] == [1, 6, 8, 13]
    assert described["cutoff"] == function.cutoff == model.cutoff
    assert described["licence"] == "CC0" and described["units"]["energy"] == "eV"
    names = [each["name"] for each in described["inputs"]]
    assert names == ["positions", "numbers", "cell", "senders", "shifts", "charge", "unpaired"]


def test_missing_and_other_files_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package.__new__(Package)
    package.metadata = {}
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path: package)
    with pytest.raises(ValueError, match="was not written by sikff export"):
        ExportedModel(__file__)
    with pytest.raises(FileNotFoundError, match=r"no exported model 'missing.pt2'"):
        ExportedModel("missing.pt2")


@pytest.mark.parametrize("kind", ["slit", "electrons"])
def test_energies_in_torchscript_equal_those_of_the_model_and_have_gradients(kind: str) -> None:
    model, function, conditions = exported(kind)
    script = script_energies(model)
    given = function.tensors(*arguments(ethanol(), model), **conditions)
    given["positions"].requires_grad_()
    energies = script(*(given[name] for name in SIGNATURE))
    expected = model(graph_of(model, ethanol(), **conditions))
    assert largest(energies.detach(), expected.energies) < TOLERANCES[torch.float64].parity
    (slope,) = torch.autograd.grad(energies.sum(), given["positions"])
    assert largest(-slope, expected.forces) < TOLERANCES[torch.float64].gradient
