"""What adapters to simulation engines cost, and what batches save: measured only.

    python tests/benchmarks/engines.py [--group O(3)] [--steps 20]

Times are those of one thread, in CPU milliseconds (the median over calls), which a busy machine
changes little. Weights are random: they cost what trained ones cost.

1. TorchSim: 20 molecules of methanol in a batch, and one by one in ASE.
2. i-PI: steps of 16 beads of methanol, all in one batch, and bead by bead.
3. 192 atoms of water: each adapter beside a loop over the model that is written by hand: neighbour
   list, graph, model, results as arrays.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

sys.path.insert(0, str(Path(__file__).parent))

from md_step import water

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.calculators.prepare_models import choose_evaluators, prepared
from sikff.graph.neighbour_list import NeighbourList
from sikff.training.cli import main as sikff

WARM = 14  # calls, after which models are replayed
MOLECULES, BEADS = 20, 16


def milliseconds(calls: dict[str, Callable[[], Any]], n: int) -> dict[str, float]:
    """Median CPU time of each; they take turns."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(WARM + n):
        for name, call in calls.items():
            start = time.process_time()
            call()
            if turn >= WARM:
                found[name].append(1e3 * (time.process_time() - start))
    return {name: float(np.median(each)) for name, each in found.items()}


def show(title: str, results: dict[str, float]) -> None:
    first = next(iter(results.values()))
    print(f"\n{title}")
    for name, ms in results.items():
        print(f"  {name:34s} {ms:8.2f} ms  {ms / first:6.3f}")


class Moving:
    """Moves the same way for all that is compared."""

    def __init__(self, atoms: Atoms) -> None:
        self.atoms, self.rng = atoms.copy(), np.random.default_rng(0)

    def next(self) -> Atoms:
        self.atoms.positions += 0.002 * self.rng.normal(size=self.atoms.positions.shape)
        return self.atoms


def molecules(model: ForceField, steps: int) -> None:
    import torch_sim as ts

    from sikff.calculators.torchsim import SIKFFModel

    frames = [molecule("CH3OH") for _ in range(MOLECULES)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.05, seed=seed)
    batched, rng = SIKFFModel(model, device="cpu", compute_stress=False), np.random.default_rng(0)
    state = ts.initialize_state(frames, torch.device("cpu"), torch.float64)
    moving = list(map(Moving, frames))
    for each in moving:
        each.atoms.calc = SIKFFCalculator(model, device="cpu")

    def together() -> None:
        state.positions += 0.002 * torch.from_numpy(rng.normal(size=state.positions.shape))
        batched(state)

    def one_by_one() -> None:
        for each in moving:
            atoms = each.next()
            atoms.get_potential_energy(), atoms.get_forces()

    calls = {"TorchSim, in a batch": together, "ASE, one by one": one_by_one}
    show(f"{MOLECULES} molecules of methanol", milliseconds(calls, steps))


def beads(model: ForceField, steps: int, folder: Path) -> None:
    from ipi.scripting import InteractiveSimulation

    model.save(folder / "m.sikff")
    ase.io.write(folder / "start.xyz", molecule("CH3OH"))
    printed = StringIO()
    with redirect_stdout(printed):
        words = ["--print-input", "--beads", str(BEADS), "--device", "cpu"]
        sikff(["ipi", str(folder / "m.sikff"), str(folder / "start.xyz"), *words])
    text = re.sub("<output.*</output>", "<output/>", printed.getvalue(), flags=re.S)
    text = text.replace("verbosity='medium'", "verbosity='quiet'")
    calls: dict[str, Callable[[], Any]] = {}
    for name, size in (("in a batch", BEADS), ("bead by bead", 1)):
        sized = text.replace(f"<batch_size> {BEADS} <", f"<batch_size> {size} <")
        simulation = InteractiveSimulation(sized)
        calls[f"i-PI, {name}"] = lambda s=simulation: s.run(1, write_outputs=False)
    show(f"a step of {BEADS} beads of methanol", milliseconds(calls, steps))


def by_hand(model: ForceField) -> Callable[[Atoms], tuple[float, np.ndarray]]:
    """The loop that an adapter replaces."""
    own = prepared(model, torch.device("cpu"), None)
    (evaluate,) = choose_evaluators([own], compile=False, replay_after=10)
    neighbours = NeighbourList(own.cutoff, own.elements, skin=0.8)

    def call(atoms: Atoms) -> tuple[float, np.ndarray]:
        prediction = evaluate(neighbours.graph(atoms))
        return prediction.energy.item(), prediction.forces.numpy()

    return call


def overhead(model: ForceField, steps: int, folder: Path) -> None:
    import torch_sim as ts

    from sikff.calculators.ipi import ANGSTROM, SIKFFDriver
    from sikff.calculators.torchsim import SIKFFModel

    box = water(64)
    ase.io.write(folder / "box.xyz", box, format="extxyz")
    model.save(folder / "m.sikff")
    hand, moving = by_hand(model), {name: Moving(box) for name in "abcd"}
    calculator = SIKFFCalculator(model, device="cpu")
    in_torchsim = SIKFFModel(model, device="cpu", compute_stress=False)
    state = ts.initialize_state([box], torch.device("cpu"), torch.float64)
    driver = SIKFFDriver(str(folder / "box.xyz"), str(folder / "m.sikff"), device="cpu")

    def in_ase() -> None:
        atoms = moving["b"].next()
        atoms.calc = calculator
        atoms.get_potential_energy(), atoms.get_forces()

    def torchsim() -> None:
        state.positions = torch.from_numpy(moving["c"].next().positions.copy())
        in_torchsim(state)

    def ipi() -> None:
        atoms = moving["d"].next()
        driver(atoms.cell.array.T * ANGSTROM, atoms.positions * ANGSTROM)

    calls = {
        "by hand": lambda: hand(moving["a"].next()),
        "ASE": in_ase,
        "TorchSim": torchsim,
        "i-PI (with the virial)": ipi,
    }
    show("192 atoms of water", milliseconds(calls, steps))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--group", default="O(3)")
    parser.add_argument("--steps", type=int, default=20)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    settings: dict[str, Any] = {"elements": ("H", "C", "O"), "average_neighbours": 20.0}
    model = ForceField(ForceFieldConfig(group=options.group, **settings))
    molecules(model, options.steps)
    with tempfile.TemporaryDirectory() as folder:
        overhead(model, options.steps, Path(folder))
        beads(model, options.steps, Path(folder))


if __name__ == "__main__":
    main()
