"""Cost against the number of species: steps of MD and of training, weights, memory.

    python tests/benchmarks/species.py

Clusters of 20 atoms and a crystal of 216, whose elements are drawn from those of the model. MD:
replayed steps of the calculator, of structures with two species and with all. Training: a batch of
8 clusters, with the optimiser. Medians of CPU seconds, all models in turns, over those of two
species.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import ase
import numpy as np
import torch
from ase.build import bulk
from ase.data import chemical_symbols

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.data.batches import Batches, Sample, Targets
from sikff.training.evaluation.metrics import errors
from sikff.training.fitting.losses import loss
from sikff.training.fitting.soap import SOAP
from sikff.training.fitting.static_training import capacity_for, static_training

SPECIES = (2, 12, 30, 60, 89)
TURNS = 30


def structure(rng: np.random.Generator, elements: tuple[str, ...], crystal: bool) -> ase.Atoms:
    """A rattled simple lattice, all elements among its atoms if it has as many."""
    atoms = bulk("Po", "sc", a=2.6) * ((6, 6, 6) if crystal else (3, 3, 3))
    atoms.pbc = crystal
    atoms = atoms if crystal else atoms[:20]
    first = list(elements)[: len(atoms)]
    atoms.symbols = [*first, *rng.choice(elements, len(atoms) - len(first))]
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    return atoms


def md_step(model: ForceField, present: tuple[str, ...]) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    atoms = structure(rng, present, crystal=True)
    atoms.calc = SIKFFCalculator(model, device="cpu", replay_after=3)

    def step() -> object:
        atoms.positions += rng.normal(0, 1e-3, atoms.positions.shape)
        return atoms.get_forces()

    return step


def training_step(model: ForceField) -> Callable[[], object]:
    rng, config = np.random.default_rng(0), TrainConfig(output="none", max_steps=1)
    samples = []
    for number in range(8):
        atoms = structure(rng, model.elements, crystal=False)
        graph = AtomicGraph.from_atoms(atoms, model.cutoff, model.elements)
        forces = torch.from_numpy(rng.normal(size=(len(atoms), 3)))
        samples.append(Sample(graph, Targets(torch.zeros(1).double(), forces), str(number)))
    capacity, _ = capacity_for(samples, 8)
    evaluate, optimiser = static_training(model.train(), capacity, False), SOAP(model, 1e-6)
    batch = next(iter(Batches(samples, 8)))

    def step() -> object:
        optimiser.zero_grad()
        prediction = evaluate(batch.graph)
        found = errors(prediction, batch.targets, batch.graph)
        loss(found, config.loss, batch.sizes, batch.weights).backward()
        return optimiser.step()

    return step


def compare(steps: dict[str, Callable[[], object]]) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(TURNS + 10):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn >= 10:
                seconds[name].append(time.process_time() - start)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    first = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"   {name}: {1000 * median:.2f} ms, {median / first:.3f}")


def main() -> None:
    torch.set_num_threads(1)
    models = {}
    for n in SPECIES:
        torch.manual_seed(0)
        config = ForceFieldConfig(
            elements=tuple(chemical_symbols[1 : n + 1]), average_neighbours=20
        )
        models[n] = ForceField(config)
        print(f"{n} species: {sum(p.numel() for p in models[n].parameters())} weights")
    two = models[2].elements
    print("MD, two species present")
    compare({f"of {n}": md_step(model, two) for n, model in models.items()})
    print("MD, all present")
    compare({f"of {n}": md_step(model, model.elements) for n, model in models.items()})
    print("training, all present")
    compare({f"of {n}": training_step(model) for n, model in models.items()})


if __name__ == "__main__":
    main()
