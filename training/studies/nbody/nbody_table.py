"""Many trainings of the study: models x stiffness x seeds, that can be stopped and gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation.plots import BLUE, GREY, ORANGE, new_figure
from .. import table
from ..table import Results, values
from .nbody_study import STRENGTH, Study, run
from .particle_models import KINDS

COLOURS = (
    *(BLUE, ORANGE, "#3a9a5b", "#8c5fb0", "#c2485a", "#5f6b75", "#b59a2f", "#2fa6a0"),
    *("#8a5a3c", "#d58cb4"),
)

VARIED = ("model", "group", "stiffness", "field", "seed", "n_train")
AXES = {"stiffness": "stiffness of the springs to the plane", "field": "field along the axis"}

# Zhdanov, Hoffmann, Cesa, NeurIPS 2023, springs hidden
PAPER_STIFFNESS = (0, 1, 5, 10, 25, 50, 100, 200, 1000)
PAPER = {
    "mpnn": (0.0022, 0.0031, 0.0068, 0.0087, 0.0030, 0.0162, 0.0560, 0.0978, 0.1065),
    "segnn": (0.0009, 0.0092, 0.0117, 0.0183, 0.0291, 0.0151, 0.0229, 0.0938, 0.1313),
    "sik SO(2)": (0.0010, 0.0010, 0.0009, 0.0008, 0.0008, 0.0008, 0.0014, 0.0043, 0.0162),
}


def grid(
    base: Study,
    models: Sequence[str],
    strengths: Sequence[float],
    seeds: Sequence[int],
    n_train: Sequence[int],
) -> list[Study]:
    """All combinations, seed by seed, so that a table that was stopped has something of each.

    Args:
        base: everything else.
        models: as "segnn", or "sik:C_inf_v" for a kind whose group can be chosen.
        strengths: stiffnesses or fields, as the system of `base` has it.
        seeds: of the trainings.
        n_train: numbers of training trajectories.

    Raises:
        ValueError: settings that cannot be used.
    """
    studies, key = [], STRENGTH[base.system]
    for seed, n, k, model in product(seeds, n_train, strengths, models):
        name, _, group = model.partition(":")
        strength: dict[str, Any] = {key: k}
        study = replace(base, model=name, seed=seed, n_train=n, **strength)
        studies.append(replace(study, group=group) if group else study)
    return studies


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
        # the label tells the group
        settings=lambda study: {k: v for k, v in asdict(study).items() if k != "group"},
        words=lambda result: f"test MSE {result['test_mse']:.3g}",
        report=report,
    )


def collected(base: Study, folder: Path) -> list[dict[str, Any]]:
    """All results in a folder that differ from a study only in what tables vary, in order."""
    known, models = json.loads(json.dumps(asdict(base))), list(KINDS)
    results = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")]
    return sorted(
        (r for r in results if all(r.get(k) == v for k, v in known.items() if k not in VARIED)),
        key=lambda r: (
            r[STRENGTH[base.system]],
            models.index(r["model"]),
            r["label"],
            r["n_train"],
            r["seed"],
        ),
    )


def strength_figure(results: Results) -> Figure:
    """Test error against stiffness or field: a line for each model, from seed to seed a band.

    Args:
        results: sorted by stiffness or field; the most training trajectories count.
    """
    most = max(result["n_train"] for result in results)
    results = [result for result in results if result["n_train"] == most]
    figure, (ax,) = new_figure(1, width=7.5, height=4.5)
    key = _key(results)
    position = {k: float(i) for i, k in enumerate(values(results, key))}
    for colour, label in zip(_colours(results), values(results, "label"), strict=True):
        chosen = [result for result in results if result["label"] == label]
        _line(ax, chosen, key, position, colour)
        if label in PAPER and key == "stiffness" and results[0]["springs"] == "hidden":
            pairs = zip(PAPER_STIFFNESS, PAPER[label], strict=True)
            known = [(position[k], mse) for k, mse in pairs if k in position]
            ax.plot(
                *zip(*known, strict=True), "x", color=colour, alpha=0.4, label=f"{label}, paper"
            )
    floors = {position[each[key]]: each["floor"] for each in results if each["floor"]}
    if floors:
        ax.plot(list(floors), list(floors.values()), "--", color=GREY, label="smooth Bayes floor")
    ax.set_xticks(list(position.values()), [f"{k:g}" for k in position])
    ax.set(xlabel=AXES[key], ylabel="test MSE", yscale="log")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def sample_figure(results: Results) -> Figure:
    """Test error against the number of training trajectories, a panel for each strength.

    Args:
        results: with several numbers of trajectories at some strength at least.
    """
    key = _key(results)
    counts = {k: {r["n_train"] for r in results if r[key] == k} for k in values(results, key)}
    strengths = [k for k in counts if len(counts[k]) > 1]
    figure, axes = new_figure(len(strengths), width=4.6)
    for ax, k in zip(axes, strengths, strict=True):
        here = [result for result in results if result[key] == k]
        for colour, label in zip(_colours(results), values(results, "label"), strict=True):
            chosen = [result for result in here if result["label"] == label]
            position = {n: float(n) for n in values(chosen, "n_train")}
            _line(ax, chosen, "n_train", position, colour)
        if here[0]["floor"]:
            ax.axhline(here[0]["floor"], linestyle="--", color=GREY, label="smooth Bayes floor")
        ax.set(xlabel="training trajectories", ylabel="test MSE", xscale="log", yscale="log")
        ax.set_xticks(sorted(counts[k]), [str(n) for n in sorted(counts[k])])
        ax.set_xticks([], minor=True)
        ax.set_title(f"{key} {k:g}", fontsize=10)
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def markdown(results: Results) -> str:
    """Mean test errors and, where there are several seeds, standard deviations."""
    key = _key(results)
    columns = sorted({(each[key], each["n_train"]) for each in results})
    heads = [f"{key} {k:g}, {n} trajectories" for k, n in columns]
    if len({n for _, n in columns}) == 1:
        heads = [f"{key} {k:g}" for k, _ in columns]
    lines = [
        f"| model | weights | {' | '.join(heads)} |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for label in values(results, "label"):
        chosen = [each for each in results if each["label"] == label]
        cells = [_cell(chosen, column) for column in columns]
        lines.append(f"| {label} | {chosen[0]['n_parameters']} | {' | '.join(cells)} |")
    floors = {(each[key], each["n_train"]): each["floor"] for each in results}
    if any(floors.values()):
        shown = [f"{floors[c]:.2e}" if floors[c] else "" for c in columns]
        lines.append(f"| smooth Bayes floor | | {' | '.join(shown)} |")
    return "\n".join(lines) + "\n"


def _name(study: Study) -> str:
    """Of the file of a result, without suffix."""
    model = study.label.replace(" ", "_").replace("(", "").replace(")", "")
    what = study.springs if study.system == "springs" else study.system
    strength = f"{STRENGTH[study.system]}{study.strength:g}"
    return f"{what}_{strength}_{model}_n{study.n_train}_seed{study.seed}"


def _key(results: Results) -> str:
    """Name of what breaks the symmetry."""
    return STRENGTH[results[0]["system"]]


def _colours(results: Results) -> list[str]:
    n = len(values(results, "label"))
    return [COLOURS[i % len(COLOURS)] for i in range(n)]


def _line(ax: Axes, results: Results, name: str, position: dict[Any, float], colour: str) -> None:
    """Means over seeds as a line, from the lowest to the highest as a band."""
    errors: dict[float, list[float]] = {}
    for result in results:
        errors.setdefault(position[result[name]], []).append(result["test_mse"])
    x = sorted(errors)
    ax.plot(
        x, [np.mean(errors[at]) for at in x], "o-", ms=4, color=colour, label=results[0]["label"]
    )
    low, high = [min(errors[at]) for at in x], [max(errors[at]) for at in x]
    ax.fill_between(x, low, high, alpha=0.2, color=colour, linewidth=0)


def _cell(results: Results, column: tuple[float, int]) -> str:
    key = _key(results)
    errors = [each["test_mse"] for each in results if (each[key], each["n_train"]) == column]
    return table.cell(errors, ".2e", ".0e")
