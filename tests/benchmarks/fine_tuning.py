"""Fine-tuning against training from scratch: 3BPA to ethanol, and Cu-Ni to platinum (EMT).

    python tests/benchmarks/fine_tuning.py molecules --bpa train_300K.xyz iso_atoms.xyz \
        --ethanol train.xyz isolated_atoms.xyz test_MD.xyz
    python tests/benchmarks/fine_tuning.py alloys --lr 0.003 0.01 0.03

A model of the old data is trained, then on a few frames of the new, with and without old structures
(data.replay), and one from scratch on the new ones alone, all for the same number of epochs of the
new data, on one thread. Prints errors in forces (MAE, meV/Å) in test frames of both, and CPU time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.fitting.fit import fit

Sets = dict[str, list[ase.Atoms]]


def free_atoms(path: Path) -> dict[str, float]:
    """Energies (eV) of free atoms."""
    return {a.symbols[0]: a.get_potential_energy() for a in ase.io.read(path, ":")}


def molecules(bpa: list[Path], ethanol: list[Path], frames: int) -> tuple[Sets, Sets]:
    old, new = ase.io.read(bpa[0], ":"), ase.io.read(ethanol[0], f":{frames}")
    return {"train": old[:400], "test": old[400:]}, {
        "train": new,
        "test": ase.io.read(ethanol[2], ":300"),
    }


def alloys(frames: int) -> tuple[Sets, Sets]:
    """Rattled and strained crystals of 32 atoms."""
    rng = np.random.default_rng(0)

    def crystals(count: int, elements: tuple[str, ...]) -> list[ase.Atoms]:
        made = []
        for _ in range(count):
            a = rng.uniform(3.5, 3.75 if "Pt" not in elements else 3.95)
            atoms = bulk("Cu", a=a, cubic=True) * 2
            atoms.symbols = rng.choice(elements, len(atoms))
            atoms.positions += rng.normal(0, 0.12, atoms.positions.shape)
            atoms.calc = EMT()
            found = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
            atoms.calc = SinglePointCalculator(atoms, **found)
            made.append(atoms)
        return made

    old, new = crystals(250, ("Cu", "Ni")), crystals(frames + 100, ("Cu", "Ni", "Pt"))
    return {"train": old[:200], "test": old[200:]}, {"train": new[:frames], "test": new[frames:]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("molecules", "alloys"))
    parser.add_argument("--bpa", type=Path, nargs=2)
    parser.add_argument("--ethanol", type=Path, nargs=3)
    parser.add_argument("--frames", type=int, default=30, help="of the new data")
    parser.add_argument("--epochs", type=int, nargs=2, default=(20, 60), help="of the old, the new")
    parser.add_argument("--lr", type=float, nargs="+", default=(0.003,), help="of fine-tuning")
    options = parser.parse_args()
    if options.what == "molecules":
        old, new = molecules(options.bpa, options.ethanol, options.frames)
        energies = {"old": free_atoms(options.bpa[1]), "new": free_atoms(options.ethanol[1])}
    else:
        old, new = alloys(options.frames)
        energies = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, sets in (("old", old), ("new", new)):
            for part, structures in sets.items():
                ase.io.write(folder / f"{kind}_{part}.xyz", structures)
        tests = {"old": old["test"], "new": new["test"]}
        some = np.random.default_rng(0).permutation(len(old["train"]))[: options.frames]
        again = [old["train"][n].copy() for n in some]
        for atoms, n in zip(again, some, strict=True):
            found = dict(old["train"][n].calc.results)
            if energies:  # of another method
                del found["energy"]
            atoms.calc = SinglePointCalculator(atoms, **found)
        ase.io.write(folder / "replay.xyz", again)

        def run(title: str, kind: str, epochs: int, data: dict[str, Any], **more: Any) -> Path:
            known = energies.get(kind, {})
            atoms = {"atomic_energies": known} if known else {}
            settings = {
                "data": {"train": folder / f"{kind}_train.xyz", "valid": 0.1, **data},
                "model": {"channels": 16, **atoms},
                "output": folder / title,
                "max_epochs": epochs,
                "batch_size": 5,
                "threads": 1,
                "plots": False,
                **more,
            }
            if "start" in more:
                settings["model"] = atoms
            start = time.process_time()
            path = fit(TrainConfig.model_validate(settings), report=print)
            seconds = time.process_time() - start
            errors = []
            for test in ("old", "new"):
                try:
                    metrics = evaluate(load(path), tests[test]).metrics
                    errors.append(f"{metrics['force_mae_mev_per_a']:.1f}")
                except ValueError:  # an element that it does not know
                    errors.append("-")
            print(f"RESULT {title}: old {errors[0]}, new {errors[1]} meV/Å, {seconds:.0f} s")
            return path

        first, second = options.epochs
        start = {"model": run("old", "old", first, {})}
        run("scratch", "new", second, {})
        for lr in options.lr:
            tune = {"start": start, "lr": lr}
            run(f"tuned, lr {lr:g}", "new", second, {}, **tune)
            replay = {"replay": folder / "replay.xyz"}
            run(f"tuned with replay, lr {lr:g}", "new", second, replay, **tune)


if __name__ == "__main__":
    main()
