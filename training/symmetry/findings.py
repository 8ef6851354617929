"""What was found: as a table, as JSON, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import yaml
from matplotlib.figure import Figure

from sikff.groups import SymmetryGroup

from ..evaluation.plots import BLUE, GREY, ORANGE, new_figure
from .lie import LieMatrix

Array = np.ndarray

LOWEST = 1e-5  # in pictures with logarithmic axes


@dataclass(frozen=True)
class Candidate:
    """A group, and what speaks for it or against it.

    Attributes:
        group: its name.
        defect: relative change of what should not change, under elements of the group; None: not
            measured.
        copies: the same of labelled frames that are copies of each other, turned by elements.
        error: of a model of this group on frames that it has not seen; None: not trained.
        deviation: standard error of that.
        verdict: what follows.
    """

    group: str
    defect: float | None
    copies: float | None
    error: float | None
    deviation: float | None
    verdict: str


@dataclass(frozen=True)
class Findings:
    """Which symmetry group to use, and why.

    Attributes:
        source: what was looked at.
        group: the group to use.
        axis: of all axial and finite candidates, a unit vector.
        environment: as in ``model.environment`` of a training.
        candidates: the largest first.
        quantity: what the errors are of.
        axes: unit eigenvectors of the Lie matrix, as rows; empty if there is none.
        defects: relative change under small rotations about these axes, rising.
        limits: defects below count as none.
        notes: what else the user should know.
        seconds: that it took.
    """

    source: str
    group: str
    axis: tuple[float, float, float]
    environment: dict[str, Any]
    candidates: tuple[Candidate, ...]
    quantity: str
    axes: tuple[tuple[float, ...], ...]
    defects: tuple[float, ...]
    limits: tuple[float, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def settings(self) -> dict[str, Any]:
        """As under ``model`` of a training configuration."""
        group = SymmetryGroup(self.group, self.axis)
        settings: dict[str, Any] = {"group": self.group}
        if self.environment or (group.order > 1 and group.lie_dimension < 3):
            settings["axis"] = list(self.axis)
        return {**settings, "environment": self.environment} if self.environment else settings

    @property
    def recommendation(self) -> str:
        """One line of YAML, as it stands in a training configuration."""
        text = yaml.safe_dump(
            {"model": self.settings}, default_flow_style=True, sort_keys=False, width=1000
        )
        return text.strip().removeprefix("{").removesuffix("}")

    @property
    def result(self) -> dict[str, Any]:
        """All of it; it can be written as JSON."""
        return {**asdict(self), "recommendation": self.recommendation}

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it for the user."""
        lines = [self.source, ""]
        for axis, defect, limit in zip(self.axes, self.defects, self.limits, strict=True):
            kept = "a symmetry" if defect < limit else "broken"
            change = f"change it by {defect:.1e} (limit {limit:.1e}): {kept}"
            lines.append(f"small turns about [{_numbers(axis, 4)}] {change}")
        lines += ["", f"{'group':9s} {'defect':>9s} {'copies':>9s} {'error':>17s}   verdict"]
        for each in self.candidates:
            error = "" if each.error is None else f"{each.error:.3g} ± {each.deviation:.1g}"
            lines.append(
                f"{each.group:9s} {_small(each.defect):>9s} {_small(each.copies):>9s} "
                f"{error:>17s}   {each.verdict}"
            )
        if any(each.error is not None for each in self.candidates):
            lines.append(f"error: {self.quantity}, on frames kept back")
        lines += ["", *self.notes]
        if "axis" in self.settings:
            angles = np.degrees(np.arccos(np.clip(self.axis, -1, 1)))
            lines.append("the axis is {:.1f}°, {:.1f}° and {:.1f}° from x, y and z".format(*angles))
        return (*lines, f"use  {self.recommendation}")


def findings(
    source: str,
    group: str,
    axis: Array,
    environment: dict[str, Any],
    candidates: tuple[Candidate, ...],
    lie: LieMatrix | None,
    notes: Sequence[str] = (),
    quantity: str = "",
) -> Findings:
    """Findings of arrays, which JSON does not know; their time is not known yet."""
    return Findings(
        source=source,
        group=group,
        axis=tuple(axis.tolist()),
        environment=environment,
        candidates=candidates,
        quantity=quantity,
        axes=() if lie is None else tuple(map(tuple, lie.axes.tolist())),
        defects=() if lie is None else tuple(defect.size for defect in lie.defects),
        limits=() if lie is None else tuple(defect.limit for defect in lie.defects),
        notes=tuple(notes),
        seconds=0.0,
    )


def draw(findings: Findings) -> Figure:
    """Errors of the groups (or, if nothing was trained, defects), and the three small turns."""
    trained = [each for each in findings.candidates if each.error is not None]
    figure, axes = new_figure(2 if findings.defects else 1, width=4.8)
    ax = axes[0]
    shown = trained or [each for each in findings.candidates if each.defect is not None]
    values = [each.error or max(each.defect or 0.0, LOWEST) for each in shown]
    colours = [BLUE if each.group == findings.group else GREY for each in shown]
    ax.barh([each.group for each in shown], values, color=colours)
    if trained:
        ax.errorbar(
            values,
            range(len(shown)),
            xerr=[each.deviation or 0 for each in shown],
            fmt="none",
            color="black",
        )
    ax.invert_yaxis()
    ax.set(xlabel=findings.quantity if trained else "relative defect")
    if not trained:
        ax.set(xscale="log", xlim=(LOWEST / 2, None))
    ax.set_title(f"use {findings.group}", fontsize=10)
    if findings.defects:
        ax = axes[1]
        place = np.arange(3)
        heights = np.maximum(findings.defects, LOWEST)
        kept = np.array(findings.defects) < findings.limits
        ax.bar(place, heights, color=np.where(kept, BLUE, ORANGE))
        for x, limit in zip(place, findings.limits, strict=True):
            ax.plot([x - 0.45, x + 0.45], [limit, limit], "--", color="black", linewidth=1)
        ax.set_xticks(place, [_numbers(axis, 2).replace(", ", "\n") for axis in findings.axes])
        ax.set(yscale="log", ylim=(LOWEST / 2, None), ylabel="relative change")
        ax.set_title("small turns about an axis; below the line: a symmetry", fontsize=10)
    return figure


def _small(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"


def _numbers(vector: Sequence[float], digits: int) -> str:
    return ", ".join(f"{round(x, digits) + 0.0:.{digits}f}" for x in vector)
