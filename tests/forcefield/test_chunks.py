"""Large systems are evaluated part by part: the numbers are those of all at once."""

import dataclasses
from collections.abc import Callable

import ase
import pytest
import torch
from ase.build import molecule

from force_fields import crystal, force_field, graph_of
from sikff.forcefield import force_field as force_field_module
from sikff.forcefield.chunks import BYTES_AT_ONCE, BYTES_KEPT, Parts, in_parts
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


def cut(monkeypatch: pytest.MonkeyPatch, places: int, keep: float) -> None:
    """From now on systems are evaluated in parts of so many neighbours, a share of them kept."""

    def in_so_many(layout: NeighbourLayout, *_: object) -> Parts:
        return Parts(layout, places, kept=int(keep * layout.n_places))

    monkeypatch.setattr(force_field_module, "in_parts", in_so_many)


def interactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of receivers of every interaction that is evaluated from now on."""
    calls, forward = [], Interaction.forward

    def counted(self: Interaction, *inputs: torch.Tensor) -> torch.Tensor:
        calls.append(len(inputs[1]))
        return forward(self, *inputs)

    monkeypatch.setattr(Interaction, "forward", counted)
    return calls


@pytest.mark.parametrize("keep", [1, 0.5, 0])
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
    ],
)
def test_parts_say_what_the_whole_says(
    group: str,
    settings: dict,
    conditions: dict,
    structure: Callable[[], ase.Atoms],
    frozen: bool,
    keep: float,
    dtype: torch.dtype,
    tolerance: Tolerance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = force_field(group, atomic_energies={}, **settings).to(dtype)
    model.requires_grad_(not frozen)
    graph = graph_of(model, structure(), **conditions)
    stress = structure is crystal
    whole = model(graph, stress=stress)
    cut(monkeypatch, 20, keep)
    calls = interactions(monkeypatch)
    parts = model(graph, stress=stress)
    assert max(calls) < graph.n_atoms, "it was not done in parts"
    assert (neighbour_layout(graph.edge_index, graph.n_atoms).order is None) == stress
    assert whole.forces.abs().max() > 1e-2
    assert relative_error(parts.energies, whole.energies) < tolerance.parity
    assert relative_error(parts.energy, whole.energy) < tolerance.parity
    assert relative_error(parts.forces, whole.forces) < tolerance.gradient
    if stress:
        assert relative_error(parts.stress, whole.stress) < tolerance.gradient


@pytest.mark.parametrize("keep", [1, 0.5, 0])
@pytest.mark.parametrize("frozen", [True, False])
def test_second_derivatives_too(frozen: bool, keep: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field("C_inf_v", environment={"field": True}).requires_grad_(not frozen)
    graph = graph_of(model, molecule("CH3CH2OH"), field=(0, 0, 0.3))
    whole = model.polarizability(graph)
    cut(monkeypatch, 10, keep)
    calls = interactions(monkeypatch)
    parts = model.polarizability(graph)
    assert relative_error(parts, whole) < TOLERANCES[torch.float64].gradient
    assert max(calls) < graph.n_atoms
    assert whole.abs().max() > 1e-4


@pytest.mark.parametrize("keep", [1, 0.5, 0])
def test_the_last_layer_of_a_frozen_model_is_not_evaluated_again(
    keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = force_field().requires_grad_(False)
    graph = graph_of(model, crystal())
    whole = model.eval()(graph)
    cut(monkeypatch, 20, keep)
    calls = interactions(monkeypatch)
    model(graph, forces=False)
    once = len(calls)  # a call for each part and layer
    calls.clear()
    model(graph)
    assert once == 2 * graph.n_atoms > 2
    again = graph.n_atoms - int(keep * graph.n_atoms)  # only parts of the first layer
    assert len(calls) == once + again
    # energies of single atoms have other slopes than their sum
    calls.clear()
    positions = graph.positions.detach().requires_grad_()
    energies = model.atomic_energies(dataclasses.replace(graph, positions=positions))
    weights = torch.arange(1.0, graph.n_atoms + 1, dtype=torch.float64)
    (slope,) = torch.autograd.grad(energies @ weights, positions, retain_graph=True)
    monkeypatch.undo()
    energies = model.atomic_energies(dataclasses.replace(graph, positions=positions))
    (expected,) = torch.autograd.grad(energies @ weights, positions)
    assert relative_error(slope, expected) < TOLERANCES[torch.float64].gradient
    assert relative_error(-slope, whole.forces) > 0.1


@pytest.mark.parametrize("keep", [1, 0.5, 0])
def test_weights_have_their_gradient_in_parts_too(
    keep: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = force_field()
    graph = graph_of(model, crystal())
    weights = list(model.parameters())
    expected = torch.autograd.grad(model.atomic_energies(graph).sum(), weights)
    cut(monkeypatch, 20, keep)
    found = torch.autograd.grad(model.atomic_energies(graph).sum(), weights)
    for one, other in zip(found, expected, strict=True):
        assert relative_error(one, other) < TOLERANCES[torch.float64].gradient
    assert all(each.any() for each in expected)


def test_sizes_decide_what_is_cut_and_kept() -> None:
    graph = graph_of(force_field(), crystal())
    layout, cpu = neighbour_layout(graph.edge_index, graph.n_atoms), torch.device("cpu")
    of_place = BYTES_AT_ONCE["cpu"] // layout.n_places
    assert in_parts(layout, of_place, cpu) is None
    kept = in_parts(layout, of_place + 1, cpu)
    again = in_parts(layout, 2 * BYTES_KEPT["cpu"] // layout.n_places, cpu)
    assert kept is not None and again is not None
    assert len(again.layouts) > len(kept.layouts) > 1
    assert all(kept.is_kept)
    assert 0.3 < sum(again.is_kept) / len(again.layouts) <= 0.5


def test_what_is_small_or_trained_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = force_field(), interactions(monkeypatch)
    graph = graph_of(model, crystal())
    model(graph)
    assert calls == [graph.n_atoms] * model.config.layers
    cut(monkeypatch, 10, keep=0)
    calls.clear()
    model.train()(graph)
    assert calls == [graph.n_atoms] * model.config.layers


def test_memory_of_activations_is_that_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the backward pass keeps, in bytes, with and without parts."""
    model = force_field()
    graph = graph_of(model, crystal().repeat((3, 3, 3)))

    def kept() -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            positions = graph.positions.detach().requires_grad_()
            model.atomic_energies(dataclasses.replace(graph, positions=positions))
        return sum(sizes.values())

    whole = kept()
    cut(monkeypatch, graph.n_edges // 20, keep=0)
    assert kept() < 0.3 * whole
