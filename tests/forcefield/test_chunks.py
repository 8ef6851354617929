"""Large systems are evaluated in chunks: results are those of all at once."""

import dataclasses
from collections.abc import Callable

import ase
import pytest
import torch
from ase.build import molecule

from force_fields import crystal, force_field, graph_of
from sikff.forcefield import force_field as force_field_module
from sikff.forcefield.chunks import CHUNK_BYTES, SAVED_BYTES, Chunks, SingleChunk, chunked
from sikff.forcefield.interaction import Interaction
from sikff.nn import NeighbourLayout, neighbour_layout
from symmetry_cases import relative_error
from tolerances import TOLERANCES, Tolerance


def crowded() -> ase.Atoms:
    """Atoms with very different numbers of neighbours, many of them none."""
    atoms = crystal().repeat((1, 3, 3))
    atoms.set_cell(0.55 * atoms.cell, scale_atoms=True)
    atoms.pbc = False
    for k in range(200):
        atoms += ase.Atoms("H", [(25.0 + 4 * k, 0, 0)])
    return atoms


def cut(monkeypatch: pytest.MonkeyPatch, slots: int, saved: float) -> None:
    """Evaluates systems in chunks of so many slots, a share of which saves its activations."""

    def in_chunks(layout: NeighbourLayout, *_: object) -> Chunks:
        return Chunks(layout, slots, saved=int(saved * layout.n_slots))

    monkeypatch.setattr(force_field_module, "chunked", in_chunks)


def interactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of receivers of every interaction that is evaluated from now on."""
    calls, forward = [], Interaction.forward

    def counted(self: Interaction, *inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs[1]))
        return forward(self, *inputs)

    monkeypatch.setattr(Interaction, "forward", counted)
    return calls


@pytest.mark.parametrize("saved", [1, 0.5, 0])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize(
    ("group", "settings", "conditions", "structure"),
    [
        ("O(3)", {}, {}, crystal),
        ("C_inf_v", {"environment": {"field": True}}, {"field": (0, 0, 0.3)}, crystal),
        (
            "SO(2)",
            {"environment": {"plane_origin": (0, 0, -2.0)}, "vacuum_group": "O(3)"},
            {},
            crowded,
        ),
        (
            "O(3)",
            {"environment": {"charge": True, "spin": True}},
            {"charge": 2, "spin": 3},
            crowded,
        ),
    ],
)
def test_results_in_chunks_equal_those_of_all_at_once(
    group: str,
    settings: dict,
    conditions: dict,
    structure: Callable[[], ase.Atoms],
    frozen: bool,
    saved: float,
    dtype: torch.dtype,
    tolerance: Tolerance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = force_field(group, atomic_energies={}, **settings).to(dtype)
    model.requires_grad_(not frozen)
    graph = graph_of(model, structure(), **conditions)
    stress = structure is crystal
    whole = model(graph, stress=stress)
    cut(monkeypatch, 20, saved)
    calls = interactions(monkeypatch)
    chunks = model(graph, stress=stress)
    assert max(calls) < graph.n_atoms, "it was not done in chunks"
    assert (neighbour_layout(graph.edge_index, graph.n_atoms).order is None) == stress
    assert whole.forces.abs().max() > 1e-2
    assert relative_error(chunks.energies, whole.energies) < tolerance.parity
    assert relative_error(chunks.energy, whole.energy) < tolerance.parity
    assert relative_error(chunks.forces, whole.forces) < tolerance.gradient
    if stress:
        assert relative_error(chunks.stress, whole.stress) < tolerance.gradient


@pytest.mark.parametrize("saved", [1, 0.5, 0])
@pytest.mark.parametrize("frozen", [True, False])
def test_second_derivatives_too(
    frozen: bool, saved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = force_field("C_inf_v", environment={"field": True}).requires_grad_(not frozen)
    graph = graph_of(model, molecule("CH3CH2OH"), field=(0, 0, 0.3))
    whole = model.polarizability(graph)
    cut(monkeypatch, 10, saved)
    calls = interactions(monkeypatch)
    chunks = model.polarizability(graph)
    assert relative_error(chunks, whole) < TOLERANCES[torch.float64].gradient
    assert max(calls) < graph.n_atoms
    assert whole.abs().max() > 1e-4


@pytest.mark.parametrize("saved", [1, 0.5, 0])
def test_the_last_layer_of_a_frozen_model_is_not_evaluated_again(
    saved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = force_field().requires_grad_(False)
    graph = graph_of(model, crystal())
    whole = model.eval()(graph)
    cut(monkeypatch, 20, saved)
    calls = interactions(monkeypatch)
    model(graph, forces=False)
    once = len(calls)  # a call for each part and layer
    calls.clear()
    model(graph)
    assert once == 2 * graph.n_atoms > 2
    recomputed = graph.n_atoms - int(saved * graph.n_atoms)  # only chunks of the first layer
    assert len(calls) == once + recomputed
    # weighted energies have another gradient than their sum
    calls.clear()
    positions = graph.positions.detach().requires_grad_()
    energies = model.atomic_energies(dataclasses.replace(graph, positions=positions))
    weights = torch.arange(1.0, graph.n_atoms + 1, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(energies @ weights, positions, retain_graph=True)
    monkeypatch.undo()
    energies = model.atomic_energies(dataclasses.replace(graph, positions=positions))
    (expected,) = torch.autograd.grad(energies @ weights, positions)
    assert relative_error(gradient, expected) < TOLERANCES[torch.float64].gradient
    assert relative_error(-gradient, whole.forces) > 0.1


@pytest.mark.parametrize("saved", [1, 0.5, 0])
def test_gradients_in_weights_in_chunks(saved: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field()
    graph = graph_of(model, crystal())
    weights = list(model.parameters())
    expected = torch.autograd.grad(model.atomic_energies(graph).sum(), weights)
    cut(monkeypatch, 20, saved)
    found = torch.autograd.grad(model.atomic_energies(graph).sum(), weights)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < TOLERANCES[torch.float64].gradient
    assert all(each.any() for each in expected)


def test_sizes_decide_what_is_chunked_and_saved() -> None:
    graph = graph_of(force_field(), crystal())
    layout, cpu = neighbour_layout(graph.edge_index, graph.n_atoms), torch.device("cpu")
    row = CHUNK_BYTES["cpu"] // layout.n_slots
    assert isinstance(chunked(layout, row, cpu), SingleChunk)
    small = chunked(layout, row + 1, cpu)
    large = chunked(layout, 2 * SAVED_BYTES["cpu"] // layout.n_slots, cpu)
    assert len(large.layouts) > len(small.layouts) > 1
    assert all(small.is_saved)
    assert 0.3 < sum(large.is_saved) / len(large.layouts) <= 0.5


def test_small_systems_and_training_are_not_chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = force_field(), interactions(monkeypatch)
    graph = graph_of(model, crystal())
    model(graph)
    assert calls == [graph.n_atoms] * model.config.layers
    cut(monkeypatch, 10, saved=0)
    calls.clear()
    model.train()(graph)
    assert calls == [graph.n_atoms] * model.config.layers


def test_memory_of_activations_is_that_of_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes saved for the backward pass, with and without chunks."""
    model = force_field()
    graph = graph_of(model, crystal().repeat((3, 3, 3)))

    def saved_bytes() -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            positions = graph.positions.detach().requires_grad_()
            model.atomic_energies(dataclasses.replace(graph, positions=positions))
        return sum(sizes.values())

    at_once = saved_bytes()
    cut(monkeypatch, graph.n_edges // 20, saved=0)
    assert saved_bytes() < 0.3 * at_once
