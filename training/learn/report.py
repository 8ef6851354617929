"""The report of a learning run: one page without links to anything else."""

from __future__ import annotations

import html
import warnings
from collections import Counter
from collections.abc import Sequence

import ase
import numpy as np
import yaml
from matplotlib.figure import Figure

import sikff
from sikff.atomic_write import complete
from sikff.forcefield import load

from ..evaluation.predict import predict
from .config import LearnConfig
from .html_parts import make_image, make_table
from .label_log import Label, LabelLog
from .state import State
from .surface_report import describe_surface, warn_of_places

STYLE = """
body {font: 15px/1.5 sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222}
table {border-collapse: collapse} td, th {padding: 2px 10px; border-bottom: 1px solid #ddd}
td, th {text-align: right} td:first-child, th:first-child {text-align: left}
pre {background: #f4f4f4; padding: 8px; overflow-x: auto} img {max-width: 100%}
.good {color: #176d2a} .bad {color: #a32020}
"""
FEW = 3  # structures of a kind that are hardly a sample
HONEST = 1.3  # factor between errors of two temperatures, or of rounds, that is noted


def write_report(config: LearnConfig, log: LabelLog, state: State, words: str) -> None:
    """Writes ``report.html`` into the folder of a run."""
    labels = log.labelled
    reached = state.result["force_mae"] <= config.target
    colour, sentence = "good" if reached else "bad", words[0].upper() + words[1:]
    parts = [
        f"<h1>sikff learn: {html.escape(_formula(labels))}</h1>",
        f'<p class="{colour}">{html.escape(sentence)}.</p>',
        _warnings(config, log, state),
        "<h2>What was asked</h2>",
        f"<pre>{html.escape(_asked(config))}</pre>",
        "<h2>What was reached</h2>",
        _result(config, state),
        make_image(_parity(config, log)),
        describe_surface(state, config.output / "model.sikff") if config.surface else "",
        "<h2>Error against labels</h2>",
        "<p>Errors in fresh structures: drawn evenly from the dynamics of the model of the round "
        "before, and labelled before anything was trained on them.</p>",
        make_image(_progress(config, state)),
        _rounds(state),
        "<h2>Calibration</h2>",
        "<p>The largest error of an atom in a structure against the deviation of the committee "
        "that found it.</p>",
        make_image(_calibration(state)),
        "<h2>Coverage</h2>",
        make_image(_coverage(labels)),
        _uses(log),
        "<h2>Where the time went</h2>",
        make_table(("part", "seconds"), [(part, f"{s:.1f}") for part, s in state.seconds.items()]),
        "<h2>What failed</h2>",
        _failures(log),
        "<h2>Dynamics with the result</h2>",
        f"<pre>{html.escape(_command(config))}</pre>",
        f"<p>sikff {sikff.__version__}</p>",
    ]
    page = (
        "<!DOCTYPE html><html lang='en'><head><meta charset='utf-8'>"
        f"<title>sikff learn</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>"
    )
    with complete(config.output / "report.html") as path:
        path.write_text(page, encoding="utf-8")


def _formula(labels: Sequence[Label]) -> str:
    formulas = Counter(label.request.atoms.get_chemical_formula() for label in labels)
    return ", ".join(name for name, _ in formulas.most_common(4))


def _asked(config: LearnConfig) -> str:
    given = config.model_dump(mode="json", exclude_unset=True)
    return yaml.safe_dump(given, sort_keys=False)


def _command(config: LearnConfig) -> str:
    start, model = config.structures[0], config.output / "model.sikff"
    return (
        f"sikff md {model} {start} --ensemble {config.ensemble} "
        f"--temperature {config.temperatures[0]:g} --steps 10000 --trajectory md.traj"
    )


def _warnings(config: LearnConfig, log: LabelLog, state: State) -> str:
    """What a reader should not overlook."""
    found = []
    by_temperature = state.result.get("by_temperature", {})
    for temperature in config.temperatures:
        if f"{temperature:g}" not in by_temperature:
            found.append(
                f"no structure of the last measure is of {temperature:g} K: walkers there left "
                "what makes sense, or the structures did not suffice"
            )
    visits = Counter(
        label.request.temperature for label in log.labelled if label.request.temperature
    )
    for temperature in (*config.temperatures, config.hottest):
        if visits[temperature] < FEW:
            found.append(f"{visits[temperature]} labelled structures are of {temperature:g} K")
    rows = [row for row in state.rounds if row.get("force_mae") is not None]
    if rows and state.result["force_mae"] > HONEST * rows[-1]["force_mae"]:
        found.append(
            "the last measure is larger than that of the last round: its dynamics saw structures "
            "that the rounds did not, such as other conformers"
        )
    if state.rounds and state.rounds[-1]["alive"] < state.rounds[-1]["walkers"]:
        stopped = state.rounds[-1]["walkers"] - state.rounds[-1]["alive"]
        found.append(
            f"{stopped} of {state.rounds[-1]['walkers']} walkers were stopped in the last round: "
            "long dynamics may extrapolate"
        )
    found += warn_of_places(state.result)
    listed = "".join(f"<li>{html.escape(each)}</li>" for each in found)
    return f"<h2>Warnings</h2><ul>{listed}</ul>" if found else ""


def _result(config: LearnConfig, state: State) -> str:
    result = state.result
    rows = [
        ("forces, mean absolute error", f"{result['force_mae']:.3g} meV/Å"),
        ("target", f"{config.target:g} meV/Å"),
        ("forces, root mean square", f"{result['force_rmse']:.3g} meV/Å"),
        ("energies, mean absolute error", f"{result['energy_mae']:.3g} meV/atom"),
        ("measured in", f"{result['structures']} structures of its own dynamics"),
    ]
    pairs = result["by_temperature"].items()
    rows += [(f"forces at {kelvin} K", f"{error:.3g} meV/Å") for kelvin, error in pairs]
    return make_table(("quantity", "value"), rows)


def _rounds(state: State) -> str:
    head = (
        "round",
        "trained on",
        "meV/Å",
        "meV/atom",
        "error / deviation",
        "walkers",
        "stopped by",
    )
    rows = []
    for row in state.rounds:
        why = Counter(row["reasons"]).most_common(2)
        rows.append(
            (
                row["round"],
                row["structures"],
                _number(row.get("force_mae")),
                _number(row.get("energy_mae")),
                _number(row.get("calibration")),
                f"{row['alive']} of {row['walkers']}",
                ", ".join(f"{reason} ({count})" for reason, count in why),
            )
        )
    return make_table(head, rows)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _uses(log: LabelLog) -> str:
    counts = Counter((label.request.use, label.answer.status) for label in log)
    rows = [(use, status, count) for (use, status), count in sorted(counts.items())]
    return make_table(("structures", "labels", "number"), rows)


def _failures(log: LabelLog) -> str:
    reasons = Counter((label.answer.status, label.answer.reason) for label in log.failed)
    if not reasons:
        return "<p>Nothing.</p>"
    rows = [(f"{status}: {reason}", count) for (status, reason), count in reasons.most_common(10)]
    return make_table(("reason", "structures"), rows)


def _progress(config: LearnConfig, state: State) -> Figure:
    figure = Figure((7, 3))
    axes = figure.subplots()
    rows = [row for row in state.rounds if row.get("force_mae") is not None]
    if rows:
        axes.loglog([r["structures"] for r in rows], [r["force_mae"] for r in rows], "o-")
    last = rows[-1]["asked"] if rows else 1
    axes.loglog([last], [state.result["force_mae"]], "s", label="last training")
    axes.axhline(config.target, color="grey", linestyle="--", label="target")
    axes.set(xlabel="structures trained on", ylabel="force error, meV/Å")
    axes.legend()
    return figure


def _calibration(state: State) -> Figure:
    figure = Figure((4.5, 4))
    axes = figure.subplots()
    for use, colour in (("fresh", "C0"), ("picked", "C1"), ("survey", "C2")):
        pairs = np.array([(d, e) for d, e, kind in state.points if kind == use and d > 0 and e > 0])
        if len(pairs):
            axes.loglog(*pairs.T, ".", color=colour, label=use)
    ends = np.array(axes.get_xlim())
    axes.plot(ends, ends, color="grey", linewidth=1)
    axes.set(xlabel="deviation, eV/Å", ylabel="error, eV/Å")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
    return figure


def _parity(config: LearnConfig, log: LabelLog) -> Figure:
    labels = [label for label in log.labelled if label.request.use == "final"]
    last = max((label.request.round for label in labels), default=0)
    structures = [label.atoms for label in labels if label.request.round == last]
    figure = Figure((8, 3.6))
    left, right = figure.subplots(1, 2)
    if structures:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of structures beyond the data: they are fresh
            found = predict(load(config.output / "model.sikff"), structures)
        forces = [np.concatenate([a.get_forces().ravel() for a in x]) for x in (structures, found)]
        energies = [_relative_energies(each, structures) for each in (structures, found)]
        left.plot(*forces, ".", markersize=3)
        right.plot(*energies, ".")
        for axes in (left, right):
            ends = np.array(axes.get_xlim())
            axes.plot(ends, ends, color="grey", linewidth=1)
    left.set(xlabel="reference, eV/Å", ylabel="model, eV/Å", title="forces")
    right.set(xlabel="reference, eV/atom", ylabel="model, eV/atom", title="energies")
    figure.tight_layout()
    return figure


def _relative_energies(structures: Sequence[ase.Atoms], zero: Sequence[ase.Atoms]) -> np.ndarray:
    """Per atom, from the mean of the labels."""
    sizes = np.array([len(atoms) for atoms in structures])
    mean = np.mean([atoms.get_potential_energy() for atoms in zero] / sizes)
    return np.array([atoms.get_potential_energy() for atoms in structures]) / sizes - mean


def _coverage(labels: Sequence[Label]) -> Figure:
    """Energies, largest forces and shortest distances of what was trained on."""
    figure = Figure((9, 2.8))
    panels = figure.subplots(1, 3)
    energies = np.array([float(x.answer.results["energy"]) / len(x.request.atoms) for x in labels])
    forces = [float(np.linalg.norm(label.forces, axis=1).max()) for label in labels]
    distances = [_shortest(label.request.atoms) for label in labels]
    panels[0].hist(energies - energies.min(), bins=20)
    panels[1].hist(forces, bins=20)
    panels[2].hist([d for d in distances if np.isfinite(d)], bins=20)
    for axes, words in zip(
        panels, ("energy, eV/atom", "largest force, eV/Å", "shortest distance, Å"), strict=True
    ):
        axes.set(xlabel=words)
    panels[0].set(ylabel="structures")
    figure.tight_layout()
    return figure


def _shortest(atoms: ase.Atoms) -> float:
    if len(atoms) < 2:
        return np.inf
    distances = atoms.get_all_distances(mic=bool(atoms.pbc.any()))
    return float(distances[np.triu_indices(len(atoms), 1)].min())
