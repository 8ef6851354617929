"""When a force field is evaluated statically, and when by itself."""

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import ase
import numpy as np
import pytest
import torch

from force_fields import crystal, ethanol, force_field, graph_of
from sikff.calculators import SIKFFCalculator
from sikff.engines import Auto, Capacity, Static, static
from sikff.forcefield.force_field import ForceField
from sikff.graph import AtomicGraph
from symmetry_cases import relative_error
from tolerances import TOLERANCES

FORWARD = ForceField.forward
LIMITS = TOLERANCES[torch.float64]


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every call that the model itself answers."""
    calls: list[int] = []

    def counting(self: ForceField, graph: AtomicGraph, *options: bool, **named: bool) -> object:
        calls.append(graph.n_atoms)
        return FORWARD(self, graph, *options, **named)

    monkeypatch.setattr(ForceField, "forward", counting)
    return calls


def test_the_same_atoms_are_replayed_after_some_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field()
    auto, atoms = Auto(model, Static(model), patience=2), crystal()
    calls = counted(monkeypatch)
    for step in range(5):
        atoms.rattle(0.02, seed=step)
        graph = graph_of(model, atoms)
        found = auto(graph, stress=True)
        assert len(calls) == min(step + 1, 2)
        expected = FORWARD(model, graph, stress=True)
        assert relative_error(found.forces, expected.forces) < LIMITS.gradient
        assert relative_error(found.stress, expected.stress) < LIMITS.gradient
        assert expected.forces.abs().max() > 1e-2
    assert auto.static.compilations == 1
    auto(graph_of(model, ethanol()))  # other atoms: from the beginning
    assert len(calls) == 3 and auto.static.compilations == 1


def unknown_operation(*_: object) -> None:
    raise TypeError("unexpected keyword argument 'out'")


@pytest.mark.parametrize(
    ("name", "value"),
    [("recorder.FIRST_RESULT_ONLY", ()), ("plan.Plan._call", unknown_operation)],
)
def test_the_model_itself_predicts_where_operations_cannot_be_replayed(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"sikff.engines.{name}", value)
    model = force_field().float().freeze()
    auto, graph = Auto(model, Static(model), patience=1), graph_of(model, ethanol())
    expected = model(graph).forces
    auto(graph)
    with pytest.warns(UserWarning, match=r"operations of torch .* are not replayed, which is slow"):
        first = auto(graph)
    for found in (first, auto(graph)):  # it warns once
        assert torch.equal(found.forces, expected)
    assert auto.static.compilations == 0


def test_weights_may_be_cast_and_loaded() -> None:
    model, other = force_field().float(), force_field().float()
    for weight in other.parameters():
        weight.data.mul_(1.1)
    auto, graph = Auto(model, Static(model), patience=1), graph_of(model, ethanol())
    before = [auto(graph).forces for _ in range(2)][-1]
    model.double()
    for _ in range(3):
        cast = auto(graph).forces
        assert relative_error(cast, FORWARD(model, graph).forces) < LIMITS.gradient
        assert 0 < (cast - before).abs().max() < 1e-4
    model.load_state_dict(other.double().state_dict())
    for _ in range(3):
        assert relative_error(auto(graph).forces, other(graph).forces) < LIMITS.gradient
    assert (other(graph).forces - before).abs().max() > 1e-2
    assert auto.static.compilations == 3


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_it_can_be_copied_and_sent_to_another_process(copied: Callable) -> None:
    model = force_field()
    auto, graph = Auto(model, Static(model), patience=1), graph_of(model, ethanol())
    for _ in range(2):
        forces = auto(graph).forces
    other = copied(auto)
    other(graph)
    assert torch.equal(other(graph).forces, forces) and forces.abs().max() > 1e-2
    assert other.static.compilations == 1 and auto.static.compilations == 1


def test_large_systems_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field()
    graph, calls = graph_of(model, ethanol()), counted(monkeypatch)
    auto = Auto(model, Static(model), patience=0)
    auto(AtomicGraph.batch_of([graph, graph]))
    auto(graph)
    assert not calls and auto.static.compilations == 2
    monkeypatch.setattr(static, "fits_in_one_chunk", lambda *_: False)
    auto(graph)
    assert len(calls) == 1


def test_threads_may_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while it goes over to replaying, and for atoms that change in between."""
    model = force_field().freeze()
    auto = Auto(model, Static(model), patience=3)
    graphs = [graph_of(model, atoms) for atoms in (*map(ethanol, range(6)), crystal())]
    expected = [model(graph).forces for graph in graphs]

    def wrong(k: int) -> int:
        answers = (auto(graphs[k]).forces for _ in range(10 if k < 6 else 3))
        return sum(relative_error(forces, expected[k]) > LIMITS.gradient for forces in answers)

    with ThreadPoolExecutor(len(graphs)) as pool:
        assert sum(pool.map(wrong, range(len(graphs)))) == 0
    assert auto.static.compilations > 0


def test_a_few_crowded_atoms_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, atoms = force_field(), ethanol()
    auto, calls = Auto(model, Static(model), patience=0), counted(monkeypatch)
    for k in range(2 * len(atoms)):
        atoms += ase.Atoms("H", [(20.0 + 10 * k, 0, 0)])
    auto(graph_of(model, atoms))
    assert len(calls) == 1 and auto.static.compilations == 0


@pytest.mark.parametrize("inside", ["made", "called"])
def test_a_calculator_in_inference_mode_has_the_forces_it_has_outside(inside: str) -> None:
    model, atoms = force_field(), ethanol()
    expected = model(graph_of(model, atoms)).forces.numpy()
    with torch.inference_mode():
        calculator = SIKFFCalculator(model, device="cpu", replay_after=1)
        if inside == "called":
            for seed in range(3):
                atoms.rattle(1e-3, seed=seed)
                calculator.get_forces(atoms)
    atoms = ethanol()
    for _ in range(3):
        assert np.abs(calculator.get_forces(atoms) - expected).max() < LIMITS.gradient
        atoms.positions += 1.0
    assert np.abs(expected).max() > 1e-2


def test_without_patience_atoms_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU each comparison would wait for all that was started before."""
    model = force_field().train()
    graphs = [graph_of(model, ethanol(seed)) for seed in range(2)]
    largest = Capacity(1, graphs[0].n_atoms, graphs[0].n_atoms)
    auto = Auto(model, Static(model, largest, differentiable=True))
    monkeypatch.setattr(torch, "equal", None)
    for graph in graphs:
        auto(graph).energy.sum().backward()
    assert auto.static.compilations == 1
