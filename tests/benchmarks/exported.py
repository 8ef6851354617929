"""Exported force fields beside others on one thread: measured only.

    python tests/benchmarks/exported.py [--folder FOLDER] [--rounds N] [--models NAME ...]

CPU time of energy, forces and dE/dstrain of boxes of water, neighbours known: eager, replayed, the
compiled function, and the same through its loader, which checks and sorts what it is given. They
take turns. Compiles what is not in the folder yet, which takes minutes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from ase.build import molecule

from sikff import ForceField, ForceFieldConfig
from sikff.calculators.export import export_compiled
from sikff.calculators.exported import ExportedModel
from sikff.engines import Static
from sikff.graph import AtomicGraph

SMALL = {"channels": 16, "correlation": 2}
MODELS = {
    "C_inf_v": {"group": "C_inf_v"},
    "O(3)": {"group": "O(3)"},
    "C_inf_v small": {"group": "C_inf_v", **SMALL},
    "O(3) small": {"group": "O(3)", **SMALL},
}
MOLECULES = (8, 27, 64)


def water(n: int) -> AtomicGraph:
    """A cube of n molecules at the density of water."""
    side, length = round(n ** (1 / 3)), 3.104
    box = molecule("H2O", cell=[length] * 3, pbc=True) * (side, side, side)
    box.rattle(0.05, seed=0)
    return AtomicGraph.from_atoms(box, 5.0, ("H", "O"))


def evaluators(
    model: ForceField, exported: ExportedModel, graph: AtomicGraph
) -> dict[str, Callable[[], object]]:
    static = Static(model)
    numbers = torch.tensor([1, 8])[graph.species]
    inputs = (graph.positions, numbers, *graph.edge_index, graph.shifts, graph.cell[0])
    tensors = exported.tensors(*inputs)
    arguments = [tensors[each["name"]] for each in exported.metadata["inputs"]]
    return {
        "eager": lambda: model(graph, stress=True),
        "replayed": lambda: static(graph, stress=True),
        "compiled": lambda: exported.function(*arguments),
        "with loader": lambda: exported(*inputs),
    }


def measure(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU time of a call, ms."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 2):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn > 1:  # the first ones prepare
                times[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="of exported models (default: none are kept)")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder or Path(tempfile.mkdtemp())
    for name in options.models:
        torch.manual_seed(0)
        config = ForceFieldConfig(elements=("H", "O"), average_neighbours=50.0, **MODELS[name])
        model, path = ForceField(config).eval().freeze(), folder / f"{name.replace(' ', '_')}.pt2"
        if not path.exists():
            start = time.perf_counter()
            export_compiled(model, path)
            size = path.stat().st_size / 1e6
            print(f"{name}: compiled in {time.perf_counter() - start:.0f} s, {size:.1f} MB")
        for n in MOLECULES:
            found = measure(evaluators(model, ExportedModel(path), water(n)), options.rounds)
            print(f"{name:14s} {3 * n:4d} atoms", *(f"{k} {v:7.2f}" for k, v in found.items()))


if __name__ == "__main__":
    main()
