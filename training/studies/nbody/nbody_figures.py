"""Figures of the N-body study: test error against what breaks the symmetry, and against data."""

from __future__ import annotations

from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...evaluation.plots import BLUE, GREY, ORANGE, new_figure
from ..study_table import Results, values

COLOURS = (
    *(BLUE, ORANGE, "#3a9a5b", "#8c5fb0", "#c2485a", "#5f6b75", "#b59a2f", "#2fa6a0"),
    *("#8a5a3c", "#d58cb4"),
)
BAYES_ERROR = "smooth Bayes error"
AXES = {"stiffness": "stiffness of the springs to the plane", "field": "field along the axis"}

# Zhdanov, Hoffmann, Cesa, NeurIPS 2023, springs hidden
PAPER_STIFFNESS = (0, 1, 5, 10, 25, 50, 100, 200, 1000)
PAPER = {
    "mpnn": (0.0022, 0.0031, 0.0068, 0.0087, 0.0030, 0.0162, 0.0560, 0.0978, 0.1065),
    "segnn": (0.0009, 0.0092, 0.0117, 0.0183, 0.0291, 0.0151, 0.0229, 0.0938, 0.1313),
    "sik SO(2)": (0.0010, 0.0010, 0.0009, 0.0008, 0.0008, 0.0008, 0.0014, 0.0043, 0.0162),
}


def strength_figure(results: Results, strength: str) -> Figure:
    """Test error against stiffness or field: a line for each model, a band over its seeds.

    Args:
        results: sorted by strength; only those with the most training trajectories are drawn.
        strength: "stiffness" or "field".
    """
    most = max(result["n_train"] for result in results)
    results = [result for result in results if result["n_train"] == most]
    figure, (ax,) = new_figure(1, width=7.5, height=4.5)
    position = {k: float(i) for i, k in enumerate(values(results, strength))}
    for label, colour in zip(values(results, "label"), cycle(COLOURS), strict=False):
        _draw_line(ax, results, label, strength, position, colour)
        if label in PAPER and strength == "stiffness" and results[0]["springs"] == "hidden":
            pairs = zip(PAPER_STIFFNESS, PAPER[label], strict=True)
            known = [(position[k], mse) for k, mse in pairs if k in position]
            ax.plot(
                *zip(*known, strict=True), "x", color=colour, alpha=0.4, label=f"{label}, paper"
            )
    bayes = {position[each[strength]]: each["floor"] for each in results if each["floor"]}
    if bayes:
        ax.plot(list(bayes), list(bayes.values()), "--", color=GREY, label=BAYES_ERROR)
    ax.set_xticks(list(position.values()), [f"{k:g}" for k in position])
    ax.set(xlabel=AXES[strength], ylabel="test MSE", yscale="log")
    ax.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def sample_figure(results: Results, strength: str) -> Figure:
    """Test error against the number of training trajectories, a panel for each strength.

    Args:
        results: with several numbers of trajectories for one strength at least.
        strength: "stiffness" or "field".
    """
    panels = {k: [r for r in results if r[strength] == k] for k in values(results, strength)}
    panels = {k: panel for k, panel in panels.items() if len(values(panel, "n_train")) > 1}
    figure, axes = new_figure(len(panels), width=4.6)
    for ax, (k, panel) in zip(axes, panels.items(), strict=True):
        counts = sorted(values(panel, "n_train"))
        for label, colour in zip(values(results, "label"), cycle(COLOURS), strict=False):
            _draw_line(ax, panel, label, "n_train", {n: float(n) for n in counts}, colour)
        if panel[0]["floor"]:
            ax.axhline(panel[0]["floor"], linestyle="--", color=GREY, label=BAYES_ERROR)
        ax.set(xlabel="training trajectories", ylabel="test MSE", xscale="log", yscale="log")
        ax.set_xticks(counts, [str(n) for n in counts])
        ax.set_xticks([], minor=True)
        ax.set_title(f"{strength} {k:g}", fontsize=10)
    axes[-1].legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _draw_line(
    ax: Axes, results: Results, label: str, name: str, position: dict[Any, float], colour: str
) -> None:
    """Means over seeds as a line, from the lowest to the highest as a band."""
    errors: dict[float, list[float]] = {}
    for result in results:
        if result["label"] == label:
            errors.setdefault(position[result[name]], []).append(result["test_mse"])
    x = sorted(errors)
    ax.plot(x, [np.mean(errors[at]) for at in x], "o-", ms=4, color=colour, label=label)
    low, high = [min(errors[at]) for at in x], [max(errors[at]) for at in x]
    ax.fill_between(x, low, high, alpha=0.2, color=colour, linewidth=0)
