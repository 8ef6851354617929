"""Many trainings of the study: variants x targets x seeds, that can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ...evaluation.plots import BLUE, ORANGE, new_figure
from .. import table
from ..table import Results, values
from .property_study import Study, run
from .qm9_dataset import Dataset


def grid(
    base: Study, variants: Sequence[str], targets: Sequence[str], seeds: Sequence[int]
) -> list[Study]:
    """All combinations, seed by seed, so that a table that was stopped has something of each.

    Raises:
        ValueError: settings that cannot be used.
    """
    return [
        replace(base, variant=variant, target=target, seed=seed)
        for seed, target, variant in product(seeds, targets, variants)
    ]


def run_all(
    studies: Sequence[Study],
    dataset: Dataset,
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
        lambda study: run(study, dataset, device=device, progress=progress).result,
        path=lambda study: folder / f"{study.target}_{study.variant}_seed{study.seed}.json",
        settings=lambda study: _settings(study, dataset),
        words=lambda result: f"test MAE {result['test_mae']:.4g} {result['unit']}",
        report=report,
    )


def markdown(results: Results) -> str:
    """Mean test errors and, where there are several seeds, standard deviations."""
    targets = values(results, "target")
    units = {each["target"]: each["unit"] for each in results}
    heads = [f"{target} ({units[target]})" for target in targets]
    lines = [
        f"| kernel | weights | {' | '.join(heads)} |",
        "|---" * (2 + len(targets)) + "|",
    ]
    for variant in values(results, "variant"):
        chosen = [each for each in results if each["variant"] == variant]
        cells = [table.cell(_errors(chosen, target), ".4g", ".2g") for target in targets]
        lines.append(f"| {variant} | {chosen[0]['n_parameters']} | {' | '.join(cells)} |")
    medians = [
        table.cell(_errors(results, target, "median_mae"), ".4g", ".2g") for target in targets
    ]
    lines.append(f"| always the median | | {' | '.join(medians)} |")
    return "\n".join(lines) + "\n"


def figure(results: Results) -> Figure:
    """Test errors, a panel for each target: bars are means, points are seeds."""
    targets, variants = values(results, "target"), values(results, "variant")
    drawn, axes = new_figure(len(targets))
    for ax, target in zip(axes, targets, strict=True):
        here = [each for each in results if each["target"] == target]
        for place, variant in enumerate(variants):
            errors = _errors([each for each in here if each["variant"] == variant], target)
            ax.bar(place, np.mean(errors), width=0.6, color=BLUE, alpha=0.75)
            ax.plot(np.full(len(errors), place), errors, "o", ms=5, color=ORANGE)
        ax.set_xticks(range(len(variants)), [name.replace("+", " +\n") for name in variants])
        ax.grid(visible=False, axis="x")
        ax.set(ylabel=f"test MAE ({here[0]['unit']})")
        ax.set_title(target, fontsize=10)
    return drawn


def _settings(study: Study, dataset: Dataset) -> dict[str, Any]:
    """What is known of a result beforehand."""
    settings = {**asdict(study), "data": dataset.name, "n_molecules": len(dataset)}
    return {name: value for name, value in settings.items() if value is not None}


def _errors(results: Results, target: str, name: str = "test_mae") -> list[float]:
    return [each[name] for each in results if each["target"] == target]
