"""Many trainings of the study: groups x kernels x seeds, that can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...evaluation.plots import BLUE, GREY, ORANGE, new_figure
from .. import table
from ..table import Results, values
from .shapes_study import Study, run

COLOURS = {"implicit": BLUE, "analytic": ORANGE, "escnn": "#3f8f5f"}


def grid(
    base: Study, groups: Sequence[str], kernels: Sequence[str], seeds: Sequence[int]
) -> list[Study]:
    """All combinations, seed by seed, so that a table that was stopped has something of each.

    Raises:
        ValueError: settings that cannot be used.
    """
    return [
        replace(base, group=group, kernel=kernel, seed=seed)
        for seed, kernel, group in product(seeds, kernels, groups)
    ]


def run_all(
    studies: Sequence[Study],
    folder: Path,
    *,
    device: str = "cpu",
    progress: bool = False,
    report: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Results of all studies; those whose file is in the folder are not run again.

    Raises:
        ValueError: a file in the folder is of other settings.
    """
    return table.run_all(
        studies,
        lambda study: run(study, device=device, progress=progress).result,
        path=lambda study: folder / f"{_name(study)}.json",
        settings=lambda study: asdict(replace(study, group=study.symmetry)),
        words=lambda result: f"test accuracy {result['test_accuracy']:.3f}",
        report=report,
    )


def accuracy_figure(results: Results) -> Figure:
    """A bar for each group and kernel, from seed to seed a line, and the bound above it."""
    groups, kernels = values(results, "group"), values(results, "kernel")
    figure, (ax,) = new_figure(1, width=1.5 + 0.75 * len(groups), height=3.8)
    width = 0.8 / len(kernels)
    for k, kernel in enumerate(kernels):
        at = np.arange(len(groups)) + (k - (len(kernels) - 1) / 2) * width
        found = [_accuracies(results, group, kernel) for group in groups]
        mean = np.array([np.mean(each) for each in found])
        spread = [mean - [min(each) for each in found], [max(each) for each in found] - mean]
        ax.bar(at, mean, 0.9 * width, yerr=spread, color=COLOURS[kernel], label=kernel, capsize=2)
    bounds = {each["group"]: each["bound"] for each in results}
    if None not in bounds.values():
        centre = np.arange(len(groups))
        ax.hlines(list(bounds.values()), centre - 0.45, centre + 0.45, color="black", label="bound")
    ax.axhline(1 / results[0]["n_classes"], linestyle="--", color=GREY, label="chance")
    ax.set_xticks(range(len(groups)), groups, rotation=45, ha="right")
    ax.set(ylabel="test accuracy", ylim=(0, 1.05))
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def markdown(results: Results) -> str:
    """Mean accuracies and, where there are several seeds, standard deviations."""
    kernels = values(results, "kernel")
    lines = [
        f"| group | bound | {' | '.join(kernels)} |",
        "|---" * (2 + len(kernels)) + "|",
    ]
    for group in values(results, "group"):
        best = next(each["bound"] for each in results if each["group"] == group)
        found = [_accuracies(results, group, kernel) for kernel in kernels]
        cells = [table.cell(accuracies, ".3f", ".3f") for accuracies in found]
        shown = "" if best is None else f"{best:.3f}"
        lines.append(f"| {group} | {shown} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _name(study: Study) -> str:
    """Of the file of a result, without suffix."""
    label = study.label.translate(str.maketrans(" ", "_", "(),"))
    return f"{label}_seed{study.seed}"


def _accuracies(results: Results, group: str, kernel: str) -> list[float]:
    """From seed to seed."""
    chosen = [each for each in results if (each["group"], each["kernel"]) == (group, kernel)]
    return [each["test_accuracy"] for each in chosen]
