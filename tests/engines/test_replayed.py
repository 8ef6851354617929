"""Force fields whose operations are replayed."""

import copy
import pickle
from collections.abc import Callable

import ase
import pytest
import torch

from force_fields import crystal, ethanol, force_field, graph_of
from sikff.engines import Replayed, static
from sikff.engines.padding import Rows
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


def test_the_same_atoms_are_replayed_when_they_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field()
    replayed, atoms = Replayed(model, patience=2), crystal()
    calls = counted(monkeypatch)
    for step in range(5):
        atoms.rattle(0.02, seed=step)
        graph = graph_of(model, atoms)
        found = replayed(graph, stress=True)
        assert len(calls) == min(step + 1, 2)
        expected = FORWARD(model, graph, stress=True)
        assert relative_error(found.forces, expected.forces) < LIMITS.gradient
        assert relative_error(found.stress, expected.stress) < LIMITS.gradient
        assert expected.forces.abs().max() > 1e-2
    assert replayed.compilations == 1
    replayed(graph_of(model, ethanol()))  # other atoms: from the beginning
    assert len(calls) == 3 and replayed.compilations == 1


def unknown_operation(*_: object) -> None:
    raise TypeError("unexpected keyword argument 'out'")


@pytest.mark.parametrize(
    ("name", "value"),
    [("recorder.OF_MANY", ()), ("plan.Plan._call", unknown_operation)],
)
def test_the_model_itself_predicts_where_operations_cannot_be_replayed(
    name: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"sikff.engines.{name}", value)
    model = force_field().float().freeze()
    replayed, graph = Replayed(model, patience=1), graph_of(model, ethanol())
    expected = model(graph).forces
    replayed(graph)
    with pytest.warns(UserWarning, match=r"operations of torch .* are not replayed, which is slow"):
        first = replayed(graph)
    for found in (first, replayed(graph)):  # it warns once
        assert torch.equal(found.forces, expected)
    assert replayed.compilations == 0


def test_weights_change_through_it() -> None:
    model, other = force_field().float(), force_field().float()
    for weight in other.parameters():
        weight.data.mul_(1.1)
    replayed, graph = Replayed(model, patience=1), graph_of(model, ethanol())
    before = [replayed(graph).forces for _ in range(2)][-1]
    replayed.double()
    for _ in range(3):
        cast = replayed(graph).forces
        assert relative_error(cast, FORWARD(model, graph).forces) < LIMITS.gradient
        assert 0 < (cast - before).abs().max() < 1e-4
    replayed.load_state_dict({f"model.{k}": v for k, v in other.double().state_dict().items()})
    for _ in range(3):
        assert relative_error(replayed(graph).forces, other(graph).forces) < LIMITS.gradient
    assert (other(graph).forces - before).abs().max() > 1e-2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_it_can_be_copied_and_sent_to_another_process(copied: Callable) -> None:
    model = force_field()
    replayed, graph = Replayed(model, patience=1), graph_of(model, ethanol())
    for _ in range(2):
        forces = replayed(graph).forces
    other = copied(replayed)
    assert torch.equal(other(graph).forces, forces) and forces.abs().max() > 1e-2
    assert other.compilations == 2 and replayed.compilations == 1


def test_batches_and_large_systems_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    model = force_field()
    graph, calls = graph_of(model, ethanol()), counted(monkeypatch)
    replayed = Replayed(model, patience=0)
    replayed(AtomicGraph.batch_of([graph, graph]))
    assert len(calls) == 1
    replayed(graph)
    assert len(calls) == 1 and replayed.compilations == 1
    monkeypatch.setattr(static, "are_small", lambda *_: False)
    replayed(graph)
    assert len(calls) == 2


def test_a_few_crowded_atoms_are_not_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    model, atoms = force_field(), ethanol()
    replayed, calls = Replayed(model, patience=0), counted(monkeypatch)
    for k in range(2 * len(atoms)):
        atoms += ase.Atoms("H", [(20.0 + 10 * k, 0, 0)])
    replayed(graph_of(model, atoms))
    assert len(calls) == 1 and replayed.compilations == 0


def test_where_there_was_too_little_room_there_is_more() -> None:
    model, dense = force_field(), crystal()
    replayed = Replayed(model, patience=0)
    replayed(graph_of(model, dense))
    room = replayed.room.neighbours
    dense.set_cell(dense.cell * 0.8, scale_atoms=True)
    graph = graph_of(model, dense)
    replayed(graph)
    most = Rows.of(graph).longest
    assert room < most
    assert replayed.room.neighbours - most > static.STEP // 2
    assert replayed.room.neighbours - most <= 3 * static.STEP // 2
