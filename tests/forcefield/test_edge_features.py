"""Frozen models whose kernels depend on lengths and species alone use spline tables."""

import copy
import dataclasses
from typing import Any

import pytest
import torch

from force_fields import crystal, ethanol, force_field, graph_of
from sikff.forcefield import ForceField, edge_features
from sikff.graph import AtomicGraph
from sikff.nn import ImplicitKernel, SplineTable
from symmetry_cases import relative_error
from tolerances import TOLERANCES

SINGLE = torch.float32
RADIAL = ("O(3)", "SO(3)", "Oh", "Ih")  # of their invariants the constant alone is of degree <= 2
OTHERS = ("C_inf_v", "SO(2)", "D_inf_h", "C6v", "D2d", "C1")


def table(model: ForceField) -> SplineTable | None:
    kernels = [layer.conv.kernel for layer in model.network.interactions]
    assert len({kernel.table is None for kernel in kernels}) == 1
    return kernels[-1].table


def single(group: str, **options: Any) -> ForceField:
    return force_field(group, **options).to(SINGLE)


def results(model: ForceField, graph: AtomicGraph) -> tuple[torch.Tensor, torch.Tensor]:
    found = model(graph)
    assert found.forces is not None
    assert found.forces.abs().max() > 0.01
    return found.energies - model.free_atoms.energies[graph.species], found.forces


@pytest.mark.parametrize("structure", [ethanol, crystal])
@pytest.mark.parametrize("group", RADIAL)
def test_spline_tables_equal_the_kernels(
    group: str, structure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = single(group)
    exact = copy.deepcopy(model).double()
    frozen = copy.deepcopy(model).freeze()
    assert table(frozen) is not None
    graph = graph_of(model, structure())
    expected = results(exact, graph)
    monkeypatch.setattr(ImplicitKernel, "basis", None)  # which is not needed any more
    energies, forces = results(frozen, graph)
    assert relative_error(energies, expected[0]) < TOLERANCES[SINGLE].parity
    assert relative_error(forces, expected[1]) < TOLERANCES[SINGLE].gradient


def test_error_of_spline_tables_without_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field("O(3)")
    graph = graph_of(model, ethanol())
    expected = results(model, graph)
    errors = []
    for intervals in (edge_features.INTERVALS // 4, edge_features.INTERVALS):
        monkeypatch.setattr(edge_features, "INTERVALS", intervals)
        frozen = copy.deepcopy(model).to(SINGLE).freeze()
        found = table(frozen)
        assert found is not None
        errors.append(
            [relative_error(a, b) for a, b in zip(results(frozen, graph), expected, strict=True)]
        )
    assert max(errors[0]) > 10 * TOLERANCES[SINGLE].rounding, "a coarse table is noticed"
    assert max(errors[1]) < 2 * TOLERANCES[SINGLE].rounding


@pytest.mark.parametrize("group", OTHERS)
def test_kernels_that_depend_on_directions_have_no_table(group: str) -> None:
    model = single(group).freeze()
    assert table(model) is None
    assert not model.network.interactions[0].conv.kernel.is_radial


def test_float64_many_species_and_environments_have_no_table(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert table(force_field("O(3)").freeze()) is None
    assert table(single("O(3)").freeze()) is not None
    in_field = single("C_inf_v", environment={"field": True}, vacuum_group="O(3)").freeze()
    assert table(in_field) is None
    assert in_field.vacuum is not None
    assert in_field.vacuum.interactions[0].conv.kernel.table is not None
    monkeypatch.setattr(edge_features, "MOST_SPECIES", 3)
    assert table(single("O(3)").freeze()) is None


@pytest.mark.parametrize("how", ["load", "requires_grad", "dtype"])
def test_new_weights_drop_the_table(how: str) -> None:
    model = single("O(3)").freeze()
    graph = graph_of(model, ethanol())
    before = results(model, graph)[1]
    weights = {name: 1.1 * weight for name, weight in model.state_dict().items()}
    if how == "load":
        model.load_state_dict(weights)
    elif how == "dtype":
        model.double()
    else:
        model.requires_grad_(True)
    assert table(model) is None
    model.load_state_dict(weights)
    model.to(SINGLE).freeze()
    assert relative_error(results(model, graph)[1], before) > 1e-3, "a new table, of new weights"


def test_second_derivatives() -> None:
    """Of the energy in the positions, as for vibrations."""
    model = single("O(3)")
    graph = graph_of(model, ethanol())

    def curvature(model: ForceField) -> torch.Tensor:
        positions = graph.positions.detach().clone().requires_grad_()
        energy = model.atomic_energies(dataclasses.replace(graph, positions=positions)).sum()
        gradient = torch.autograd.grad(energy, positions, create_graph=True)[0]
        return torch.autograd.grad(gradient[0].sum(), positions)[0]

    exact = curvature(copy.deepcopy(model).double())
    assert relative_error(curvature(model.freeze()), exact) < TOLERANCES[SINGLE].gradient


def test_positions_that_are_nan_give_nan() -> None:
    """It is for the calculator to say so."""
    model = single("O(3)").freeze()
    graph = graph_of(model, ethanol())
    positions = graph.positions.clone()
    positions[0, 0] = torch.nan
    assert model(dataclasses.replace(graph, positions=positions)).energy.isnan()
