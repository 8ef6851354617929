"""MACE as a rival in examples/restriction.py: a dummy atom stands for the field.

    python examples/restriction.py      # writes the frames
    python tests/benchmarks/dummy_field.py --mace PYTHON [--minutes 0.75 3.75] [--sizes 10 30]

PYTHON is the interpreter of an environment that has mace-torch. MACE has no input for a field, so
each molecule gets one more atom, above its centroid along the field: a noble gas, another for each
strength. The molecules are neutral, so the energy does not change when they are moved against the
dummy, and its force is labelled zero. Settings as in train_budget.py, but a cutoff that reaches
the dummy from everywhere, and energies of free atoms. The error is that of real atoms. Writes
dummy_field.csv.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from train_budget import Run, answer, train_mace, write

STRENGTHS = {0.257: "He", 0.514: "Ne", 0.771: "Ar", 1.028: "Kr"}  # V/Å
DISTANCE, CUTOFF = 3.5, 6.0  # Å


def with_dummy(frame: Atoms) -> Atoms:
    """The frame, with an atom that tells direction and strength of its field along z."""
    field = frame.info["electric_field"][2]
    if not field:
        return frame
    strength = min(STRENGTHS, key=lambda known: abs(known - field))
    above = frame.positions.mean(0) + np.array([0, 0, DISTANCE])
    atoms = frame + Atoms(STRENGTHS[strength], [above])
    forces = np.vstack([frame.arrays["REF_forces"], np.zeros(3)])
    atoms.set_array("REF_forces", forces)
    atoms.info |= frame.info
    return atoms


def free_atoms(frames: list[Atoms]) -> dict[int, float]:
    """Energies (eV) of the free atoms among the frames; those of dummies are 0."""
    energies = {int(f.numbers[0]): float(f.info["REF_energy"]) for f in frames if len(f) == 1}
    return energies | {int(Atoms(name).numbers[0]): 0.0 for name in STRENGTHS.values()}


def prepare(frames: Path, size: int, folder: Path) -> dict[int, float]:
    """Writes the sets of one training with dummies; tells the energies of free atoms."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = {"train": f"train_{size}", "valid": "valid", "test": "test"}
    read = {name: ase.io.read(frames / f"{file}.xyz", ":") for name, file in sets.items()}
    for name, chosen in read.items():
        # free atoms enter by their energies
        molecules = [with_dummy(frame) for frame in chosen if len(frame) > 1]
        ase.io.write(folder / f"{name}.xyz", molecules)
    return free_atoms(read["train"])


def evaluate(model: Path, test: Path) -> None:
    """Prints the force MAE (meV/Å) of real atoms; runs in the environment of mace-torch."""
    from mace.calculators import MACECalculator

    calculator = MACECalculator(model_paths=str(model), device="cpu", default_dtype="float32")
    errors = []
    for frame in ase.io.read(test, ":"):
        atoms = Atoms(frame.numbers, frame.positions, calculator=calculator)
        forces = atoms.get_forces()
        real = forces[:-1] + forces[-1] / (len(atoms) - 1)  # the dummy goes with the centroid
        errors.append(abs(real - frame.arrays["REF_forces"][:-1]).ravel())
    print(json.dumps(float(1e3 * np.concatenate(errors).mean())))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mace", help="interpreter of an environment with mace-torch")
    parser.add_argument("--frames", type=Path, default=Path("runs/restriction"))
    parser.add_argument("--minutes", type=float, nargs="+", default=[0.75, 3.75])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 30, 100, 300])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("runs/dummy_field"))
    parser.add_argument("--evaluate", type=Path, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluate:
        evaluate(*options.evaluate)
        return
    rows, output = [], options.output.resolve()
    for minutes in options.minutes:
        for size in options.sizes:
            folder = output / f"{size}_{minutes:g}"
            energies = prepare(options.frames, size, folder)
            run = Run(options.mace, minutes, folder, folder, "cpu", options.threads)
            model = train_mace(run, e0s=str(energies), cutoff=CUTOFF)
            command = [options.mace, __file__, "--evaluate", str(model), str(folder / "test.xyz")]
            rows.append({"minutes": minutes, "frames": size, "force_mae": answer(command)})
            print(", ".join(f"{name} {value:g}" for name, value in rows[-1].items()), flush=True)
            write(rows, output / "dummy_field.csv")


if __name__ == "__main__":
    main()
