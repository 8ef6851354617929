"""Energy and forces of 16 molecules of water on NaCl(001): places against the slab's atoms.

    PYTHON tests/benchmarks/salt_step.py [--calls 7]

Models with places take the 48 atoms of the molecules; O(3), and MACE if PYTHON has mace-torch,
those of two layers of NaCl as well (624 atoms). One thread, one process, models in turns, time of
the processor. Weights are random. The molecules move by 0.01 Å between calls, the slab does not;
neighbour lists are included. sikff answers as a calculator does after ten calls (replayed).
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from md_step import MACE, mace_calculator

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator

BOND = 5.64 / 2  # Å
SIDE = BOND * np.sqrt(2)
APART = 3  # cells between molecules
ELEMENTS = ("H", "O", "Na", "Cl")
PLANE = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 12.0}
PLACES = PLANE | {"lattice": ((SIDE, 0.0), (0.0, SIDE)), "wallpaper": "p4mm"}
OURS: dict[str, dict[str, Any]] = {
    "places": {"environment": PLACES},
    "places, vacuum": {"environment": PLACES, "vacuum_group": "O(3)"},
    "O(3), slab": {"group": "O(3)"},
}


def systems() -> tuple[Atoms, Atoms]:
    """The molecules alone, and on the slab."""
    layers = [(0, 0, 0), (SIDE / 2, SIDE / 2, 0), (SIDE / 2, SIDE / 2, -BOND), (0, 0, -BOND)]
    slab = Atoms("NaClNaCl", layers, cell=(SIDE, SIDE, 60.0)).repeat((4 * APART, 4 * APART, 1))
    slab.pbc = (True, True, False)
    rng, water = np.random.default_rng(0), Atoms(cell=slab.cell, pbc=slab.pbc)
    for index in np.ndindex(4, 4):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += [APART * SIDE * index[0] + 0.7, APART * SIDE * index[1], 2.9]
        water += one
    return water, water + slab


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--calls", type=int, default=7)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    water, both = systems()
    candidates = {}
    for name, settings in OURS.items():
        torch.manual_seed(0)
        config = ForceFieldConfig(elements=ELEMENTS, average_neighbours=30.0, **settings)
        atoms = (both if name.endswith("slab") else water).copy()
        atoms.calc = SIKFFCalculator(ForceField(config), replay_after=0)
        candidates[name] = atoms
    if importlib.util.find_spec("mace"):
        for name, hidden in MACE.items():
            atoms = both.copy()
            atoms.calc = mace_calculator(hidden, "cpu", 30.0, ELEMENTS)
            candidates[f"{name}, slab"] = atoms
    starts = {name: atoms.positions.copy() for name, atoms in candidates.items()}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    rng = np.random.default_rng(1)
    for _ in range(options.calls + 2):
        moves = 0.01 * rng.normal(size=(len(water), 3))
        for name, atoms in candidates.items():
            atoms.positions = starts[name]
            atoms.positions[: len(water)] += moves
            start = time.process_time()
            atoms.get_potential_energy(), atoms.get_forces()
            seconds[name].append(time.process_time() - start)
    medians = {name: float(np.median(each[2:])) for name, each in seconds.items()}
    print(f"{'':28s}      ms   over places   over places, vacuum")
    for name, median in medians.items():
        ratios = [median / medians[over] for over in ("places", "places, vacuum")]
        print(f"{name:28s} {1e3 * median:7.1f} {ratios[0]:10.1f} {ratios[1]:15.1f}", flush=True)


if __name__ == "__main__":
    main()
