"""Memory and results of calculators over very many calls with changing structures.

    python tests/soak/calls.py --calls 1000000

Eager, replayed and static calculators and a committee take turns. Number of atoms, elements, cell,
periodic directions, electric field, surface and wanted properties change, mostly at once, and
atoms move in between. Resident memory is sampled a hundred times: the median of the last tenth may
not exceed that of the second tenth by more than 1 %. One call in a thousand is compared with a new
calculator.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import ase
import numpy as np
import torch
from ase.build import bulk, fcc111, molecule

sys.path.insert(0, str(Path(__file__).parents[1]))

from force_fields import force_field
from sikff.calculators import SIKFFCalculator

SURFACES = ("gold", "silver", "vacuum")
GROWTH = 0.01  # of the resident memory, at most
SAMPLES = 100
ERROR = 1e-9  # eV/Å


def make_calculators() -> dict[str, SIKFFCalculator]:
    """A calculator of each kind; all predict the same but the committee."""
    options = {
        "environment": {"field": True, "plane_origin": (0, 0, -2.0), "surfaces": SURFACES[:2]},
        "channels": 2,
        "layers": 1,
        "max_frequency": 1,
        "correlation": 2,
    }
    one, two = (force_field("C_inf_v", seed=seed, **options) for seed in range(2))
    longer = force_field("C_inf_v", seed=2, **{**options, "cutoff": 4.5})
    return {
        "eager": SIKFFCalculator(one, device="cpu", replay_after=None),
        "replayed": SIKFFCalculator(one, device="cpu", replay_after=5),
        "static": SIKFFCalculator(one, device="cpu", replay_after=0),
        "committee": SIKFFCalculator([one, two, longer], device="cpu", replay_after=3, skin=0.3),
    }


def random_structure(rng: np.random.Generator) -> ase.Atoms:
    """A molecule, crystal or slab of random elements in random conditions."""
    kind = rng.integers(4)
    if kind == 0:
        atoms = molecule(str(rng.choice(["H2O", "CH4", "CO", "CH3OH", "H"])))
    elif kind == 1:
        atoms = bulk("Al", cubic=bool(rng.integers(2))) * (int(rng.integers(1, 3)), 1, 1)
    elif kind == 2:
        atoms = fcc111("Al", (1, 1, int(rng.integers(1, 4))), vacuum=4.0)
        atoms.pbc = (True, True, False)
    else:
        atoms = molecule("C2H6", vacuum=3.0, pbc=bool(rng.integers(2)))
    if rng.integers(2):
        atoms.numbers = rng.choice([1, 6, 8, 13], len(atoms))
    if atoms.cell.volume:
        atoms.set_cell(atoms.cell * rng.uniform(0.95, 1.1, 3)[:, None], scale_atoms=True)
    atoms.info["electric_field"] = [0, 0, float(rng.choice([0, 0.1, -0.3]))]
    atoms.info["surface"] = str(rng.choice(SURFACES))
    return atoms


def walk(atoms: ase.Atoms, rng: np.random.Generator) -> Iterator[ase.Atoms]:
    """The structure as atoms move, and at times its cell, field, surface or an element."""
    for _ in range(rng.integers(1, 200)):
        atoms.positions += rng.normal(0, 0.01, atoms.positions.shape)
        change = rng.integers(40)
        if change == 0 and atoms.cell.volume:
            atoms.set_cell(atoms.cell * 1.001, scale_atoms=True)
        elif change == 1:
            atoms.numbers[rng.integers(len(atoms))] = rng.choice([1, 6, 8, 13])
        elif change == 2:
            atoms.info["electric_field"] = [0, 0, rng.normal(0, 0.1)]
        elif change == 3:
            atoms.info["surface"] = str(rng.choice(SURFACES))
        elif change == 4:
            atoms.wrap()
        yield atoms


def compute(calculator: SIKFFCalculator, atoms: ase.Atoms, rng: np.random.Generator) -> np.ndarray:
    """The forces, and at times more."""
    forces = calculator.get_property("forces", atoms)
    if atoms.cell.volume and rng.integers(10) == 0:
        calculator.get_property("stress", atoms)
    if rng.integers(100) == 0:
        calculator.get_field_response(atoms)
    return forces


def resident() -> float:
    """Resident memory of this process, MB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6


def run(calls: int, seed: int, only: str | None) -> bool:
    """Calls the calculators, prints memory and the largest error; returns whether both are good."""
    rng = np.random.default_rng(seed)
    calculators = make_calculators()
    names = list(calculators) if only is None else [only]
    memory, worst, start = list[float](), 0.0, time.perf_counter()
    gc.freeze()  # modules are not searched for garbage at each sample
    turns = itertools.cycle(names)
    done = 0
    while done < calls:
        name = next(turns)
        for atoms in walk(random_structure(rng), rng):
            forces = compute(calculators[name], atoms, rng)
            done += 1
            if done % 1000 == 0:
                fresh = SIKFFCalculator(
                    calculators[name].models, device="cpu", replay_after=None, skin=0.0
                )
                error = np.abs(forces - fresh.get_forces(atoms.copy())).max()
                worst = max(worst, error / max(1.0, np.abs(forces).max()))
            if done * SAMPLES // calls > len(memory):
                memory.append(resident())
                if len(memory) % 10 == 0:
                    seconds = time.perf_counter() - start
                    print(f"{done} calls, {seconds:.0f} s, {memory[-1]:.2f} MB", flush=True)
    tenth = SAMPLES // 10
    warm, end = (statistics.median(part) for part in (memory[tenth : 2 * tenth], memory[-tenth:]))
    good = end <= (1 + GROWTH) * warm and worst < ERROR
    print(f"resident memory {warm:.2f} MB after warm-up, {end:.2f} MB at the end")
    print(f"growth {end / warm - 1:.2%} (at most {GROWTH:.0%}), largest error {worst:.1e}")
    print("good" if good else "NOT GOOD")
    return good


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=make_calculators(), help="one kind of calculator")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    sys.exit(not run(given.calls, given.seed, given.only))
