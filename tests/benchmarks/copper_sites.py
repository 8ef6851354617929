"""Carbon monoxide on Cu(111) by a model with places: errors and site energies.

    python tests/benchmarks/copper_sites.py [--minutes 10] [--flat]

Trained on the 300 training frames of examples/data/co_copper.xyz on one thread. Prints the errors
of the test frames, and the molecule relaxed above each site of co_copper_sites.csv, beside the
potential that made the labels. --flat: a model of C_inf_v that knows heights only.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.constraints import FixCartesian
from ase.optimize import BFGS

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

DATA = Path(__file__).parents[2] / "examples" / "data"
SIDE = 3.615 / np.sqrt(2)  # Å
LATTICE = ((float(SIDE), 0.0), (float(SIDE / 2), float(SIDE * np.sqrt(3) / 2)))
PLANE = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 8.0, "surfaces": ("copper",)}
PLACES = {"environment": PLANE | {"lattice": LATTICE, "wallpaper": "p3m1"}}
FLAT = {"environment": PLANE, "group": "C_inf_v"}
SITES = {"top": (0.0, 0.0), "bridge": (0.5, 0.0), "fcc": (1 / 3, 1 / 3), "hcp": (2 / 3, 2 / 3)}
BOND = 1.15  # Å


def relaxed(model: ForceField, place: tuple[float, float], height: float) -> Atoms:
    """The molecule upright, carbon down, relaxed along z above a place of the cell."""
    atoms = Atoms("CO", [[0, 0, 0], [0, 0, BOND]], info={"surface": "copper"})
    atoms.positions += np.append(np.array(place) @ LATTICE, height)
    atoms.set_constraint(FixCartesian([0, 1], (True, True, False)))
    atoms.calc = SIKFFCalculator(model, dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=0.005, steps=200)
    return atoms


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--flat", action="store_true")
    parser.add_argument("--model", type=Path, help="trained before, to be evaluated alone")
    parser.add_argument("--output", type=Path, default=Path("runs/copper_benchmark"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    frames = ase.io.read(DATA / "co_copper.xyz", ":")
    sets = {
        kind: [a for a in frames if a.info["config_type"] == kind] for kind in ("train", "test")
    }
    ase.io.write(options.output / "train.xyz", sets["train"])
    config = TrainConfig(
        data={"train": options.output / "train.xyz", "valid": 30},
        model={"vacuum_group": "O(3)", "channels": 16, **(FLAT if options.flat else PLACES)},
        max_minutes=options.minutes,
        threads=1,
        output=options.output / "run",
    )
    model = load(options.model or fit(config, progress=False))
    metrics = evaluate(model, sets["test"]).metrics
    energy = 2 * metrics["energy_mae_mev_per_atom"]
    print(f"test frames: {metrics['force_mae_mev_per_a']:.1f} meV/Å, {energy:.1f} meV")
    free = Atoms("CO", [[0, 0, 0], [0, 0, BOND]], info={"surface": "vacuum"})
    free.calc = SIKFFCalculator(model, dtype="float64")
    BFGS(free, logfile=None).run(fmax=0.005)
    with (DATA / "co_copper_sites.csv").open(encoding="utf-8") as file:
        known = {row.pop("site"): tuple(map(float, row.values())) for row in csv.DictReader(file)}
    for name, place in SITES.items():
        atoms = relaxed(model, place, known[name][1])
        found = 1000 * (atoms.get_potential_energy() - free.get_potential_energy())
        print(
            f"{name:7s} {found:8.1f} meV, C at {atoms.positions[0, 2]:.3f} Å; "
            f"labels {known[name][0]:8.1f} meV, {known[name][1]:.3f} Å"
        )


if __name__ == "__main__":
    main()
