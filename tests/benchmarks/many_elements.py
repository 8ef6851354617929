"""Training on many elements: time for an atom, and errors against the number of structures.

    python tests/benchmarks/many_elements.py throughput --elements 2 60 --steps 1000
    python tests/benchmarks/many_elements.py label alloys.xyz     # needs sevenn
    python tests/benchmarks/many_elements.py alloys alloys.xyz --sizes 250 500 1000 --epochs 25

*throughput*: structures of 20 atoms (large_data.py), of at most four of the elements, each training
in a process of its own, of one thread; reading the file is counted apart. Seconds are those of the
processor. *label*: alloys of two to five of 24 metals, rattled and strained, of 8 or 16 atoms, with
the energies, forces and stresses of SevenNet-0. *alloys*: trains on so many of them, and evaluates
on the last 200.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import ase
import ase.io
import numpy as np
import torch
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.calculators.singlepoint import SinglePointCalculator
from ase.data import atomic_numbers, chemical_symbols, covalent_radii
from large_data import ATOMS, BATCH, write_structures

from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

METALS = (
    *("Mg", "Al", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Y"),
    *("Zr", "Nb", "Mo", "Ru", "Rh", "Pd", "Ag", "Hf", "Ta", "W", "Pt", "Au"),
)
TESTED = 200
FIRST = 21  # number of the first element of structures without a reference
UNITS = {"energy": "atom", "force": "a"}


def train(config: TrainConfig) -> tuple[Path, float]:
    """The model that `sikff train` writes, and seconds of the processor."""
    torch.set_num_threads(1)
    usage = [resource.getrusage(resource.RUSAGE_SELF)]
    path = fit(config)
    usage.append(resource.getrusage(resource.RUSAGE_SELF))
    before, after = (each.ru_utime + each.ru_stime for each in usage)
    return path, after - before


def train_steps(path: Path, steps: int) -> None:
    """Prints the seconds of so many steps, and errors on the validation structures."""
    settings = {
        "data": {"train": path, "valid": 500},
        "batch_size": BATCH,
        "max_steps": steps,
        "validate_every": steps,
        "output": path.parent / f"run-{path.stem}-{steps}-{time.time_ns()}",
        "checkpoints": False,
        "plots": False,
        "device": "cpu",
    }
    config = TrainConfig.model_validate(settings)
    _, seconds = train(config)
    with (config.output / "log.csv").open() as file:
        last = [*csv.DictReader(file)][-1]
    found = {key: float(last[f"{key}_mae_mev_per_{unit}"]) for key, unit in UNITS.items()}
    print(json.dumps({"cpu_s": seconds, **found}))


def compare_throughput(folder: Path, structures: int, elements: list[int], steps: int) -> None:
    """Time for an atom against the number of elements, reading included and not."""
    folder.mkdir(parents=True, exist_ok=True)
    each = []
    for count in elements:
        path = folder / f"{structures}-{count}.xyz"
        if not path.exists():
            write_structures(
                path, structures, chemical_symbols[FIRST : FIRST + count], min(count, 4)
            )
        few, many = (_in_process(path, number) for number in (20, 20 + steps))
        each.append((many["cpu_s"] - few["cpu_s"]) / (steps * BATCH * ATOMS))
        print(
            f"{count} elements: start and 20 steps {few['cpu_s']:.1f} s; an atom "
            f"{1e6 * each[-1]:.1f} us, throughput {each[0] / each[-1]:.3f}; after {steps} steps "
            f"{many['energy']:.2f} meV/atom, {many['force']:.1f} meV/A",
            flush=True,
        )


def _in_process(path: Path, steps: int) -> dict[str, float]:
    command = [sys.executable, __file__, "train", path, "--steps", steps]
    text = subprocess.run([*map(str, command)], check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def make_alloy(rng: np.random.Generator) -> ase.Atoms:
    """A rattled, strained alloy whose volume is that of touching spheres, within a tenth."""
    kind, filled, cells = (("fcc", 0.74, (2, 1, 1)), ("bcc", 0.68, (2, 2, 1)))[rng.integers(2)]
    atoms = bulk("Cu", kind, a=1.0, cubic=True) * cells
    atoms *= (1, 1, rng.integers(1, 3))
    atoms.symbols = rng.choice(rng.choice(METALS, rng.integers(2, 6), replace=False), len(atoms))
    radii = covalent_radii[[atomic_numbers[s] for s in atoms.symbols]]
    volume = (4 / 3 * np.pi * radii**3).sum() / filled * rng.uniform(0.9, 1.1)
    cell = atoms.cell * (volume / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(0, rng.uniform(0.02, 0.2), atoms.positions.shape)
    return atoms


def label(path: Path, count: int, calculator: Calculator) -> None:
    """Alloys with the labels of a calculator."""
    rng, made = np.random.default_rng(0), []
    for _ in range(count):
        atoms = make_alloy(rng)
        atoms.calc = calculator
        found = {
            "energy": atoms.get_potential_energy(),
            "forces": atoms.get_forces(),
            "stress": atoms.get_stress(),
        }
        atoms.calc = SinglePointCalculator(atoms, **found)
        made.append(atoms)
    ase.io.write(path, made)


def learn_alloys(path: Path, sizes: list[int], epochs: int) -> None:
    """Errors against the number of training structures."""
    structures = ase.io.read(path, ":")
    test = structures[-TESTED:]
    for size in sizes:
        folder = path.parent / f"{path.stem}-{size}-{epochs}"
        folder.mkdir(exist_ok=True)
        ase.io.write(folder / "train.xyz", structures[:size])
        settings = {
            "data": {"train": folder / "train.xyz", "valid": size // 20},
            "max_epochs": epochs,
            "output": folder / f"run-{time.time_ns()}",
            "plots": False,
            "device": "cpu",
        }
        written, seconds = train(TrainConfig.model_validate(settings))
        print(f"{size} structures, {epochs} epochs, {seconds / 60:.1f} min of a core")
        for line in evaluate(load(written), test).lines:
            print(f"   {line}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("throughput", "train", "label", "alloys"))
    parser.add_argument("path", type=Path, nargs="?", default=Path("build/many_elements"))
    parser.add_argument("--structures", type=int, default=100_000)
    parser.add_argument("--elements", type=int, nargs="+", default=[2, 60])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--sizes", type=int, nargs="+", default=[250, 500, 1000])
    parser.add_argument("--epochs", type=int, default=40)
    given = parser.parse_args()
    if given.what == "throughput":
        compare_throughput(given.path, given.structures, given.elements, given.steps)
    elif given.what == "train":
        train_steps(given.path, given.steps)
    elif given.what == "alloys":
        learn_alloys(given.path, given.sizes, given.epochs)
    else:
        from sevenn.calculator import SevenNetCalculator

        label(given.path, max(given.sizes) + TESTED, SevenNetCalculator("7net-0", device="cpu"))


if __name__ == "__main__":
    main()
