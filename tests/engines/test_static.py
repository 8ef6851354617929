"""Compiled models against the models they are made of, and what makes them compile anew."""

from collections.abc import Callable
from typing import Any

import ase
import pytest
import torch

from force_fields import crystal, ethanol, force_field, graph_of, slab
from sikff.engines.padding import Room, Rows, joined, padded
from sikff.engines.static import Compiled
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES, Tolerance

LIMITS = TOLERANCES[torch.float64]
FRAMES: dict[str, dict[str, Any]] = {
    "O(3)": {},
    "C_inf_v": {"environment": {"field": True}},
    "SO(2)": {"environment": {"plane_origin": (0, 0, -2.0)}, "vacuum_group": "O(3)"},
    "C6v": {"zbl": True},
}
CONDITIONS = {"C_inf_v": {"field": (0, 0, 0.3)}}


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize(
    ("group", "structure"),
    [("O(3)", crystal), ("C_inf_v", ethanol), ("SO(2)", slab), ("C6v", ethanol)],
)
def test_a_compiled_model_says_what_the_model_says(
    group: str, structure: Callable[[], ase.Atoms], dtype: torch.dtype, tolerance: Tolerance
) -> None:
    model = force_field(group, **FRAMES[group]).to(dtype)
    compiled, atoms = Compiled(model, backend=None), structure()
    stress = bool(atoms.cell.volume)
    for step in range(3):
        atoms.rattle(0.02, seed=step)
        graph = graph_of(model, atoms, **CONDITIONS.get(group, {}))
        found, expected = compiled(graph, stress=stress), model(graph, stress=stress)
        assert expected.forces.abs().max() > 1e-2
        assert largest(found.energies, expected.energies) < tolerance.parity
        assert largest(found.energy, expected.energy) < tolerance.parity
        assert largest(found.forces, expected.forces) < tolerance.gradient
        if stress:
            assert expected.stress.abs().max() > 1e-5
            assert largest(found.stress, expected.stress) < tolerance.gradient
    assert compiled.compilations == 1


def test_it_follows_the_field_and_the_origin_of_the_surface() -> None:
    model = force_field("C_inf_v", environment={"field": True, "plane_origin": (0, 0, -2.0)})
    compiled, forces = Compiled(model, backend=None), []
    for conditions in ({}, {"field": (0, 0, 0.5)}, {"origin": (0.0, 0.0, -2.5)}):
        graph = graph_of(model, ethanol(), **conditions)
        forces.append(compiled(graph).forces)
        assert largest(forces[-1], model(graph).forces) < LIMITS.gradient
    assert largest(forces[1], forces[0]) > 1e-3 and largest(forces[2], forces[0]) > 1e-3
    assert compiled.compilations == 1


def test_another_surface_is_another_list() -> None:
    environment = {"plane_origin": (0, 0, -2.0), "surfaces": ("gold", "silver")}
    model = force_field("C_inf_v", environment=environment)
    compiled, forces = Compiled(model, backend=None), []
    for number, surface in enumerate(("gold", "silver", "vacuum"), start=1):
        graph = graph_of(model, ethanol(), surface=surface)
        forces.append(compiled(graph).forces)
        assert largest(forces[-1], model(graph).forces) < LIMITS.gradient
        assert compiled.compilations == number
    assert largest(forces[1], forces[0]) > 1e-3 and largest(forces[2], forces[0]) > 1e-3


def test_it_compiles_anew_for_other_atoms_and_when_neighbours_do_not_fit() -> None:
    model = force_field()
    compiled, atoms = Compiled(model, backend=None), ethanol()
    compiled(graph_of(model, atoms))
    other = atoms.copy()
    other.numbers = other.numbers[::-1]
    compiled(graph_of(model, other))
    assert compiled.compilations == 2
    dense = crystal()
    compiled(graph_of(model, dense))
    dense.set_cell(dense.cell * 0.8, scale_atoms=True)
    graph = graph_of(model, dense)
    assert largest(compiled(graph).forces, model(graph).forces) < LIMITS.gradient
    assert compiled.compilations == 4


def test_ghosts_have_the_neighbours_that_are_missing() -> None:
    model, atoms = force_field(), ethanol()
    one = graph_of(model, atoms)
    for graph, room in (
        (one, Room(1, len(atoms) + 1, 12)),
        (AtomicGraph.batch_of([one, one]), Room(4, 2 * len(atoms) + 5, 8)),
    ):
        parts = padded(graph, Rows.of(graph), room, model.cutoff)
        full = joined(parts, room)
        assert parts["real"].tolist() == [k < graph.n_atoms for k in range(room.atoms)]
        assert torch.bincount(full.edge_index[0]).tolist() == [room.neighbours] * room.atoms
        assert (full.n_graphs, full.n_atoms) == (room.structures, room.atoms)
        lengths = full.vectors().norm(dim=1)
        near = lengths < model.cutoff
        assert torch.equal(full.edge_index[:, near], graph.edge_index)
        assert lengths[~near].min() >= 3 * model.cutoff
        energies = model.atomic_energies(full)[: graph.n_atoms]
        assert torch.equal(energies, model.atomic_energies(graph))


def test_a_dipole_comes_from_the_model() -> None:
    model = force_field("O(3)", environment={"field": True})
    graph = graph_of(model, ethanol(), field=(0.1, 0.0, 0.2))
    found = Compiled(model, backend=None)(graph, dipole=True).dipole
    assert found.abs().max() > 1e-3
    assert torch.equal(found, model(graph, dipole=True).dipole)


def test_one_structure_at_a_time() -> None:
    model = force_field()
    graph = graph_of(model, ethanol())
    with pytest.raises(ValueError, match="one structure at a time; got 2"):
        Compiled(model)(AtomicGraph.batch_of([graph, graph]))


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_a_failure_to_compile_is_told() -> None:
    def broken(*_: object) -> None:
        raise OSError("no compiler found")

    model = force_field()
    graph = graph_of(model, ethanol())
    with pytest.raises(RuntimeError, match=r"torch.compile failed .*C\+\+ compiler"):
        Compiled(model, backend=broken)(graph)


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_through_torch_compile() -> None:
    model = force_field("C_inf_v", layers=1, correlation=1, max_frequency=1)
    graph = graph_of(model, ethanol())
    compiled = Compiled(model, backend="aot_eager")
    assert largest(compiled(graph).forces, model(graph).forces) < LIMITS.gradient
    assert compiled.seconds > 0
