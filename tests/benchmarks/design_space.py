"""Force error against the settings of a force field at equal training time: measured only.

    python tests/benchmarks/design_space.py TRAIN TEST [--minutes M] [--output FOLDER]

Trains the default and one variant after the other for the same time on one core, and prints a
markdown table: error on the test frames, time of energy and forces for one of them, weights. A run
that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import numpy as np
import yaml

from sikff import load
from sikff.calculators import SIKFFCalculator

VARIANTS = {
    "default": {},
    "default, another seed": {"seed": 1},
    "kernel: 2 fields": {"model": {"kernel_fields": 2}},
    "kernel: 8 fields": {"model": {"kernel_fields": 8}},
    "kernel: 1 layer (classical)": {"model": {"kernel_layers": 1}},
    "kernel: 2 layers": {"model": {"kernel_layers": 2}},
    "frequencies to 2": {"model": {"max_frequency": 2}},
    "frequencies to 4": {"model": {"max_frequency": 4}},
    "features to frequency 3": {"model": {"feature_frequency": 3}},
    "cutoff 4": {"model": {"cutoff": 4.0}},
    "5 radial functions": {"model": {"radial_functions": 5}},
    "no many-body products": {"model": {"correlation": 1}},
    "products of two": {"model": {"correlation": 2}},
    "1 interaction layer": {"model": {"layers": 1}},
    "3 interaction layers": {"model": {"layers": 3}},
    "16 channels": {"model": {"channels": 16}},
    "64 channels": {"model": {"channels": 64}},
    "AdamW": {"optimiser": "adamw"},
    "learning rate 0.01": {"lr": 0.01},
    "learning rate 0.06": {"lr": 0.06},
    "batches of 3": {"batch_size": 3},
    "batches of 10": {"batch_size": 10},
    "squared errors": {"loss": {"kind": "mse"}},
    "Huber loss linear from 0.01": {"loss": {"delta": 0.01}},
    "no average of weights": {"ema": 0.0},
    "constant rate, average of weights 0.999": {
        "schedule": "plateau",
        "plateau_patience": 10**6,
        "ema": 0.999,
    },
    "weight decay 0.001": {"weight_decay": 0.001},
    "weight decay 0.01": {"weight_decay": 0.01},
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--isolated-atoms", type=Path)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--output", type=Path, default=Path("runs/design_space"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    data = {"train": str(options.train.resolve()), "valid": 50}
    if options.isolated_atoms:
        data["isolated_atoms"] = str(options.isolated_atoms.resolve())
    common = {"data": data, "max_minutes": options.minutes, "threads": 1}
    print("| settings | force MAE (meV/Å) | epochs | ms for energy and forces | weights |")
    print("|---|---|---|---|---|")
    for name in options.variants:
        folder = options.output / "".join(c if c.isalnum() else "_" for c in name)
        result = folder / "result.json"
        if not result.exists():
            run(folder, common | VARIANTS[name], options.test)
        row = json.loads(result.read_text(encoding="utf-8"))
        print(
            f"| {name} | {row['error']:.2f} | {row['epochs']} | {row['ms']:.1f} | "
            f"{row['weights']} |",
            flush=True,
        )


def run(folder: Path, config: dict[str, object], test: Path) -> None:
    """Train, evaluate and write ``result.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config | {"output": str(folder / "run")}), encoding="utf-8")
    sikff = [sys.executable, "-m", "sikff.training"]
    subprocess.run(
        [*sikff, "train", str(path), "--quiet", "--resume"], check=True, stdout=sys.stderr
    )
    model = folder / "run" / "model.sikff"
    written = folder / "test.json"
    evaluate = [*sikff, "evaluate", str(model), str(test), "--json", str(written)]
    subprocess.run(evaluate, check=True, stdout=sys.stderr)
    found = {
        "error": json.loads(written.read_text(encoding="utf-8"))["force_mae_mev_per_a"],
        "epochs": len((folder / "run" / "log.csv").read_text().splitlines()) - 1,
        "ms": milliseconds(model, test),
        "weights": sum(p.numel() for p in load(model).parameters()),
    }
    (folder / "result.json").write_text(json.dumps(found), encoding="utf-8")


def milliseconds(model: Path, test: Path) -> float:
    """Median over 50 calls of the calculator for a frame of the test data."""
    atoms = ase.io.read(test, 0)
    atoms.calc = SIKFFCalculator(model, device="cpu")
    seconds = []
    for seed in range(60):
        atoms.rattle(0.001, seed=seed)
        start = time.perf_counter()
        atoms.get_forces()
        seconds.append(time.perf_counter() - start)
    return 1000 * float(np.median(seconds[10:]))


if __name__ == "__main__":
    main()
