"""From vacuum to field: how few frames in a field does a model need that knows the vacuum?

A model of O(3) is trained on free molecules (water, methanol, acetonitrile; the frames of
data/molecules_field.xyz without a field). In a field along z the symmetry is C_inf_v. The model is
*restricted* to this subgroup, which changes no prediction but unties its weights, and fine-tuned on
10 to 300 frames in fields of up to 1 V/Å. Rivals see the same frames: the sum of the frozen vacuum
model and a correction, the axial model from scratch, an O(3) model that is given the field as a
vector, from scratch and from the vacuum model, and the blind vacuum model, trained on.

    python examples/restriction.py

All trainings have the same time. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from side_by_side import folder, train

from sikff import load
from sikff.training.data.reading import read_structures
from sikff.training.evaluation.evaluate import evaluate
from sikff.training.evaluation.plots import new_figure, plain_numbers, save_figure

DATA = Path(__file__).parent / "data" / "molecules_field.xyz"
SIZES = (10, 30, 100, 300)
N_TEST, N_VALID = 300, 30
SIZE = {"channels": 16, "max_frequency": 2}
SCRATCH: dict[str, Any] = {"lr": 0.01}
TUNED: dict[str, Any] = {"lr": 0.003}  # of what a trained model already knows
FIELD, AXIAL = {"environment": {"field": True}}, {"group": "C_inf_v"}
VACUUM, VACUUM_OF_FIELD = "vacuum", "vacuum with a field input"
STARTS = {VACUUM: SIZE, VACUUM_OF_FIELD: SIZE | FIELD}
RIVALS: dict[str, dict[str, Any]] = {
    "restricted to C_inf_v": {"model": AXIAL | FIELD, "start": VACUUM, **TUNED},
    "vacuum + correction": {
        "model": AXIAL | FIELD | {"vacuum_group": "O(3)"},
        "start": VACUUM,
        "freeze_vacuum": True,
        **SCRATCH,
    },
    "C_inf_v from scratch": {"model": AXIAL | FIELD | SIZE, **SCRATCH},
    "O(3) with the field from vacuum": {"model": FIELD, "start": VACUUM_OF_FIELD, **TUNED},
    "O(3) with the field from scratch": {"model": FIELD | SIZE, **SCRATCH},
    "O(3) blind from vacuum": {"model": {}, "start": VACUUM, **TUNED},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("runs/restriction"))
    parser.add_argument("--minutes", type=float, default=0.75, help="training time of each model")
    parser.add_argument("--vacuum-minutes", type=float, default=3.0, help="that of the first")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="frames in the field")
    parser.add_argument("--together", type=int, default=2, help="trainings at a time")
    parser.add_argument("--free", type=int, help="frames of free molecules (all)")
    parser.add_argument("--test", type=int, default=N_TEST, help="frames to test on")
    options = parser.parse_args()
    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)

    write_frames(output, options.sizes, options.free, options.test)
    starts = {name: output / folder(name) / "model.sikff" for name in STARTS}
    if not all(path.exists() for path in starts.values()):
        print(f"training O(3) models of free molecules: {options.vacuum_minutes:g} minutes")
        data = {"train": str(output / "train_vacuum.xyz"), "valid": N_VALID}
        free = {name: {"model": model, "data": data, **SCRATCH} for name, model in STARTS.items()}
        train(output, free, options.vacuum_minutes)
    configs = {
        f"{name} {n}": config_of(name, n, output)
        for n in options.sizes
        for name in RIVALS
        if not (output / folder(f"{name} {n}") / "model.sikff").exists()
    }
    names = list(configs)
    for k in range(0, len(names), options.together):
        chosen = names[k : k + options.together]
        print(f"training {' and '.join(chosen)} ({k + len(chosen)} of {len(names)})")
        train(output, {name: configs[name] for name in chosen}, options.minutes)

    test = read_structures(output / "test.xyz")

    def error(name: str) -> float:
        model = load(output / folder(name) / "model.sikff")
        return evaluate(model, test).metrics["force_mae_mev_per_a"]

    errors = {name: [error(f"{name} {n}") for n in options.sizes] for name in RIVALS}
    errors["vacuum as it is"] = [error(VACUUM)] * len(options.sizes)
    write(errors, options.sizes, output / "errors.csv")
    draw(errors, options.sizes, output / "restriction.png")


def write_frames(output: Path, sizes: list[int], n_free: int | None, n_test: int) -> None:
    """Write the free molecules, a validation and a test set in fields, and nested training sets."""
    frames = ase.io.read(DATA, ":")
    isolated = [atoms for atoms in frames if len(atoms) == 1]
    molecules = [atoms for atoms in frames if len(atoms) > 1]
    in_field = [atoms for atoms in molecules if np.any(atoms.info["electric_field"])]
    free = [atoms for atoms in molecules if not np.any(atoms.info["electric_field"])]
    test, rest = in_field[:n_test], in_field[N_TEST:]
    sets = {"train_vacuum": isolated + free[:n_free], "test": test, "valid": rest[:N_VALID]}
    sets |= {f"train_{n}": isolated + rest[N_VALID : N_VALID + n] for n in sizes}
    for name, chosen in sets.items():
        ase.io.write(output / f"{name}.xyz", chosen)


def config_of(name: str, n: int, output: Path) -> dict[str, Any]:
    """The configuration of a rival trained on n frames."""
    config = dict(RIVALS[name])
    if "start" in config:
        model = str(output / folder(config["start"]) / "model.sikff")
        config["start"] = {"model": model, "freeze_vacuum": config.pop("freeze_vacuum", False)}
    data = {"train": str(output / f"train_{n}.xyz"), "valid": str(output / "valid.xyz")}
    return config | {"data": data}


def write(errors: dict[str, list[float]], sizes: list[int], path: Path) -> None:
    """Write and print the table: force MAE (meV/Å) of each model and number of frames."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["model", *sizes])
        print(f"\n{'force MAE (meV/Å), frames:':34s}" + "".join(f"{n:8d}" for n in sizes))
        for name, row in errors.items():
            table.writerow([name, *(f"{value:.2f}" for value in row)])
            print(f"{name:34s}" + "".join(f"{value:8.1f}" for value in row))


def draw(errors: dict[str, list[float]], sizes: list[int], path: Path) -> None:
    figure, (ax,) = new_figure(1, width=5.6, height=4.2)
    for name, row in errors.items():
        style = ":" if name.endswith("as it is") else "o-"
        ax.plot(sizes, row, style, label=name, ms=4)
    ax.set(xscale="log", yscale="log", xlabel="frames in a field", ylabel="force MAE (meV/Å)")
    for axis in (ax.xaxis, ax.yaxis):
        plain_numbers(axis)
    ax.legend(frameon=False, fontsize=8)
    save_figure(figure, path)
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
