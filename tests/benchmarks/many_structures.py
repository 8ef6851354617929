"""Many small structures at once, and one by one: CPU seconds of relaxations and dynamics.

    python tests/benchmarks/many_structures.py [--count 20] [--channels 8 16 32] [--steps 60]
                                               [--commands]

Chains of 20 atoms (hexane, bent at random) under models with random weights, which cost what
trained ones cost, on one thread. In one process, "one by one" is a calculator for each structure as
`sikff md` and `sikff relax` have it; all take as many steps, so that the forces are what is
compared. With --commands also `sikff relax one.xyz` for each structure against `sikff relax
many.xyz --all`, with the start of Python. CPU seconds are of the process or its children, so that
other programs on the machine do not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ase.io
import numpy as np
import torch

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.calculators.structure_evaluator import StructureEvaluator
from sikff.training.simulation.md import run_md
from sikff.training.simulation.relax import relax
from sikff.training.simulation.settings import MDSettings, RelaxationSettings
from sikff.training.simulation.together import relax_together, run_md_together


def hexane(seed: int) -> ase.Atoms:
    rng, n = np.random.default_rng(seed), np.arange(6)
    carbon = np.stack([1.27 * n, 0.4 * (n % 2), 0.0 * n], axis=1)
    sides = [carbon + np.array([0.0, 0.6, 0.9 * side]) for side in (-1, 1)]
    ends = carbon[[0, -1]] + [[-1.09, 0, 0], [1.09, 0, 0]]
    places = np.concatenate([carbon, *sides, ends])
    return ase.Atoms("C6H14", places + 0.05 * rng.normal(size=places.shape))


def model(channels: int) -> ForceField:
    torch.manual_seed(0)
    options = {"average_neighbours": 12.0, "zbl": True, "energy_scale": 0.02}  # atoms stay apart
    return ForceField(ForceFieldConfig(elements=("H", "C"), channels=channels, **options)).eval()


def one_by_one(force_field: ForceField, structures: list[ase.Atoms], what: str, steps: int) -> None:
    for atoms in structures:
        atoms.calc = SIKFFCalculator(force_field, device="cpu")
        if what == "md":
            run_md(atoms, MDSettings(ensemble="nvt", steps=steps, timestep=0.1))
        else:
            relax(atoms, RelaxationSettings(fmax=1e-9, steps=steps))


def together(force_field: ForceField, structures: list[ase.Atoms], what: str, steps: int) -> None:
    evaluator = StructureEvaluator.of(force_field, device="cpu")
    if what == "md":
        settings = MDSettings(ensemble="nvt", steps=steps, timestep=0.1)
        found = run_md_together(evaluator, structures, settings, len(structures))
    else:
        relaxation = RelaxationSettings(fmax=1e-9, steps=steps)
        found = relax_together(evaluator, structures, relaxation, len(structures))
    assert not any(isinstance(each, Exception) for each in found), found


def seconds(
    way: Callable[..., None], force_field: ForceField, structures: list[ase.Atoms], *how: object
) -> float:
    copies = [atoms.copy() for atoms in structures]
    start = time.process_time()
    way(force_field, copies, *how)
    return time.process_time() - start


def of_commands(force_field: ForceField, structures: list[ase.Atoms], steps: int) -> list[float]:
    """CPU seconds of commands for each structure, and of one for all."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        force_field.save(folder / "model.sikff")
        ase.io.write(folder / "many.xyz", structures)
        for n, atoms in enumerate(structures):
            ase.io.write(folder / f"{n}.xyz", atoms)
        options = ["--steps", str(steps), "--fmax", "1e-9", "--quiet", "--device", "cpu"]

        def run(*arguments: str) -> None:
            command = [sys.executable, "-m", "sikff.training", "relax", "model.sikff", *arguments]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run(
                [*command, *options], cwd=folder, env=environment, stderr=subprocess.DEVNULL
            )

        def children() -> float:
            used = resource.getrusage(resource.RUSAGE_CHILDREN)
            return used.ru_utime + used.ru_stime

        start = children()
        for n in range(len(structures)):
            run(f"{n}.xyz", "--output", f"{n}.extxyz")
        each = children()
        run("many.xyz", "--all")
        return [each - start, children() - each]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--channels", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--commands", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    structures = [hexane(seed) for seed in range(given.count)]
    for channels in given.channels:
        force_field = model(channels)
        for what in ("relax", "md"):
            arguments = (force_field, structures, what, given.steps)
            used = [seconds(way, *arguments) for way in (one_by_one, together)]
            report(f"{channels} channels, {what}, one process", used)
        if given.commands:
            used = of_commands(force_field, structures, given.steps)
            report(f"{channels} channels, relax, commands", used)


def report(what: str, used: list[float]) -> None:
    each, all_at_once = used
    print(
        f"{what:40s} one by one {each:7.2f} s, together {all_at_once:7.2f} s, "
        f"{each / all_at_once:.2f} times",
        flush=True,
    )


if __name__ == "__main__":
    main()
