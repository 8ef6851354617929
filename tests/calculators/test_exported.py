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

from force_fields import crystal, ethanol, force_field, graph_of, slab
from sikff import ForceField
from sikff.calculators import SIKFFCalculator
from sikff.calculators.export import describe, export_program
from sikff.calculators.exported import ExportedModel
from sikff.calculators.table_form import inputs_of, trace_derivatives
from sikff.calculators.torchscript import SIGNATURE, script_energies
from sikff.engines import differentiate
from tolerances import TOLERANCES, Tolerance

TINY = {"layers": 1, "channels": 2, "max_frequency": 1, "correlation": 1}
PLANE = {"plane_origin": (0.0, 0.0, -2.0)}
SQUARE = {"lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm"}
SEEN = {"C-H": ((1.0, 1.05),), "H-H": ((1.5, 3.0),), "Al-Al": ((2.9, 3.0),)}
# Models of every kind, by name, and conditions under which they are called.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "bare": ("O(3)", {"layers": 2, "max_frequency": 2, "correlation": 2}, {}),
    "zbl": ("C6v", {"zbl": True}, {}),
    "field along the axis": ("C_inf_v", {"environment": {"field": True}}, {"field": (0, 0, 0.3)}),
    "field": ("O(3)", {"environment": {"field": True}}, {"field": (0.1, 0.2, 0.3)}),
    "plane": (
        "C_inf_v",
        {"environment": {**PLANE, "field": True}, "vacuum_group": "O(3)"},
        {"origin": (0.0, 0.0, -2.5), "field": (0, 0, 0.2)},
    ),
    "slit": ("D_inf_h", {"environment": {**PLANE, "slit_width": 12.0}}, {}),
    "surfaces": ("SO(2)", {"environment": {**PLANE, "surfaces": ("a", "b")}}, {"surface": "b"}),
    "vacuum": (
        "SO(2)",
        {"environment": {**PLANE, "surfaces": ("a", "b")}},
        {"surface": "vacuum"},
    ),
    "places": ("C4v", {"environment": {**PLANE, **SQUARE}, "vacuum_group": "O(3)"}, {}),
    "electrons": ("O(3)", {"environment": {"charge": True, "spin": True}}, {"charge": -1, "spin": 2}),
    "wall": ("C_inf_v", {"environment": {**PLANE, "height_min": {"H": 3.0, "C": 2.5}}}, {}),
    "end of data": ("O(3)", {"distances_seen": SEEN}, {}),
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
def model_of(kind: str, dtype: torch.dtype = torch.float64) -> ForceField:
    group, options, _ = KINDS[kind]
    return force_field(group, **TINY | options).to(dtype)


@cache
def exported(kind: str, dtype: torch.dtype = torch.float64) -> ExportedModel:
    package = Package(model_of(kind, dtype))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(torch._inductor, "aoti_load_package", lambda path: package)
        return ExportedModel("model.pt2")


def square() -> ase.Atoms:
    """A slab that repeats as the surface of "places" does."""
    atoms = ase.Atoms("Al2OH", [[0, 0, 0], [2.1, 2, 0.1], [1, 0.3, 2], [1.2, 0.2, 3]])
    atoms.set_cell([4.0, 4.0, 12.0])
    atoms.pbc = (True, True, False)
    return atoms


def pairs(atoms: ase.Atoms, model: ForceField) -> tuple[np.ndarray, ...]:
    return neighbor_list("ijS", atoms, model.cutoff)


def predict(kind: str, atoms: ase.Atoms, **options: Any) -> dict[str, torch.Tensor]:
    """What the exported model predicts under the conditions of its kind, or others."""
    edges = pairs(atoms, model_of(kind))
    given = (atoms.positions, atoms.numbers, *edges, atoms.cell.array)
    return exported(kind)(*given, **KINDS[kind][2] | options)


def largest(a: Any, b: Any) -> float:
    a, b = torch.as_tensor(a), torch.as_tensor(b)
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("kind", KINDS)
def test_an_exported_model_predicts_what_the_model_predicts(kind: str) -> None:
    model, limits = model_of(kind), TOLERANCES[torch.float64]
    places = kind == "places"
    atoms_of = (ethanol(), square() if places else slab(), ase.Atoms("H", [[0.1, 0.2, 0.3]]))
    if not places and model.config.environment.plane_origin is None:
        atoms_of = (*atoms_of, crystal())
    for atoms in atoms_of:
        found, graph = predict(kind, atoms), graph_of(model, atoms, **KINDS[kind][2])
        expected = model(graph)
        strain = differentiate(model.atomic_energies, graph, stress=True).strain
        assert len(atoms) == 1 or expected.forces.abs().max() > 1e-3
        assert largest(found["energies"], expected.energies) < limits.parity
        assert largest(found["energy"], expected.energy[0]) < limits.parity
        assert largest(found["forces"], expected.forces) < limits.gradient
        assert largest(found["strain_gradient"], strain[0]) < limits.gradient
        if atoms.cell.volume:
            atoms.calc = SIKFFCalculator(model, **KINDS[kind][2])
            stress = atoms.get_stress(voigt=False)
            defined = np.isfinite(stress)
            assert (np.isfinite(found["stress"].numpy()) == defined).all()
            assert largest(found["stress"][defined], stress[defined]) < limits.gradient
        else:
            assert found["stress"].isnan().all()


def test_weights_of_single_precision(dtype: torch.dtype, tolerance: Tolerance) -> None:
    model, atoms = model_of("bare", dtype), crystal()
    edges = pairs(atoms, model)
    found = exported("bare", dtype)(atoms.positions, atoms.numbers, *edges, atoms.cell.array)
    expected = model(graph_of(model, atoms))
    assert found["forces"].dtype == torch.float64
    assert largest(found["forces"], expected.forces) < tolerance.gradient
