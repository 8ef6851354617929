"""Untrained networks compute numbers of order one, whatever the group and the density."""

from collections.abc import Callable
from typing import Any

import ase
import pytest
import torch
from ase.build import bulk
from torch import Tensor, nn

from runs import changed
from sikff import load
from sikff.forcefield import EnvironmentConfig, ForceField, ForceFieldConfig
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.fitting.fit import fit
from sikff.training.fitting.init_scales import ATOMS, set_scales
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
CUTOFF = 4.0


def crystal(seed: int) -> AtomicGraph:
    atoms = bulk("NiO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, seed=seed)
    return AtomicGraph.from_atoms(atoms, CUTOFF, ("Ni", "O"))


def built(group: str, **settings: Any) -> ForceField:
    config = ForceFieldConfig(
        elements=("Ni", "O"), group=group, cutoff=CUTOFF, average_neighbours=8.0, **settings
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ForceField(config).double()


def sizes(model: ForceField, graph: AtomicGraph) -> dict[str, float]:
    """Root mean square of what every linear map after messages and products sees."""
    found: dict[str, float] = {}

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[name] = inputs[0].square().mean().sqrt().item()

        return hook

    maps = {n: m for n, m in model.named_modules() if n.rpartition(".")[0].endswith(".linear")}
    handles = [m.register_forward_pre_hook(watch(name)) for name, m in maps.items()]
    model.atomic_energies(graph)
    for handle in handles:
        handle.remove()
    return found


@pytest.mark.parametrize("group", ["O(3)", "SO(2)", "C_inf_v", "C4v", "Ih", "C1"])
def test_messages_and_products_are_of_order_one(group: str) -> None:
    model = built(group)
    before = sizes(model, crystal(0))
    set_scales(model, [model.network], [crystal(0)])
    after, elsewhere = sizes(model, crystal(0)), sizes(model, crystal(1))
    assert len(after) == 6
    assert all(size == pytest.approx(1, abs=LIMITS.parity) for size in after.values())
    assert all(0.2 < size < 5 for size in elsewhere.values())
    assert any(not 0.5 < size < 2 for size in before.values())


def test_only_given_networks_are_scaled() -> None:
    environment = EnvironmentConfig(plane_origin=(0, 0, 0))
    model = built("C_inf_v", vacuum_group="O(3)", environment=environment)
    assert model.vacuum is not None
    before = sizes(model, crystal(0))
    set_scales(model, [model.network], [crystal(0)])
    found = sizes(model, crystal(0))
    assert len(found) == 12
    for name, size in found.items():
        expected = before[name] if name.startswith("vacuum") else 1
        assert size == pytest.approx(expected, abs=LIMITS.parity)
    set_scales(model, [model.vacuum], [crystal(0)])
    found = sizes(model, crystal(0))
    assert all(size == pytest.approx(1, abs=LIMITS.parity) for size in found.values())


def test_free_atoms_do_not_change_scales() -> None:
    free = ase.Atoms("NiO", [[0, 0, 0], [50, 0, 0]])
    alone = AtomicGraph.from_atoms(free, CUTOFF, ("Ni", "O"))
    models = [built("O(3)") for _ in range(3)]
    set_scales(models[1], [models[1].network], [alone])
    assert all(map(torch.equal, *(model.parameters() for model in models[:2])))
    set_scales(models[1], [models[1].network], [alone, crystal(0), alone])
    set_scales(models[2], [models[2].network], [crystal(0)])
    assert all(map(torch.equal, *(model.parameters() for model in models[1:])))
    parameters = [model.parameters() for model in models[:2]]
    differ = [not torch.equal(*pair) for pair in zip(*parameters, strict=True)]
    assert sum(differ) == 6


def test_some_structures_are_enough() -> None:
    many = [crystal(0)] * (ATOMS // crystal(0).n_atoms + 1)
    model = built("O(3)")
    set_scales(model, [model.network], many + [crystal(1)] * 3)
    found = sizes(model, AtomicGraph.batch_of(many))
    assert all(size == pytest.approx(1, abs=0.05) for size in found.values())
    assert any(size != pytest.approx(1, abs=1e-6) for size in found.values())


def test_a_run_starts_with_weights_of_the_right_size(config: TrainConfig) -> None:
    """The model of a run that hardly moves, on the structures it was trained on."""
    model = load(fit(changed(config, max_epochs=1, lr=1e-12)))
    samples = load_dataset(config).train
    found = sizes(model, AtomicGraph.batch_of([sample.graph for sample in samples]))
    assert len(found) == 2
    assert all(size == pytest.approx(1, abs=LIMITS.invariance) for size in found.values())
