"""Water on NaCl(001) with all shipped frames: errors of copies, adsorption energy, barrier.

    python tests/benchmarks/water_on_salt.py [--minutes 60] [--frames 1000] [--channels 24] ...

Trains a model with places on the first frames of examples/data/water_nacl.xyz (train) and
water_nacl_more.xyz on one thread, and prints the force and energy MAE of the 67 test frames and of
water_nacl_copies.xyz, and adsorption energy and barrier beside those of water_nacl_sites.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.optimize import BFGS

from sikff import ForceField, load
from sikff.calculators import SIKFFCalculator
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

DATA = Path(__file__).parents[2] / "examples" / "data"
SIDE = float(5.64 / np.sqrt(2))  # Å
PLANE = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 12.0, "surfaces": ("nacl",)}
SALT = PLANE | {"lattice": ((SIDE, 0.0), (0.0, SIDE)), "wallpaper": "p4mm"}
SITE = [[0.73, 0.0, 2.03], [1.15, 0.76, 1.60], [1.15, -0.76, 1.60]]  # Å
SADDLE = [[1.994, 0.0, 2.36], [1.994, 0.77, 1.77], [1.994, -0.77, 1.77]]
FMAX = 0.002  # eV/Å


def frames(kind: str) -> list[Atoms]:
    """The frames of water_nacl.xyz of one config_type; those that were added are `train`."""
    found = ase.io.read(DATA / "water_nacl.xyz", ":")
    more = DATA / "water_nacl_more.xyz"
    found += ase.io.read(more, ":") if more.exists() else []
    return [atoms for atoms in found if atoms.info["config_type"] == kind]


def relaxed(model: ForceField, positions: list[list[float]] | np.ndarray, surface: str) -> float:
    """Energy (eV) after relaxation; a mirror plane keeps the saddle."""
    atoms = Atoms("OHH", positions, info={"surface": surface})
    atoms.calc = SIKFFCalculator(model, dtype="float64")
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=300)
    return atoms.get_potential_energy()


def show(model: ForceField, name: str, structures: list[Atoms]) -> None:
    """Prints the force and energy MAE."""
    metrics = evaluate(model, structures).metrics
    energy = 3 * metrics["energy_mae_mev_per_atom"]
    print(f"{name}: {metrics['force_mae_mev_per_a']:.2f} meV/Å, {energy:.2f} meV")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--valid", type=int, default=50, help="of these")
    parser.add_argument("--channels", type=int, default=24)
    parser.add_argument("--stars", type=int, default=1)
    parser.add_argument("--model", type=Path, help="trained before, to be evaluated alone")
    parser.add_argument("--output", type=Path, default=Path("runs/salt_benchmark"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    file = options.output / "train.xyz"
    ase.io.write(file, frames("IsolatedAtom") + frames("train")[: options.frames])
    environment = SALT | {"stars": options.stars}
    config = TrainConfig(
        data={"train": file, "valid": options.valid},
        model={
            "channels": options.channels,
            "vacuum_group": "O(3)",
            "environment": environment,
        },
        max_minutes=options.minutes,
        threads=1,
        output=options.output / "run",
    )
    model = load(options.model or fit(config, progress=False))
    show(model, "test frames", frames("test"))
    show(model, "copies", ase.io.read(DATA / "water_nacl_copies.xyz", ":"))
    free = relaxed(model, molecule("H2O").positions, "vacuum")
    site, saddle = (relaxed(model, start, "nacl") for start in (SITE, SADDLE))
    reference = json.loads((DATA / "water_nacl_sites.json").read_text())
    bound, hop = (reference[place]["energy_meV"] for place in ("minimum", "hop"))
    rows = {"adsorption": (site - free, bound), "barrier": (saddle - site, hop - bound)}
    for name, (energy, known) in rows.items():
        print(f"{name} {1000 * energy:.1f} meV; GFN1-xTB {known:.1f}")


if __name__ == "__main__":
    main()
