"""Water on NaCl(001): frames needed by places, and by O(3) with the atoms of the slab.

    python tests/benchmarks/learning_curve.py places --frames 150 --minutes 4
    python tests/benchmarks/learning_curve.py slab --frames 150 --minutes 4

Both models are trained on the first frames of examples/data/water_nacl.xyz on one thread. That of
O(3) has 36 ions in every structure on the surface, periodic along it; forces on ions are no labels
(forces_mask). Prints the errors of the molecule in every third of the shipped copies, and the
processor's time. --steps instead of --minutes compares equal numbers of steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from water_on_salt import DATA, SALT, frames

from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

BOND = 5.64 / 2  # Å
CELLS = 3  # of the slab along each vector
BATCH = 5


def slab() -> Atoms:
    """Two layers of NaCl(001), as in examples/data/surface.py."""
    side = BOND * np.sqrt(2)
    layers = [(0, 0, 0), (side / 2, side / 2, 0), (side / 2, side / 2, -BOND), (0, 0, -BOND)]
    atoms = Atoms("NaClNaCl", layers, cell=(side, side, 60.0)).repeat((CELLS, CELLS, 1))
    atoms.pbc = (True, True, False)
    return atoms


def with_slab(atoms: Atoms) -> Atoms:
    """The molecule and the ions, whose forces are no labels; a molecule in vacuum as it is."""
    forces, energy = atoms.arrays["REF_forces"], atoms.info["REF_energy"]
    ions = slab()
    on_surface = atoms.info["surface"] != "vacuum"
    joined = Atoms(atoms.symbols, atoms.positions, cell=ions.cell, pbc=ions.pbc)
    joined += ions if on_surface else Atoms()
    if not on_surface:
        joined = Atoms(atoms.symbols, atoms.positions)
    joined.info["REF_energy"] = energy
    if "config_type" in atoms.info and len(atoms) == 1:
        joined.info["config_type"] = atoms.info["config_type"]
    joined.arrays["REF_forces"] = np.zeros((len(joined), 3))
    joined.arrays["REF_forces"][: len(atoms)] = forces
    joined.arrays["forces_mask"] = np.arange(len(joined)) < len(atoms)
    return joined


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=("places", "slab"))
    parser.add_argument("--frames", type=int, default=150)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--channels", type=int, default=16)
    parser.add_argument("--cutoff", type=float, default=5.0)
    parser.add_argument("--output", type=Path, default=Path("runs/learning_curve"))
    options = parser.parse_args()
    name = f"{options.model}_{options.frames}"
    folder = options.output / name
    folder.mkdir(parents=True, exist_ok=True)
    atoms = frames("IsolatedAtom") + frames("train")[: options.frames]
    copies = ase.io.read(DATA / "water_nacl_copies.xyz", "::3")
    model = {"vacuum_group": "O(3)", "environment": SALT}
    if options.model == "slab":
        atoms, copies = [with_slab(a) for a in atoms], [with_slab(a) for a in copies]
        model = {"group": "O(3)"}
    ase.io.write(folder / "train.xyz", atoms)
    n_valid = options.frames // 10
    per_epoch = -(-(options.frames - n_valid) // BATCH)
    limits = {"max_minutes": options.minutes} if options.minutes else {}
    if options.steps:
        limits = {"max_epochs": -(-options.steps // per_epoch)}
    config = TrainConfig(
        data={"train": folder / "train.xyz", "valid": n_valid},
        model=model | {"channels": options.channels, "cutoff": options.cutoff},
        batch_size=BATCH,
        threads=1,
        output=folder / "run",
        **limits,
    )
    start = time.process_time()
    trained = load(fit(config, progress=False))
    seconds = time.process_time() - start
    metrics = evaluate(trained, copies).metrics
    per_structure = metrics["energy_mae_mev_per_atom"] * len(copies[0])
    force = metrics["force_mae_mev_per_a"]
    print(f"{name}: {force:.1f} meV/Å, {per_structure:.1f} meV, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
