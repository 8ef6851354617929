"""Errors of a force field on labelled structures."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sikff.calculators.models import check_committee, reach
from sikff.forcefield import ForceField, Prediction
from sikff.graph import AtomicGraph
from sikff.training.batches import Batches, Sample
from sikff.training.config import DataConfig
from sikff.training.data import Frames, find_labels, make_samples, read_labels, split_isolated
from sikff.training.files import complete
from sikff.training.losses import Targets, errors
from sikff.training.metrics import Metrics


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
        symbols: element of each of the N atoms.
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
    frames: Frames,
    data: DataConfig | None = None,
    batch_size: int = 16,
) -> Evaluation:
    """Compares a model with the labels of the frames; isolated atoms are left out.

    Args:
        model: on the device where it should run; several are a committee, of which the mean is
            compared.
        frames: labelled structures.
        data: names of the labels; None: as usual (see :class:`DataConfig`).
        batch_size: structures at a time.

    Raises:
        ValueError: if there are no labels, or only some of the frames have one; if the models do
            not make a committee (see :class:`~sikff.calculators.SIKFFCalculator`).
    """
    models = [model] if isinstance(model, ForceField) else list(model)
    check_committee(models)
    data = data or DataConfig(train=Path(frames.source))
    frames, found = _structures(frames, data)
    labels = read_labels(frames, data, found)
    readers = {reach(each): each.config for each in models}
    samples = {key: make_samples(frames, config, labels) for key, config in readers.items()}
    kinds = config_types(frames)
    every = Metrics(models[0].elements)
    of_kind = {kind: Metrics(models[0].elements) for kind in sorted(set(kinds))}
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in found}
    seconds, done, variances = 0.0, 0, []
    for predictions, graph, targets, took in _answers(models, samples, batch_size, found):
        seconds += took
        prediction = _mean(predictions)
        off = errors(prediction, targets, graph)
        every.update(off, graph)
        forces = [each.forces for each in predictions if each.forces is not None]
        if len(forces) > 1:
            variances.append(torch.stack(forces).var(0).cpu())
        here = np.array(kinds[done : done + graph.n_graphs])
        for kind in set(here.tolist()):
            of_kind[kind].update(off, graph, torch.from_numpy(here == kind).to(graph.batch.device))
        done += graph.n_graphs
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        for name in found:
            divisor = atoms if name == "energy" else 1
            true, said = getattr(targets, name) / divisor, getattr(prediction, name) / divisor
            seen[name].append((true.cpu().numpy(), said.detach().cpu().numpy()))
    results: dict[str, Any] = every.results()
    if variances:
        results["force_std_mev_per_a"] = 1000 * float(torch.cat(variances).mean().sqrt())
    if "forces" in found:
        results["force_mae_by_element"] = every.force_mae_by_element()
    if of_kind:
        results["by_config_type"] = {kind: each.results() for kind, each in of_kind.items()}
    results |= {"n_frames": done, "seconds": seconds}
    pairs = {
        name: (np.concatenate([t for t, _ in parts]), np.concatenate([s for _, s in parts]))
        for name, parts in seen.items()
    }
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in frames.atoms])
    return Evaluation(results, pairs, symbols)


def _answers(
    models: Sequence[ForceField],
    samples: Mapping[tuple[float, tuple[str, ...]], Sequence[Sample]],
    batch_size: int,
    found: Sequence[str],
) -> Iterator[tuple[list[Prediction], AtomicGraph, Targets, float]]:
    """What all models say about each batch, its labels, and the seconds it took them."""
    device = next(models[0].parameters()).device
    for batches in zip(*(Batches(each, batch_size) for each in samples.values()), strict=True):
        moved = [batch.graph.to(device) for batch in batches]
        graphs = dict(zip(samples, moved, strict=True))
        targets = Targets(*(None if t is None else t.to(device) for t in batches[0].targets))
        start = time.perf_counter()
        predictions = [
            model.eval()(graphs[reach(model)], "forces" in found, "stress" in found)
            for model in models
        ]
        for prediction in predictions:
            prediction.energy.sum().item()  # waits for the device
        yield predictions, moved[0], targets, time.perf_counter() - start


def _mean(predictions: Sequence[Prediction]) -> Prediction:
    def of_all(parts: Sequence[Tensor | None]) -> Tensor | None:
        known = [part for part in parts if part is not None]
        return torch.stack(known).mean(0) if known else None

    return Prediction._make(map(of_all, zip(*predictions, strict=True)))


def config_types(frames: Frames) -> list[str]:
    """The config_type of each frame, "none" where it has none; empty if no frame has one."""
    kinds = [atoms.info.get("config_type") for atoms in frames.atoms]
    return ["none" if kind is None else str(kind) for kind in kinds] if any(kinds) else []


def _structures(frames: Frames, data: DataConfig) -> tuple[Frames, list[str]]:
    """The frames that are no isolated atoms, and which labels they have."""
    structures, _ = split_isolated(frames)
    if not structures.atoms:
        raise ValueError(f"{frames.source} holds isolated atoms only; expected structures")
    found = [name for name in Targets._fields if any(find_labels(structures, name, data))]
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
