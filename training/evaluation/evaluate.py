"""Errors of a force field on labelled structures."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from sikff.atomic_write import complete
from sikff.forcefield import ForceField
from sikff.forcefield.committee import check_committee

from ..config import DataConfig
from ..data.check_labels import check_fields
from ..data.structures import (
    Frames,
    Labels,
    config_types,
    find_labels,
    make_samples,
    read_labels,
    split_isolated,
)
from ..data.targets import Targets, labelled
from .metrics import Metrics, errors
from .predict import answers, reader


@dataclass(frozen=True)
class Evaluation:
    """What a model said about labelled structures, and how far off it was.

    Attributes:
        metrics: energy_mae_mev_per_atom, force_mae_mev_per_a and so on, force_mae_by_element,
            by_config_type (the same for the frames of each config_type, if there are any),
            n_frames, and seconds, which counts the model and not the neighbour search; for a
            committee also force_std_mev_per_a, the root mean square of the standard deviation of
            its forces, to be held against force_rmse_mev_per_a.
        pairs: (label, prediction) of "energy" (eV per atom) [B], "forces" (eV/Å) [N, 3] and
            "stress" (eV/Å^3) [B, 3, 3], as far as there are labels.
        symbols: element of each of the N atoms with forces, or of all atoms if none has.
    """

    metrics: dict[str, Any]
    pairs: dict[str, tuple[np.ndarray, np.ndarray]]
    symbols: np.ndarray

    @property
    def lines(self) -> tuple[str, ...]:
        """The metrics as a table for the user."""
        rows = dict(self.metrics)
        kinds = rows.pop("by_config_type", {})
        rows |= {f"config_type {kind}": found for kind, found in kinds.items()}
        return tuple(f"{key:28s} {_text(value)}" for key, value in rows.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return format(value, ".4g") if isinstance(value, float) else str(value)


def evaluate(
    model: ForceField | Sequence[ForceField],
    frames: Frames | Sequence[ase.Atoms],
    data: DataConfig | None = None,
    batch_size: int = 16,
    names: Collection[str] = Targets._fields,
) -> Evaluation:
    """Compares a model with the labels of the frames; isolated atoms are left out.

    Args:
        model: on the device where it should run, left in evaluation mode; several are a committee,
            of which the mean is compared.
        frames: labelled structures. Each quantity is compared where it has a label.
        data: names of the labels; None: as usual (see :class:`DataConfig`).
        batch_size: structures at a time.
        names: which labels to look for.

    Raises:
        ValueError: if there are no labels; if the models do not make a committee (see
            :class:`~sikff.calculators.SIKFFCalculator`).
    """
    frames = frames if isinstance(frames, Frames) else Frames.of(frames)
    models = [model] if isinstance(model, ForceField) else list(model)
    check_committee(models)
    readers = {reader(each): each.config for each in models}
    data = data or DataConfig(train=Path(frames.source))
    frames, found = _structures(frames, data, names)
    labels = read_labels(frames, data, found, partial=found)
    for config in readers.values():
        check_fields(frames, config)
    kinds = config_types(frames)
    every = Metrics(models[0].elements)
    of_kind = {kind: Metrics(models[0].elements) for kind in sorted(set(kinds))}
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in found}
    seconds, done, variances = 0.0, 0, []
    asked = {"forces": "forces" in found, "stress": "stress" in found}
    samples = {key: make_samples(frames, config, labels) for key, config in readers.items()}
    for answer in answers(models, samples, batch_size, **asked):
        seconds += answer.seconds
        prediction, graph, targets = answer.mean, answer.graph, answer.targets
        off = errors(prediction, targets, graph)
        every.update(off, targets, graph)
        if len(models) > 1 and targets.forces is not None:
            spread = answer.deviation("forces")[labelled(targets.forces)]
            variances.append(spread.square().cpu())
        here = np.array(kinds[done : done + graph.n_graphs])
        for kind in set(here.tolist()):
            asked_for = torch.from_numpy(here == kind).to(graph.batch.device)
            of_kind[kind].update(off, targets, graph, asked_for)
        done += graph.n_graphs
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        for name in found:
            divisor = atoms if name == "energy" else 1
            true, said = getattr(targets, name) / divisor, getattr(prediction, name) / divisor
            both = (each.detach()[labelled(true)].cpu().numpy() for each in (true, said))
            seen[name].append(tuple(both))
    results: dict[str, Any] = every.results()
    if variances:
        results["force_std_mev_per_a"] = 1000 * float(torch.cat(variances).mean().sqrt())
    if "forces" in found:
        results["force_mae_by_element"] = every.force_mae_by_element()
    if of_kind:
        results["by_config_type"] = {kind: each.results() for kind, each in of_kind.items()}
    results |= {"n_frames": done, **_numbers(labels), "seconds": seconds}
    pairs = {
        name: (np.concatenate([t for t, _ in parts]), np.concatenate([s for _, s in parts]))
        for name, parts in seen.items()
    }
    with_forces = [True] * done
    if "forces" in labels:
        with_forces = [bool(np.isfinite(each).all()) for each in labels["forces"]]
    symbols = [atoms.get_chemical_symbols() for atoms in frames.atoms]
    kept = [each for each, here in zip(symbols, with_forces, strict=True) if here]
    return Evaluation(results, pairs, np.concatenate(kept))


def _numbers(labels: Labels) -> dict[str, int]:
    """How many frames have each label that not all have."""
    counts = {name: sum(np.isfinite(e).all() for e in each) for name, each in labels.items()}
    return {f"n_with_{n}": int(c) for n, c in counts.items() if c < len(labels[n])}


def _structures(
    frames: Frames, data: DataConfig, names: Collection[str]
) -> tuple[Frames, list[str]]:
    """The frames that are no isolated atoms, and which labels they have."""
    structures, _ = split_isolated(frames)
    if not structures.atoms:
        what = "isolated atoms only" if frames.atoms else "no structures"
        raise ValueError(f"{frames.source}: {what}; expected labelled structures")
    found = [name for name in names if any(find_labels(structures, name, data))]
    if not found:
        raise ValueError(
            f"{frames.source} has no labels; expected REF_energy, REF_forces or REF_stress, or "
            "results of a calculator"
        )
    return structures, found


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Writes results as JSON."""
    with complete(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
