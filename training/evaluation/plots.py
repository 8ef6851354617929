"""Figures, drawn without pyplot: no global state, no screen."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from sikff.atomic_write import complete

from .evaluate import Evaluation

BLUE, ORANGE, GREY = "#2f6fb0", "#d9772b", "#888888"
_LABELS = {
    "energy": ("energy from mean", "eV/atom", "meV/atom"),
    "forces": ("force component", "eV/Å", "meV/Å"),
    "stress": ("stress component", "eV/Å³", "meV/Å³"),
}


def new_figure(columns: int, width: float = 4.2, height: float = 3.8) -> tuple[Figure, list[Axes]]:
    """A figure with axes side by side, in one plain style."""
    figure = Figure(figsize=(width * columns, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = list(figure.subplots(1, columns, squeeze=False)[0])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(color="#eeeeee", linewidth=0.8)
        ax.set_axisbelow(True)
    return figure, axes


def plain_numbers(axis: Axis) -> None:
    """Labels a logarithmic axis with 30, 100, ... instead of powers of ten."""
    for set_formatter in (axis.set_major_formatter, axis.set_minor_formatter):
        set_formatter(LogFormatter(minor_thresholds=(2, 0.5)))


def plane_directions(normal: np.ndarray) -> np.ndarray:
    """Two directions [3, 2] along a plane, x first where that is possible, seen from above."""
    towards = np.eye(3)[0 if abs(normal[0]) < 0.9 else 1]
    right = towards - (towards @ normal) * normal
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(normal, right)], axis=1)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Writes a figure; the format follows the suffix."""
    with complete(path) as temporary:
        figure.savefig(temporary, dpi=150)


@contextmanager
def picture_may_fail(path: str | Path) -> Iterator[None]:
    """Turns errors raised inside, where a picture is drawn and written, into a warning: the results
    beside it are worth more."""
    try:
        yield
    except Exception as error:  # matplotlib raises anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        warnings.warn(f"no picture {str(path)!r} ({reason})", stacklevel=3)


def parity(evaluation: Evaluation, title: str = "") -> Figure:
    """Plots prediction against label, a panel for each quantity."""
    figure, axes = new_figure(len(evaluation.pairs))
    for ax, (name, (label, predicted)) in zip(axes, evaluation.pairs.items(), strict=True):
        quantity, unit, small = _LABELS[name]
        kinds = np.repeat(evaluation.symbols, 3) if name == "forces" else np.full(label.size, "")
        counted = ~np.isnan(label.ravel())
        label, predicted, kinds = (each.ravel()[counted] for each in (label, predicted, kinds))
        mae = 1000 * np.abs(predicted - label).mean()
        if name == "energy":
            label, predicted = label - label.mean(), predicted - label.mean()
        for kind in np.unique(kinds):
            here = kinds == kind
            ax.plot(label[here], predicted[here], ".", ms=4, alpha=0.5, mew=0, label=kind)
        ends = [min(label.min(), predicted.min()), max(label.max(), predicted.max())]
        ax.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
        ax.set(xlabel=f"reference {quantity} ({unit})", ylabel=f"predicted {quantity} ({unit})")
        ax.set_title(f"MAE {mae:.3g} {small}", fontsize=10)
        ax.set_aspect("equal", adjustable="datalim")
        if name == "forces":
            ax.legend(frameon=False, markerscale=2)
    if title:
        figure.suptitle(title)
    return figure


def learning_curves(log: Mapping[str, np.ndarray]) -> Figure:
    """Plots losses and validation errors against the epoch, from the columns of log.csv."""
    names = {
        "energy_mae_mev_per_atom": "energy MAE (meV/atom)",
        "force_mae_mev_per_a": "force MAE (meV/Å)",
        "stress_mae_mev_per_a3": "stress MAE (meV/Å³)",
    }
    shown = [name for name in names if name in log]
    figure, axes = new_figure(1 + len(shown))
    epoch = log["epoch"] + 1
    axes[0].plot(epoch, log["train_loss"], color=GREY, label="training")
    axes[0].plot(epoch, log["valid_loss"], color=BLUE, label="validation")
    axes[0].set(ylabel="loss")
    axes[0].legend(frameon=False)
    for ax, name in zip(axes[1:], shown, strict=True):
        ax.plot(epoch, log[name], color=BLUE)
        ax.set(ylabel=f"validation {names[name]}")
    for ax in axes:
        ax.set(xlabel="epoch", yscale="log")
        plain_numbers(ax.yaxis)
    return figure


def energy_drift(log: Mapping[str, np.ndarray], n_atoms: int) -> Figure:
    """Change of the total energy, the temperature and a volume that changes, against time."""
    figure, axes = new_figure(2 + ("volume_A3" in log))
    time = log["time_fs"] / 1000
    total = log["etot_eV"]
    curves = [
        (1000 * (total - total[0]) / n_atoms, BLUE, "change of the total energy (meV/atom)"),
        (log["temperature_K"], ORANGE, "temperature (K)"),
        (log.get("volume_A3"), GREY, "volume (Å³)"),
    ]
    for ax, (values, color, quantity) in zip(axes, curves, strict=False):
        ax.plot(time, values, color=color)
        ax.set(xlabel="time (ps)", ylabel=quantity)
    return figure


def read_log(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of a CSV file."""
    table = np.genfromtxt(path, delimiter=",", names=True, encoding="utf-8", ndmin=1)
    return {name: table[name] for name in table.dtype.names or ()}
