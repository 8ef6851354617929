"""Every kind of model on a device that is none: nothing is mixed, and little is waited for."""

import copy
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from force_fields import force_field
from model_kinds import KINDS, box, graph_for
from pretend_device import NAME, Counts, MixedDevicesError, is_available, pretend_device
from sikff.calculators import SIKFFCalculator, prepare_models
from sikff.engines import Capacity, Static
from sikff.forcefield import ForceField
from sikff.forcefield import force_field as force_field_module
from sikff.forcefield.chunks import Chunks
from sikff.forcefield.data_end import KINDS as EXTRAPOLATIONS
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.data.batches import Batch, Batches, Sample, Targets, change_tensors
from sikff.training.evaluation.metrics import errors
from sikff.training.fitting.loop import Limits, Loop
from sikff.training.fitting.losses import loss
from sikff.training.fitting.optimiser import make_optimiser
from tolerances import TOLERANCES

pytestmark = pytest.mark.skipif(not is_available, reason="this torch has no devices in Python")

OUTSIDE = ("distances", "heights")
# Kernels of one call in fixed shapes, with forces and stress. They may fall; who raises them says
# why.
LAUNCHES = {
    "O(3)": 425,
    "C_inf_v": 415,
    "plane": 1010,
    "field": 560,
    "field along the axis": 430,
    "slit": 515,
    "places": 700,
    "charge": 460,
    "distances": 535,
    "heights": 560,
}
TRAINING_LAUNCHES = {"O(3)": 1320, "plane": 3200, "charge": 1400, "distances": 1570}
SKIN, LIMITS = 0.8, TOLERANCES[torch.float64]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.cpu() - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


def direct(function: Callable, example: Sequence[Tensor], weights: Sequence[Tensor]) -> Callable:
    """A backend that calls the function itself."""
    return function


@cache
def model_of(kind: str, dtype: torch.dtype = torch.float64) -> ForceField:
    """A frozen model on the CPU."""
    return force_field(**KINDS[kind]).to(dtype).freeze()


@cache
def model_there(kind: str, dtype: torch.dtype = torch.float64) -> ForceField:
    """The same model on the device."""
    with pretend_device():
        return copy.deepcopy(model_of(kind, dtype)).to(NAME).freeze()


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [*((kind, torch.float64) for kind in KINDS), ("O(3)", torch.float32), ("plane", torch.float32)],
)
def test_a_step_in_fixed_shapes_waits_for_its_results_alone(kind: str, dtype: torch.dtype) -> None:
    """Neighbours are selected on the device from candidates; only positions are sent to it.

    In float32 kernels of O(3) are spline tables.
    """
    model, limits = model_of(kind, dtype), TOLERANCES[dtype]
    graphs = [graph_for(model, kind, seed) for seed in range(3)]
    expected = model(graphs[-1], stress=True)
    with pretend_device() as counts:
        static = Static(model_there(kind, dtype), backend=direct)
        candidates = graph_for(model, kind, 0, SKIN).to(NAME)
        for graph in graphs:
            counts.clear()
            moved = dataclasses.replace(candidates, positions=graph.positions.to(NAME))
            found, extrapolates = static.predict(moved, stress=True)
    assert counts.reads == ["aten._to_copy.default"]
    assert counts.uploads == [graphs[0].positions.numel() * 8]
    assert counts.total <= LAUNCHES[kind]
    assert static.compilations == 1
    for one in (found.energy, found.energies, found.forces, found.stress, extrapolates):
        assert one.device.type == "cpu"
    assert expected.forces.abs().max() > 1e-2
    assert error(found.energies, expected.energies) < limits.parity
    assert error(found.forces, expected.forces) < limits.gradient
    assert error(found.stress, expected.stress) < limits.gradient
    flags = zip(EXTRAPOLATIONS, extrapolates.tolist(), strict=True)
    kinds = [name for name, passed in flags if passed]
    assert set(kinds) == model.extrapolation_warnings(graphs[-1]).keys() & set(EXTRAPOLATIONS)
    assert bool(kinds) == (kind in OUTSIDE)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_itself_waits_for_its_neighbours_alone(kind: str) -> None:
    """For their number within the cutoff, of which one is read, and for the largest of an atom."""
    model, there = model_of(kind), model_there(kind)
    expected = model(graph_for(model, kind), stress=True)
    with pretend_device() as counts:
        graph = graph_for(model, kind, skin=SKIN).to(NAME)
        counts.clear()
        found = there(graph.within(model.cutoff), stress=True)
        assert counts.reads == ["aten.nonzero.default", "aten._local_scalar_dense.default"]
        assert not counts.uploads
        assert error(found.forces, expected.forces) < LIMITS.gradient
        assert error(found.stress, expected.stress) < LIMITS.gradient


@pytest.mark.parametrize("kind", ["field", "field along the axis"])
def test_responses_to_the_field(kind: str) -> None:
    model, graph = model_of(kind), graph_for(model_of(kind), kind)
    expected = model(graph, dipole=True).dipole, model.polarizability(graph)
    with pretend_device():
        there, moved = model_there(kind), graph.to(NAME)
        assert error(there(moved, dipole=True).dipole, expected[0]) < LIMITS.gradient
        assert error(there.polarizability(moved), expected[1]) < LIMITS.gradient


@pytest.mark.parametrize(("frozen", "saved"), [(True, 0), (False, 0), (False, 1e6)])
def test_in_chunks_it_waits_as_often_however_many_there_are(
    frozen: bool, saved: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks whose gradients are computed at once, that are recomputed, and that are saved."""
    model = model_of("O(3)")
    graph = graph_for(model, "O(3)")
    expected, reads = model(graph), []
    with pretend_device() as counts:
        there = copy.deepcopy(model_there("O(3)")).requires_grad_(not frozen)
        graph = graph.to(NAME)
        for slots in (40, 20):
            monkeypatch.setattr(
                force_field_module, "chunked", lambda layout, *_, k=slots: Chunks(layout, k, saved)
            )
            counts.clear()
            found = there(graph)
            reads.append(len(counts.reads))
            assert error(found.forces, expected.forces) < LIMITS.gradient
    assert reads == ([4, 4] if frozen else [3, 3])


@pytest.mark.parametrize("kind", ["O(3)", "plane", "charge", "distances"])
def test_gradients_of_a_training_step(kind: str) -> None:
    """Second derivatives; in fixed shapes nothing is waited for."""
    model = copy.deepcopy(model_of(kind)).requires_grad_().train()
    graph = AtomicGraph.batch_of([graph_for(model, kind, seed) for seed in range(2)])
    capacity = Capacity(2, graph.n_atoms + 2, 40)

    def gradients(evaluate: Callable, graph: AtomicGraph) -> Tensor:
        for weight in evaluate.weights:
            weight.grad = None
        found = evaluate(graph, stress=True)
        (found.forces.square().sum() + found.energy.square().sum()).backward()
        return torch.cat([w.grad.flatten() for w in evaluate.weights if w.grad is not None])

    def evaluator(model: ForceField, static: bool) -> Callable:
        evaluate = model
        if static:
            evaluate = Static(model, capacity, direct, differentiable=True)
        function = partial(evaluate.__call__)
        function.weights = [weight for weight in model.parameters() if weight.requires_grad]
        return function

    expected = gradients(evaluator(model, static=False), graph)
    assert expected.abs().max() > 1e-3
    with pretend_device() as counts:
        there, moved = copy.deepcopy(model).to(NAME), graph.to(NAME)
        assert error(gradients(evaluator(there, static=False), moved), expected) < LIMITS.gradient
        static = evaluator(there, static=True)
        for _ in range(2):
            counts.clear()
            found = gradients(static, moved)
        assert not counts.reads and not counts.uploads
        assert counts.total <= TRAINING_LAUNCHES[kind]
        assert error(found, expected) < LIMITS.gradient


def test_results_are_differentiable_without_a_given_capacity_too() -> None:
    model = copy.deepcopy(model_of("O(3)")).requires_grad_().train()
    graph = graph_for(model, "O(3)")
    (expected,) = torch.autograd.grad(model(graph).forces.square().sum(), [model.network.embedding])
    with pretend_device():
        there = copy.deepcopy(model).to(NAME)
        static = Static(there, backend=direct, differentiable=True)
        loss = static(graph.to(NAME)).forces.square().sum()
        (found,) = torch.autograd.grad(loss, [there.network.embedding])
        assert error(found, expected) < LIMITS.gradient


@pytest.mark.parametrize("optimiser", ["adamw", "soap"])
def test_a_training_step_waits_once(optimiser: str) -> None:
    """For the loss, the norm of its gradient and the clock, which all processes share."""
    config = TrainConfig(max_epochs=1, optimiser=optimiser)
    samples = []
    for seed in range(2):
        graph = graph_for(model_of("O(3)"), "O(3)", seed)
        zeros = (torch.zeros(1), torch.zeros(graph.n_atoms, 3), torch.zeros(1, 3, 3))
        samples.append(Sample(graph, Targets(*(each.double() for each in zeros)), "made"))
    batches = list(Batches(samples, 2)) * 3
    capacity = Capacity(2, 2 * graph.n_atoms, 40)

    def weights_after(device: str, counts: Counts) -> Tensor:
        model = copy.deepcopy(model_of("O(3)")).requires_grad_().to(device)
        evaluate = Static(model, capacity, direct, differentiable=True)

        def loss_of(batch: Batch) -> Tensor:
            counts.clear()
            batch = change_tensors(batch, lambda tensor: tensor.to(device))
            prediction = evaluate(batch.graph, stress=True)
            found = errors(prediction, batch.targets, batch.graph)
            return loss(found, config.loss, batch.sizes, batch.weights)

        loop = Loop(
            model,
            make_optimiser(config, model),
            lambda progress: 0.01,
            lambda step: 0.1,
            Limits(epochs=1),
            clip=10.0,
            advice="",
        )
        assert len(list(loop.epochs(lambda epoch: batches, len(batches), loss_of))) == 1
        return torch.cat([weight.detach().cpu().flatten() for weight in model.parameters()])

    with pretend_device() as counts:
        expected = weights_after("cpu", counts)
        found = weights_after(NAME, counts)
        uploaded = sum(1 for each in dataclasses.fields(AtomicGraph)) + len(Targets._fields)
    assert error(found, expected) < LIMITS.gradient
    of_weights = sum(1 for _ in model_of("O(3)").parameters())  # at the end
    assert counts.reads == ["aten._to_copy.default"] * (1 + of_weights)
    assert len(counts.uploads) == uploaded


def predictions(
    device: str, monkeypatch: pytest.MonkeyPatch, models: Sequence[ForceField], steps: int = 3
) -> tuple[list[dict[str, Any]], list[tuple[list[str], list[int]]], list[str]]:
    """Results of the last steps of a calculator, what each step waited for and sent, warnings."""
    monkeypatch.setattr(prepare_models, "backend_for", lambda device: direct)
    results, waits = [], []
    with pretend_device() as counts, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calculator = SIKFFCalculator(list(models), device=device, replay_after=1)
        for seed in range(steps):
            counts.clear()
            atoms = box(seed % 2)
            calculator.calculate(atoms, ["energy", "forces", "stress"])
            waits.append((counts.reads[:], counts.uploads[:]))
            results.append(calculator.results | calculator._deviations)
    return results, waits, calculator.extrapolation_warnings


@pytest.mark.parametrize("kinds", [["O(3)"], ["plane"], ["distances"], ["O(3)", "distances"]])
def test_a_step_of_a_calculator_sends_positions_and_waits_once_for_each_model(
    kinds: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [model_of(kind) for kind in kinds]
    expected, nothing, said = predictions("cpu", monkeypatch, models)
    assert not any(reads or uploads for reads, uploads in nothing)
    found, waits, said_there = predictions(NAME, monkeypatch, models, steps=4)
    for here, there in zip(expected, found, strict=False):
        assert here.keys() == there.keys()
        for name, value in here.items():
            defined = np.isfinite(value)
            assert (defined == np.isfinite(there[name])).all()
            scale = max(np.abs(np.where(defined, value, 0.0)).max(), 1e-3)
            difference = np.where(defined, there[name] - value, 0.0)
            assert np.abs(difference).max() / scale < LIMITS.gradient
    assert said == said_there and bool(said) == ("distances" in kinds)
    reads, uploads = waits[-1]
    assert uploads == [found[0]["forces"].nbytes]
    assert reads == ["aten._to_copy.default"] * len(kinds)


def test_more_neighbours_than_a_given_capacity_are_not_a_number_where_they_cannot_be_counted() -> (
    None
):
    graph = graph_for(model_of("O(3)"), "O(3)")
    most = int(torch.bincount(graph.edge_index[0]).max())
    with pretend_device() as counts:
        moved = graph.to(NAME)
        for neighbours, fits in ((most, True), (most - 1, False)):
            capacity = Capacity(1, graph.n_atoms, neighbours)
            counts.clear()
            found = Static(model_there("O(3)"), capacity, direct)(moved)
            assert not counts.reads
            for one in found[:3]:
                assert bool(one.cpu().isfinite().all()) is fits


def test_tensors_of_both_devices_cannot_be_mixed() -> None:
    """Also where torch lets them on a GPU, by copying one of them."""
    with pretend_device() as counts:
        here, there = torch.arange(3), torch.arange(3).to(NAME)
        for mix in (lambda: here + there, lambda: there[here], lambda: torch.cat([here, there])):
            with pytest.raises(MixedDevicesError):
                mix()
        counts.clear()
        assert (there * 2).tolist() == [0, 2, 4]
        assert counts.total == 1 and counts.reads == ["aten._to_copy.default"]
        assert (there[there > 0].cpu() == torch.tensor([1, 2])).all()
        assert counts.reads[1:] == ["aten.index.Tensor", "aten._to_copy.default"]
        with pytest.raises((RuntimeError, TypeError)):
            there.numpy()
