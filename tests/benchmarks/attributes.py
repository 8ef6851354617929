"""What attributes of atoms cost: a step with a field or with places against one without.

    python tests/benchmarks/attributes.py [--rounds N] [--train EPOCHS]

Models take turns on one thread; times are CPU time, medians, of energies and forces of a calculator
after its first twenty calls, without and with operations replayed where they fit. ``--train`` also
trains both ways of reading a field for as many epochs on the shipped frames of methanol.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule

from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from sikff.training.config import TrainConfig
from sikff.training.evaluation.plots import read_log
from sikff.training.fitting.fit import fit

METHANOL = Path(__file__).parents[2] / "examples" / "data" / "methanol_field.xyz"
FIELDS: dict[str, dict[str, Any]] = {
    "blind": {"group": "O(3)"},
    "field read by edges": {
        "group": "O(3)",
        "environment": {"field": True, "kernels_read_field": True},
    },
    "field read by atoms": {"group": "O(3)", "environment": {"field": True}},
    "C_inf_v": {"group": "C_inf_v", "environment": {"field": True}},
}
FLAT = {"plane_origin": (0, 0, 0), "plane_range": 12.0}
SALT = {**FLAT, "lattice": ((3.988, 0), (0, 3.988)), "wallpaper": "p4mm"}
SURFACES: dict[str, dict[str, Any]] = {
    "flat": {"group": "C_inf_v", "environment": FLAT},
    **{f"{n} stars": {"environment": {**SALT, "stars": n}} for n in (1, 2, 3)},
}
SURFACES |= {
    f"{name}, vacuum": settings | {"vacuum_group": "O(3)"} for name, settings in SURFACES.items()
}


def waters(shape: tuple[int, int, int], spacing: float, height: float, seed: int = 0) -> Atoms:
    """Water molecules on a grid, turned at random."""
    rng, atoms = np.random.default_rng(seed), Atoms()
    for place in np.ndindex(shape):
        one = molecule("H2O")
        one.rotate(rng.uniform(0, 360), rng.normal(size=3))
        one.positions += spacing * np.array(place) + [0, 0, height]
        atoms += one
    return atoms


def medians(models: Mapping[str, dict[str, Any]], atoms: Atoms, rounds: int) -> dict[str, float]:
    """CPU time (ms) of a call of each model as atoms move by 0.01 Å."""
    copies = {}
    for name, settings in models.items():
        torch.manual_seed(0)
        model = ForceField(ForceFieldConfig(elements=("H", "O"), **settings)).eval()
        copies[name] = atoms.copy()
        copies[name].calc = SIKFFCalculator(model)
        if settings.get("environment", {}).get("field"):
            copies[name].info["electric_field"] = [0.0, 0.0, 0.1]
    times: dict[str, list[float]] = {name: [] for name in copies}
    rng = np.random.default_rng(1)
    for _ in range(rounds + 20):
        step = 0.01 * rng.normal(size=atoms.positions.shape)
        for name, copy in copies.items():
            copy.positions = atoms.positions + step
            start = time.process_time()
            copy.get_forces()
            times[name].append(time.process_time() - start)
    return {name: 1000 * float(np.median(of_model[20:])) for name, of_model in times.items()}


def show(title: str, times: Mapping[str, float]) -> None:
    print(f"\n{title}")
    first = next(iter(times.values()))
    for name, value in times.items():
        print(f"  {name:24} {value:8.2f} ms {value / first:6.2f}")


def train(epochs: int) -> None:
    print(f"\nmethanol in fields, {epochs} epochs: force MAE (meV/Å), energy MAE (meV/atom)")
    for name in ("field read by edges", "field read by atoms"):
        with tempfile.TemporaryDirectory() as folder:
            settings = {
                "data": {"train": METHANOL, "valid": 100},
                "model": {**FIELDS[name], "channels": 16},
                "max_epochs": epochs,
                "output": Path(folder) / "run",
                "threads": 1,
            }
            start = time.process_time()
            fit(TrainConfig.model_validate(settings), progress=False)
            log = read_log(Path(folder) / "run" / "log.csv")
        last = {key: float(log[key][-1]) for key in log}
        print(
            f"  {name:24} {last['force_mae_mev_per_a']:.2f} "
            f"{last['energy_mae_mev_per_atom']:.2f}, {time.process_time() - start:.0f} s"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--train", type=int, default=0, metavar="EPOCHS")
    options = parser.parse_args()
    torch.set_num_threads(1)
    box = waters((4, 4, 4), 3.1, 0.0)
    box.set_cell([12.4] * 3)
    box.pbc = True
    show("192 atoms of water, periodic", medians(FIELDS, box, options.rounds))
    for count in (1, 4):
        layer = waters((count, count, 1), 4.0, 3.0)
        for vacuum in (False, True):
            chosen = {n: s for n, s in SURFACES.items() if ("vacuum_group" in s) == vacuum}
            title = f"molecules on a surface: {count**2}{', vacuum_group O(3)' if vacuum else ''}"
            show(title, medians(chosen, layer, options.rounds))
    if options.train:
        train(options.train)


if __name__ == "__main__":
    main()
