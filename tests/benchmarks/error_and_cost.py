"""Draws error after equal training time against the time of a step of MD: what others measured.

    python tests/benchmarks/error_and_cost.py md.json ethanol=budget.csv [3BPA=other.csv ...]
        [--minutes 20] [--output error_and_cost.png]

md.json is of `md_step.py --small --mace PYTHON --json md.json`, with 27 atoms; each budget.csv of
`train_budget.py --small --mace PYTHON`. Only settings that both have measured are shown.
"""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path

from sikff.training.evaluation.plots import BLUE, ORANGE, new_figure, plain_numbers, save_figure

# package of train_budget: model of md_step, label, colour, where the label is
SHOWN = {
    "sikff": ("sikff O(3) replayed", "sikff", BLUE, (9, -14), "left"),
    "sikff small": ("sikff O(3) small replayed", "sikff, small", BLUE, (5, 17), "left"),
    "mace": ("mace 64x0e+64x1o", "MACE 64x0e + 64x1o", ORANGE, (-9, 0), "right"),
}


def force_errors(path: Path, minutes: float) -> dict[str, float]:
    """Force MAE (meV/Å) of each package after so many minutes of training."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if float(row["minutes"]) == minutes]
    return {row["package"]: float(row["force_mae"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("steps", type=Path, help="JSON of md_step.py")
    parser.add_argument("budgets", nargs="+", metavar="NAME=CSV", help="of train_budget.py")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--output", type=Path, default=Path("error_and_cost.png"))
    options = parser.parse_args()
    steps = json.loads(options.steps.read_text(encoding="utf-8"))["bpa"]
    figure, axes = new_figure(len(options.budgets))
    for ax, budget in zip(axes, options.budgets, strict=True):
        name, _, path = budget.partition("=")
        errors = force_errors(Path(path), options.minutes)
        for package, (model, label, colour, place, side) in SHOWN.items():
            if package not in errors or model not in steps:
                continue
            ms, error = steps[model]["ms"], errors[package]
            ax.plot(ms, error, "o", color=colour, ms=9)
            where = {"xytext": place, "textcoords": "offset points", "ha": side, "va": "center"}
            ax.annotate(f"{label}\n{error:.1f} meV/Å, {ms:.2g} ms", (ms, error), **where)
        ax.set(xscale="log", yscale="log", title=name, xlim=(2, 200))
        ax.set(xlabel="a step of MD, 27 atoms, one core (ms)")
        ax.set(ylabel=f"force MAE after {options.minutes:g} min of training (meV/Å)")
        ax.margins(y=0.25)
        plain_numbers(ax.xaxis), plain_numbers(ax.yaxis)
    save_figure(figure, options.output)


if __name__ == "__main__":
    main()
