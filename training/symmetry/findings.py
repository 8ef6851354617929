"""The result of a search: as a table, as JSON, as a picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sikff.groups import SymmetryGroup

from ..evaluation.plots import BLUE, GREY, ORANGE, new_figure
from .candidates import Candidate
from .lie import Defect, LieMatrix, Z

Array = np.ndarray

LOWEST = 1e-5  # on logarithmic axes


@dataclass(frozen=True, eq=False)
class Findings:
    """Which symmetry group to use, and why.

    Attributes:
        source: the data or the model, in words.
        group: the group to use.
        axis: of all axial and finite candidates, a unit vector [3].
        candidates: the largest first.
        lie: of the energy or the motion; None: not measured.
        environment: as in ``model.environment`` of a training.
        vacuum_group: of the network that does not see the environment; None: no such network.
        notes: for the user.
        quantity: of which the errors are.
        seconds: duration of the search.
    """

    source: str
    group: str
    axis: Array
    candidates: tuple[Candidate, ...]
    lie: LieMatrix | None
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    quantity: str = ""
    seconds: float = 0.0
    vacuum_group: str | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """As under ``model`` of a training configuration."""
        group = SymmetryGroup(self.group, self.axis)
        settings: dict[str, Any] = {"group": self.group}
        if self.vacuum_group is not None:
            settings["vacuum_group"] = self.vacuum_group
            if (self.axis != Z).any():
                settings["axis"] = self.axis.tolist()
        elif self.environment or (group.order > 1 and group.lie_dimension < 3):
            settings["axis"] = self.axis.tolist()
        return {**settings, "environment": {**self.environment}} if self.environment else settings

    @property
    def recommendation(self) -> str:
        """One line of YAML, as it stands in a training configuration."""
        text = yaml.safe_dump(
            {"model": self.settings}, default_flow_style=True, sort_keys=False, width=1000
        )
        return text.strip().removeprefix("{").removesuffix("}")

    @property
    def rotations(self) -> list[tuple[Array, Defect]]:
        """The eigenvectors of the Lie matrix and their defects, rising; empty without one."""
        return [] if self.lie is None else [*zip(self.lie.axes, self.lie.defects, strict=True)]

    @property
    def result(self) -> dict[str, Any]:
        """All of it; it can be written as JSON."""
        return {
            "source": self.source,
            "group": self.group,
            "axis": self.axis.tolist(),
            "environment": {**self.environment},
            "candidates": [asdict(candidate) for candidate in self.candidates],
            "quantity": self.quantity,
            "axes": [axis.tolist() for axis, _ in self.rotations],
            "defects": [defect.size for _, defect in self.rotations],
            "limits": [defect.limit for _, defect in self.rotations],
            "notes": [*self.notes],
            "seconds": self.seconds,
            "recommendation": self.recommendation,
        }

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it for the user."""
        lines = [self.source, ""]
        for axis, defect in self.rotations:
            verdict = "broken" if defect.is_broken else "a symmetry"
            change = f"change it by {defect.size:.1e} (limit {defect.limit:.1e}): {verdict}"
            lines.append(f"small rotations about [{_format_vector(axis, 4)}] {change}")
        lines += ["", f"{'group':9s} {'defect':>9s} {'copies':>9s} {'error':>17s}   verdict"]
        for each in self.candidates:
            sizes = ("" if x is None else f"{x:.1e}" for x in (each.defect, each.copies))
            columns = " ".join(f"{size:>9s}" for size in sizes)
            error = "" if each.error is None else f"{each.error:.3g} ± {each.deviation:.1g}"
            lines.append(f"{each.group:9s} {columns} {error:>17s}   {each.verdict}")
        if any(each.error is not None for each in self.candidates):
            lines.append(f"error: {self.quantity}, on test data")
        lines += ["", *self.notes]
        if "axis" in self.settings:
            angles = np.degrees(np.arccos(np.clip(self.axis, -1, 1)))
            lines.append("the axis is {:.1f}°, {:.1f}° and {:.1f}° from x, y and z".format(*angles))
        return (*lines, f"use  {self.recommendation}")


def draw_findings(findings: Findings) -> Figure:
    """Errors of the groups (without trainings, their defects), and the three small rotations."""
    figure, axes = new_figure(2 if findings.rotations else 1, width=4.8)
    _draw_candidates(axes[0], findings)
    if findings.rotations:
        _draw_rotations(axes[1], findings)
    return figure


def _draw_candidates(ax: Axes, findings: Findings) -> None:
    trained = [each for each in findings.candidates if each.error is not None]
    shown = trained or [each for each in findings.candidates if each.defect is not None]
    values = [each.error or max(each.defect or 0.0, LOWEST) for each in shown]
    colours = [BLUE if each.group == findings.group else GREY for each in shown]
    deviations = [each.deviation or 0 for each in shown] if trained else None
    ax.barh([each.group for each in shown], values, xerr=deviations, color=colours)
    ax.invert_yaxis()
    ax.set_title(f"use {findings.group}", fontsize=10)
    if trained:
        ax.set(xlabel=findings.quantity)
    else:
        ax.set(xlabel="relative defect", xscale="log", xlim=(LOWEST / 2, None))


def _draw_rotations(ax: Axes, findings: Findings) -> None:
    for x, (_, defect) in enumerate(findings.rotations):
        ax.bar(x, max(defect.size, LOWEST), color=ORANGE if defect.is_broken else BLUE)
        ax.plot([x - 0.45, x + 0.45], [defect.limit] * 2, "--", color="black", linewidth=1)
    labels = [_format_vector(axis, 2).replace(", ", "\n") for axis, _ in findings.rotations]
    ax.set_xticks(range(len(labels)), labels)
    ax.set(yscale="log", ylim=(LOWEST / 2, None), ylabel="relative change")
    ax.set_title("small rotations about an axis; below the line: a symmetry", fontsize=10)


def _format_vector(vector: Iterable[float], digits: int) -> str:
    return ", ".join(f"{round(x, digits) + 0.0:.{digits}f}" for x in vector)
