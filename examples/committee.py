"""A committee knows what it does not know: its spread grows where the training data end.

Four force fields that differ in their seed are trained on one file and asked about another. Their
standard deviations of energy and forces are drawn against the energy of each structure above the
lowest one of the training set, and against the true error. By default: methanol without a field,
trained on the colder half of its frames. Your own data:

    python examples/committee.py --train train_300K.xyz --test train_mixedT.xyz --minutes 5
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms
from side_by_side import processes

from sikff.calculators import SIKFFCalculator
from sikff.training.config import TrainConfig
from sikff.training.console import progress_bar
from sikff.training.data.labels import find_label
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.plots import (
    BLUE,
    GREY,
    ORANGE,
    new_figure,
    plain_numbers,
    save_figure,
)
from sikff.training.fitting.fit import fit

DATA = Path(__file__).parent / "data" / "methanol_field.xyz"


def main(arguments: Sequence[str] | None = None) -> None:
    options = parsed(arguments)
    if options.output.exists():
        raise SystemExit(f"{str(options.output)!r} exists; remove it or choose another --output")
    options.output.mkdir(parents=True)
    train, test = frames(options)
    ase.io.write(options.output / "train.xyz", train)
    runs = [(options.output / f"member-{seed}", seed) for seed in range(options.members)]
    print(f"training {options.members} members for {options.minutes:g} minutes each ...")
    with processes(options.processes) as pool:
        jobs = [pool.submit(train_member, *run, options) for run in runs]
        models = [job.result() for job in progress_bar(jobs, unit="model")]

    table = ask(models, test)
    lowest = min(float(find_label(atoms, "energy").value) for atoms in train)
    trained = max(float(find_label(atoms, "energy").value) for atoms in train) - lowest
    table["excess"] -= lowest
    draw(table, trained, options.picture or options.output / "committee.png")
    known = table["excess"] <= trained
    for name, unit in (("energy_std", "meV/atom"), ("force_std", "meV/Å"), ("force_mae", "meV/Å")):
        inside, outside = (1000 * np.median(table[name][part]) for part in (known, ~known))
        print(f"{name:10s} {inside:6.2f} {unit} among the training energies, {outside:6.2f} above")


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--train", type=Path, help="labelled frames to train on")
    parser.add_argument("--test", type=Path, help="labelled frames to ask about")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("--minutes", type=float, default=1.0, help="of training, each (1.0)")
    parser.add_argument("--processes", type=int, default=2, help="members trained at a time (2)")
    parser.add_argument("--output", type=Path, default=Path("runs/committee"))
    parser.add_argument("--picture", type=Path, help="(OUTPUT/committee.png)")
    options = parser.parse_args(arguments)
    if (options.train is None) != (options.test is None):
        parser.error("give both --train and --test, or neither")
    return options


def frames(options: argparse.Namespace) -> tuple[list[Atoms], list[Atoms]]:
    """Training frames, and test frames that are not among them; isolated atoms are left out."""
    if options.train is not None:
        train, test = (
            [atoms for atoms in read_structures(path).atoms if len(atoms) > 1]
            for path in (options.train, options.test)
        )
    else:
        free = [
            atoms
            for atoms in read_structures(DATA).atoms
            if len(atoms) > 1 and not np.any(atoms.info["electric_field"])
        ]
        free.sort(key=lambda atoms: float(find_label(atoms, "energy").value))
        half = len(free) // 2
        train, test = free[:half:2], free[1:half:2] + free[half:]
    known = {atoms.positions.tobytes() for atoms in train}
    return train, [atoms for atoms in test if atoms.positions.tobytes() not in known]


def train_member(output: Path, seed: int, options: argparse.Namespace) -> Path:
    """Trains one force field."""
    settings = {
        "data": {"train": options.output / "train.xyz", "valid": 0.1},
        "output": output,
        "max_minutes": options.minutes,
        "seed": seed,
    }
    return fit(TrainConfig.model_validate(settings))


def ask(models: Sequence[Path], test: Sequence[Atoms]) -> dict[str, np.ndarray]:
    """Of each frame the energy (eV), deviations and errors (eV per atom, eV/Å per component)."""
    calculator = SIKFFCalculator(models)
    rows = []
    for frame in progress_bar(test, unit="frame"):
        atoms = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=frame.pbc)
        atoms.calc = calculator
        energy, forces = (find_label(frame, name).value for name in ("energy", "forces"))
        deviations = calculator.get_deviations(atoms)
        rows.append(
            {
                "excess": float(energy),
                "energy_std": deviations["energy_std"] / len(atoms),
                "force_std": float(np.sqrt(np.mean(deviations["forces_std"] ** 2))),
                "force_mae": float(np.abs(atoms.get_forces() - forces).mean()),
            }
        )
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


def draw(table: dict[str, np.ndarray], trained: float, path: Path) -> None:
    """Deviations against energy, and against the error."""
    figure, axes = new_figure(3)
    inside = table["excess"] <= trained
    shown = (
        ("excess", "energy_std", 1.0, "energy above the lowest (eV)", "energy, std (meV/atom)"),
        ("excess", "force_std", 1.0, "energy above the lowest (eV)", "forces, std (meV/Å)"),
        ("force_std", "force_mae", 1000.0, "forces, std (meV/Å)", "forces, true MAE (meV/Å)"),
    )
    for ax, (x, y, scale, across, up) in zip(axes, shown, strict=True):
        for part, colour, name in (
            (inside, BLUE, "energies as in training"),
            (~inside, ORANGE, "above"),
        ):
            ax.plot(scale * table[x][part], 1000 * table[y][part], ".", color=colour, label=name)
        ax.set(xlabel=across, ylabel=up, yscale="log")
        plain_numbers(ax.yaxis)
    for ax in axes[:2]:
        ax.axvline(trained, color=GREY, linewidth=1)
    axes[2].set(xscale="log")
    plain_numbers(axes[2].xaxis)
    axes[0].legend(frameon=False)
    save_figure(figure, path)


if __name__ == "__main__":
    main()
