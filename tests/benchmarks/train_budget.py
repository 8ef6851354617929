"""Error on unseen frames after equal training time, beside other packages: measured only.

    python tests/benchmarks/train_budget.py train.xyz [test.xyz] --minutes 5 20 \
        [--compile] [--small] [--mace PYTHON] [--nequip PYTHON] [--threads 1] [--output budget]

PYTHON is the interpreter of an environment that has mace-torch or nequip. Trainings follow each
other, each in a process of its own; the time is that of training, without start and evaluation.
Settings are those the packages document for small molecules: mace-torch 64x0e+64x1o, batch 5, EMA,
AMSGrad, stage two for the last quarter (it counts epochs, so two short runs first tell how long one
lasts); nequip with 4 layers, l <= 1, 32 features, batch 5, EMA, plateau schedule. sikff: all
settings default, with --compile also once more with `compile: true`, not counting the compiling,
with --small with 16 channels (default: 32) and products of two (default: of three).
Writes budget.csv, draws budget.png, and goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from md_step import ENVIRONMENT, SMALL

CUTOFF, BATCH = 5.0, 5


class Run(NamedTuple):
    """A training: by which interpreter, how long, in which folder, on which data and device."""

    python: str
    minutes: float
    folder: Path
    data: Path
    device: str
    threads: int


def prepare(options: argparse.Namespace) -> None:
    """Splits off validation frames and writes all sets under labels that every package reads."""
    train = ase.io.read(options.train, ":")
    if options.test is None:
        test, train = drawn(train, options.held_out)
    else:
        test = ase.io.read(options.test, ":")
    valid, train = drawn(train, options.valid)
    sets = {"valid": valid, "train": train, "test": test[:: options.every]}
    for name, frames in sets.items():
        ase.io.write(options.output / f"{name}.xyz", [labelled(f) for f in frames])


def drawn(frames: list[Atoms], count: int) -> tuple[list[Atoms], list[Atoms]]:
    """So many of the frames, always the same, and the others; both in their order."""
    order = np.random.default_rng(0).permutation(len(frames))
    first, others = ([frames[k] for k in sorted(part)] for part in np.split(order, [count]))
    return first, others


def labelled(frame: Atoms) -> Atoms:
    """The same structure with labels in both common ways."""
    atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
    if "REF_energy" in frame.info:
        energy, forces = frame.info["REF_energy"], frame.arrays["REF_forces"]
    else:
        energy, forces = frame.get_potential_energy(), frame.get_forces()
    atoms.info["REF_energy"], atoms.arrays["REF_forces"] = float(energy), forces
    atoms.calc = SinglePointCalculator(atoms, energy=float(energy), forces=forces)
    return atoms


def call(command: Sequence[str], folder: Path, threads: int) -> None:
    """Runs a program; its output goes to a file of the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)}
    with (folder / "output.txt").open("w") as output:
        subprocess.run(
            command, cwd=folder, env=environment, stdout=output, stderr=output, check=True
        )


def train_sikff(run: Run, *, compiled: bool = False, model: dict[str, Any] | None = None) -> Path:
    config = {
        "model": model or {},
        "data": {"train": str(run.data / "train.xyz"), "valid": str(run.data / "valid.xyz")},
        "max_minutes": run.minutes,
        "device": run.device,
        "threads": run.threads,
        "compile": compiled,
        "output": str(run.folder / "run"),
    }
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.yaml").write_text(yaml.safe_dump(config))
    call([run.python, "-m", "sikff.training", "train", "config.yaml"], run.folder, run.threads)
    return run.folder / "run" / "model.sikff"


def train_mace(run: Run, *, e0s: str = "average", cutoff: float = CUTOFF) -> Path:
    def train(epochs: int, folder: Path) -> float:
        """Seconds of a run of so many epochs."""
        command = [str(Path(run.python).with_name("mace_run_train")), "--name=mace", "--model=MACE"]
        command += [f"--{name}_file={run.data / name}.xyz" for name in ("train", "valid")]
        command += [f"--E0s={e0s}", "--hidden_irreps=64x0e + 64x1o", f"--r_max={cutoff}"]
        command += [f"--batch_size={BATCH}", "--valid_batch_size=10", "--ema", "--ema_decay=0.99"]
        command += ["--amsgrad", "--energy_key=REF_energy", "--forces_key=REF_forces"]
        command += ["--default_dtype=float32", f"--device={run.device}", "--seed=0"]
        command += [f"--max_num_epochs={epochs}", "--eval_interval=1"]
        if epochs >= 4:
            command += ["--swa", f"--start_swa={3 * epochs // 4}"]
        start = time.perf_counter()
        call(command, folder, run.threads)
        return time.perf_counter() - start

    epoch = (train(3, run.folder / "three") - train(1, run.folder / "one")) / 2
    train(max(4, round(60 * run.minutes / epoch)), run.folder)
    return run.folder / "mace_stagetwo.model"


def train_nequip(run: Run) -> Path:
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "config.yaml").write_text(yaml.safe_dump(nequip_config(run)))
    command = [str(Path(run.python).with_name("nequip-train"))]
    command += ["-cp", str(run.folder), "-cn", "config", f"hydra.run.dir={run.folder}"]
    call(command, run.folder, run.threads)
    return run.folder / "best.ckpt"


def nequip_config(run: Run) -> dict[str, Any]:
    """The settings of nequip's tutorial, for these files."""
    elements = sorted(set(ase.io.read(run.data / "train.xyz").symbols))
    loader = {"_target_": "torch.utils.data.DataLoader", "num_workers": 0}
    metrics = {
        "_target_": "nequip.train.EnergyForceMetrics",
        "coeffs": {"total_energy_mae": 1.0, "forces_mae": 1.0},
    }
    monitored = "val0_epoch/weighted_sum"
    seconds = round(60 * run.minutes)
    return {
        "run": ["train"],
        "data": {
            "_target_": "nequip.data.datamodule.ASEDataModule",
            "seed": 0,
            "train_file_path": str(run.data / "train.xyz"),
            "val_file_path": str(run.data / "valid.xyz"),
            "transforms": [
                {
                    "_target_": "nequip.data.transforms.ChemicalSpeciesToAtomTypeMapper",
                    "model_type_names": elements,
                },
                {"_target_": "nequip.data.transforms.NeighborListTransform", "r_max": CUTOFF},
            ],
            "train_dataloader": {**loader, "batch_size": BATCH, "shuffle": True},
            "val_dataloader": {**loader, "batch_size": 10},
            "stats_manager": {
                "_target_": "nequip.data.CommonDataStatisticsManager",
                "dataloader_kwargs": {"batch_size": 10},
                "type_names": elements,
            },
        },
        "trainer": {
            "_target_": "lightning.Trainer",
            "accelerator": "cpu" if run.device == "cpu" else "gpu",
            "max_epochs": 10**6,
            "max_time": f"00:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}",
            "enable_progress_bar": False,
            "logger": False,
            "callbacks": [
                {
                    "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
                    "monitor": monitored,
                    "dirpath": "${hydra:runtime.output_dir}",
                    "filename": "best",
                }
            ],
        },
        "training_module": {
            "_target_": "nequip.train.EMALightningModule",
            "ema_decay": 0.999,
            "loss": {
                "_target_": "nequip.train.EnergyForceLoss",
                "per_atom_energy": True,
                "coeffs": {"total_energy": 1.0, "forces": 1.0},
            },
            "val_metrics": metrics,
            "train_metrics": metrics,
            "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.01},
            "lr_scheduler": {
                "scheduler": {
                    "_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau",
                    "factor": 0.6,
                    "patience": 5,
                    "threshold": 0.2,
                    "min_lr": 1e-6,
                },
                "monitor": monitored,
                "interval": "epoch",
                "frequency": 1,
            },
            "model": {
                "_target_": "nequip.model.NequIPGNNModel",
                "compile_mode": "eager",
                "seed": 0,
                "model_dtype": "float32",
                "type_names": elements,
                "r_max": CUTOFF,
                "num_layers": 4,
                "l_max": 1,
                "num_features": 32,
                "radial_mlp_depth": 2,
                "radial_mlp_width": 64,
                "avg_num_neighbors": "${training_data_stats:num_neighbors_mean}",
                "per_type_energy_scales": "${training_data_stats:per_type_forces_rms}",
                "per_type_energy_shifts": "${training_data_stats:per_atom_energy_mean}",
            },
        },
    }


TRAIN: dict[str, Callable[[Run], Path]] = {
    "sikff": train_sikff,
    "sikff compiled": partial(train_sikff, compiled=True),
    "sikff small": partial(train_sikff, model=SMALL),
    "mace": train_mace,
    "nequip": train_nequip,
}


def evaluate(package: str, model: Path, test: Path, device: str, threads: int) -> None:
    """Prints errors on the test frames as JSON; runs in the package's own environment."""
    import warnings

    import torch

    warnings.simplefilter("ignore")
    torch.set_num_threads(threads)
    if package.startswith("sikff"):
        from sikff.calculators import SIKFFCalculator

        calculator: Any = SIKFFCalculator(model, device=device)
    elif package == "mace":
        from mace.calculators import MACECalculator

        calculator = MACECalculator(model_paths=str(model), device=device, default_dtype="float32")
    else:
        from nequip.integrations.ase import NequIPCalculator

        calculator = NequIPCalculator._from_saved_model(str(model), device=device)
    energy, forces = [], []
    for frame in ase.io.read(test, ":"):
        atoms = Atoms(frame.numbers, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.calc = calculator
        forces.append(atoms.get_forces() - frame.arrays["REF_forces"])
        energy.append((atoms.get_potential_energy() - frame.info["REF_energy"]) / len(atoms))
    every = np.concatenate(forces)
    errors = {
        "force_mae": 1e3 * abs(every).mean(),
        "force_rmse": 1e3 * np.sqrt((every**2).mean()),
        "energy_mae": 1e3 * abs(np.array(energy)).mean(),
    }
    print(json.dumps({name: float(value) for name, value in errors.items()}))


def answer(command: Sequence[str]) -> Any:
    """What a program prints last, as JSON."""
    printed = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    printed.check_returncode()
    return json.loads(printed.stdout.splitlines()[-1])


def write(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """A table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Force error against training time."""
    from sikff.training.evaluation.plots import new_figure, save_figure

    figure, (ax,) = new_figure(1)
    for package in dict.fromkeys(row["package"] for row in rows):
        points = sorted(
            (float(row["minutes"]), float(row["force_mae"]))
            for row in rows
            if row["package"] == package
        )
        ax.plot(*zip(*points, strict=True), "o-", label=package)
    ax.set(xlabel="minutes of training", ylabel="test force MAE (meV/Å)", xscale="log")
    ax.set(yscale="log")
    ax.legend(frameon=False)
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path, nargs="?")
    parser.add_argument("--held-out", type=int, default=50, help="of train, without a test file")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 20])
    parser.add_argument("--valid", type=int, default=50, help="frames for validation")
    parser.add_argument("--every", type=int, default=1, help="test on every n-th frame")
    parser.add_argument("--compile", action="store_true", help="sikff with compile: true too")
    parser.add_argument("--small", action="store_true", help="a smaller sikff too")
    parser.add_argument("--mace", help="interpreter of an environment with mace-torch")
    parser.add_argument("--nequip", help="interpreter of an environment with nequip")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("budget"))
    parser.add_argument("--evaluate", choices=TRAIN, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.evaluate, options.train, options.test, options.device, options.threads)
        return
    options.output = options.output.resolve()
    options.output.mkdir(parents=True, exist_ok=True)
    table = options.output / "budget.csv"
    rows: list[dict[str, Any]] = []
    if table.exists():
        with table.open(newline="") as file:
            rows = list(csv.DictReader(file))
    else:
        prepare(options)
    pythons = {
        "sikff": sys.executable,
        "sikff compiled": sys.executable if options.compile else None,
        "sikff small": sys.executable if options.small else None,
        "mace": options.mace,
        "nequip": options.nequip,
    }
    for minutes in options.minutes:
        for package, python in pythons.items():
            done = any((r["package"], float(r["minutes"])) == (package, minutes) for r in rows)
            if python is None or done:
                continue
            folder = options.output / f"{package.replace(' ', '_')}_{minutes:g}"
            model = TRAIN[package](
                Run(python, minutes, folder, options.output, options.device, options.threads)
            )
            command = [python, __file__, str(model), str(options.output / "test.xyz")]
            command += ["--evaluate", package, "--device", options.device]
            command += ["--threads", str(options.threads)]
            errors = answer(command)
            rows.append({"package": package, "minutes": minutes, **errors})
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
            write(rows, table)
    draw(rows, options.output / "budget.png")


if __name__ == "__main__":
    main()
