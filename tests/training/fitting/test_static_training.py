"""Static training steps against eager ones: predictions, and their gradients in the weights."""

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import ase
import ase.io
import pytest
import torch
from ase.build import molecule
from ase.calculators.emt import EMT
from torch import Tensor
from torch.fx import GraphModule

from force_fields import MODELS, crystal, ethanol, force_field, graph_of, slab
from runs import changed, rows
from sikff import ForceField
from sikff.engines import Capacity, Static
from sikff.engines.inductor import inductor
from sikff.forcefield import Prediction
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.data.batches import Sample, Targets
from sikff.training.fitting import loop, trainer
from sikff.training.fitting.fit import fit
from sikff.training.fitting.static_training import capacity_for, static_training
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
STRUCTURES = {
    "O(3)": [ethanol(), molecule("H2O"), ethanol(1)],
    "C_inf_v": [molecule("CO"), ethanol()],
    "SO(2)": [slab(), molecule("H2O")],
    "C6v": [crystal(), crystal()],
    "SO(3)": [crystal(), molecule("H2O"), ethanol(), ethanol(1)],
}


def batch(model: ForceField, structures: Sequence[ase.Atoms], seed: int) -> AtomicGraph:
    graphs = []
    for number, structure in enumerate(structures):
        atoms = structure.copy()
        atoms.rattle(0.05, seed=seed + number)
        conditions: dict[str, Any] = {"field": (0.0, 0.0, 0.1 * number)}
        if model.shares is not None:
            conditions = {"charge": number - 1, "spin": 1 + number % 3}
        graphs.append(graph_of(model, atoms, **conditions))
    return AtomicGraph.batch_of(graphs)


def gradients(model: ForceField, said: Prediction) -> list[Tensor]:
    """Of a loss of everything that was predicted."""
    stress = None if said.stress is None else torch.where(said.stress.isnan(), 0.0, said.stress)
    parts = [said.energy / 1000, said.forces, stress]
    loss = sum(part.double().square().sum() for part in parts if part is not None)
    weights = list(model.parameters())
    return list(torch.autograd.grad(loss, weights, materialize_grads=True, allow_unused=True))


def largest(found: Tensor, expected: Tensor) -> float:
    found, expected = found.detach(), expected.detach()
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-3))


@pytest.mark.parametrize("group", MODELS)
def test_a_replayed_step_is_the_step(group: str) -> None:
    """For batches of several sizes, and after the weights have changed."""
    model = force_field(group, **MODELS[group]).train()
    structures = STRUCTURES[group]
    stress = any(atoms.cell.volume > 0 for atoms in structures)
    graph = batch(model, structures, 0)
    degree = int(torch.bincount(graph.edge_index[0]).max())
    compiled = static_training(model, Capacity(4, graph.n_atoms + 3, degree + 2), False)
    for step, part in enumerate((structures, structures[:1], structures[::-1])):
        graph = batch(model, part, step)
        found, expected = compiled(graph, stress=stress), model(graph, stress=stress)
        assert expected.forces.abs().max() > 1e-2
        assert largest(found.energy, expected.energy) < LIMITS.parity
        assert largest(found.energies, expected.energies) < LIMITS.parity
        assert largest(found.forces, expected.forces) < LIMITS.gradient
        assert (found.stress is None) == (not stress)
        if stress:
            assert torch.equal(found.stress.isnan(), expected.stress.isnan())
            solid = ~expected.stress.isnan()
            assert largest(found.stress[solid], expected.stress[solid]) < LIMITS.gradient
        slopes = gradients(model, found), gradients(model, expected)
        scale = max(float(slope.abs().max()) for slope in slopes[1])
        for one, other in zip(*slopes, strict=True):
            assert (one - other).abs().max() < LIMITS.gradient * scale
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(1.1)


def test_gradients_through_torch_compile() -> None:
    model = force_field("C_inf_v", layers=1, correlation=2, max_frequency=1).train()
    graph = batch(model, [ethanol()], 0)
    compiled = Static(
        model, Capacity(1, 10, 8), partial(inductor, backend="aot_eager"), differentiable=True
    )
    found, expected = gradients(model, compiled(graph)), gradients(model, model(graph))
    assert max(float(slope.abs().max()) for slope in expected) > 1e-3
    for one, other in zip(found, expected, strict=True):
        assert largest(one, other) < LIMITS.gradient


def test_the_capacity_holds_any_batch() -> None:
    model = force_field()
    graphs = [graph_of(model, atoms) for atoms in (ethanol(), molecule("H2O"), molecule("H"))]
    capacity, filled = capacity_for([Sample(graph, Targets(), "") for graph in graphs], 2)
    assert capacity == Capacity(2, 9 + 3, 8)
    assert filled == pytest.approx(2 * (graphs[0].n_edges + 6) / 3 / (12 * 8))
    alone, _ = capacity_for([Sample(graphs[2], Targets(), "")], 5)
    assert alone == Capacity(5, 1, 1)


def test_a_replayed_run_is_the_run(config: TrainConfig) -> None:
    """With crystals of different sizes, a last batch of one, and stress."""
    config = changed(config, loss={"energy": 1, "forces": 1, "stress": 1}, replay=False)
    lines: list[str] = []
    fit(config, report=lines.append)
    assert not any("replayed" in line for line in lines)
    other = changed(config, replay=True, output=config.output.with_name("replayed"))
    fit(other, report=lines.append)
    assert any("steps are replayed for 16 atoms" in line for line in lines)
    for one, two in zip(rows(config), rows(other), strict=True):
        for key in one.keys() - {"minutes"}:
            assert two[key] == pytest.approx(one[key], rel=LIMITS.gradient), key
    fit(changed(other, replay=False, max_epochs=4), resume=True)
    assert len(rows(other)) == 4


def test_frozen_weights_are_left_alone() -> None:
    model = force_field().train()
    model.network.embedding.requires_grad_(False)
    graph = batch(model, [ethanol()], 0)
    replayed = static_training(model, Capacity(1, 10, 8), False)
    replayed(graph).forces.square().sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters()}
    model.zero_grad()
    model(graph).forces.square().sum().backward()
    for name, weight in model.named_parameters():
        assert (found[name] is None) == (weight.grad is None), name
        if weight.grad is not None:
            assert largest(found[name], weight.grad) < LIMITS.gradient, name
    assert found["network.embedding"] is None


def test_structures_of_different_size_are_not_replayed(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    paths = [config.output.with_name(name) for name in ("sizes.xyz", "valid.xyz")]
    ase.io.write(paths[0], [*frames, large_one(frames)])
    ase.io.write(paths[1], frames[:2])
    lines: list[str] = []
    fit(changed(config, data={"train": paths[0], "valid": paths[1]}), report=lines.append)
    assert len(lines) > 3 and not any("replayed" in line for line in lines)


def test_large_batches_are_not_replayed(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "sikff.training.fitting.static_training.fits_in_one_chunk"
    monkeypatch.setattr(name, lambda *_: False)
    lines: list[str] = []
    fit(config, report=lines.append)
    assert len(lines) > 3 and not any("replayed" in line for line in lines)


def large_one(frames: list[ase.Atoms]) -> ase.Atoms:
    large = frames[0].repeat(3)
    large.calc = EMT()
    large.get_forces()
    return large


def with_backend(backend: Callable[..., Any]) -> Callable[..., Static]:
    compiled = partial(inductor, backend=backend)
    return lambda model, capacity, _: Static(model, capacity, compiled, differentiable=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_the_clock_stands_still_while_it_compiles(
    config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0

    def slow(flat: GraphModule, _: object) -> GraphModule:
        nonlocal now
        now += 600
        return flat

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(trainer, "static_training", with_backend(slow))
    lines: list[str] = []
    fit(changed(config, compile=True, max_epochs=3, max_minutes=5), report=lines.append)
    assert any("compiled for 16 atoms" in line for line in lines)
    assert not any("faster with compile: false" in line for line in lines)
    assert now >= 600
    assert [row["minutes"] for row in rows(config)] == [0, 0, 0]


@pytest.mark.filterwarnings("ignore:`torch.jit.*deprecated:DeprecationWarning")  # torch's own
def test_a_failure_to_compile_is_told_and_so_is_much_padding(
    config: TrainConfig, frames: list[ase.Atoms], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no compiler found")

    paths = [config.output.with_name(name) for name in ("sizes.xyz", "valid.xyz")]
    ase.io.write(paths[0], [*frames, large_one(frames)])
    ase.io.write(paths[1], frames[:2])
    monkeypatch.setattr(trainer, "static_training", with_backend(broken))
    lines: list[str] = []
    config = changed(config, compile=True, data={"train": paths[0], "valid": paths[1]})
    with pytest.raises(RuntimeError, match=r"torch.compile failed .*C\+\+ compiler"):
        fit(config, report=lines.append)
    assert any("faster with compile: false" in line for line in lines)
