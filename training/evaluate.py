"""Errors of a force field on labelled structures."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sikff.forcefield import ForceField
from sikff.training.batches import Batches
from sikff.training.config import DataConfig
from sikff.training.data import Frames, label, make_samples, split_isolated
from sikff.training.files import complete
from sikff.training.losses import Targets, errors
from sikff.training.metrics import Metrics


@dataclass(frozen=True)
class Evaluation:
    """What a model said about labelled structures, and how far off it was.

    Attributes:
        metrics: energy_mae_mev_per_atom, force_mae_mev_per_a and so on, force_mae_by_element,
            n_frames, and seconds, which counts the model and not the neighbour search.
        pairs: (label, prediction) of "energy" (eV per atom) [B], "forces" (eV/Å) [N, 3] and
            "stress" (eV/Å^3) [B, 3, 3], as far as there are labels.
        symbols: element of each of the N atoms.
    """

    metrics: dict[str, Any]
    pairs: dict[str, tuple[np.ndarray, np.ndarray]]
    symbols: np.ndarray


def evaluate(
    model: ForceField, frames: Frames, data: DataConfig | None = None, batch_size: int = 16
) -> Evaluation:
    """Compares a model with the labels of the frames; isolated atoms are left out.

    Args:
        model: on the device where it should run.
        frames: labelled structures.
        data: names of the labels; None: as usual (see :class:`DataConfig`).
        batch_size: structures at a time.

    Raises:
        ValueError: if there are no labels, or only some of the frames have one.
    """
    data = data or DataConfig(train=Path(frames.source))
    frames, _ = split_isolated(frames)
    found = [
        name
        for name in Targets._fields
        if any(
            label(atoms, name, getattr(data, f"{name}_key")) is not None for atoms in frames.atoms
        )
    ]
    if not found:
        raise ValueError(
            f"{frames.source} has no labels; expected REF_energy, REF_forces or REF_stress, or "
            "results of a calculator"
        )
    samples = make_samples(frames, model.config, data, found)
    device = next(model.parameters()).device
    metrics = Metrics(model.elements)
    seen: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in found}
    seconds = 0.0
    for batch in Batches(samples, batch_size):
        graph = batch.graph.to(device)
        targets = Targets(*(None if t is None else t.to(device) for t in batch.targets))
        start = time.perf_counter()
        prediction = model.eval()(graph, "forces" in found, "stress" in found)
        prediction.energy.sum().item()  # waits for the device
        seconds += time.perf_counter() - start
        metrics.update(errors(prediction, targets, graph), graph)
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        for name in found:
            divisor = atoms if name == "energy" else 1
            true, said = getattr(targets, name) / divisor, getattr(prediction, name) / divisor
            seen[name].append((true.cpu().numpy(), said.detach().cpu().numpy()))
    results: dict[str, Any] = metrics.results()
    if "forces" in found:
        results["force_mae_by_element"] = metrics.force_mae_by_element()
    results |= {"n_frames": len(samples), "seconds": seconds}
    pairs = {
        name: (np.concatenate([t for t, _ in parts]), np.concatenate([s for _, s in parts]))
        for name, parts in seen.items()
    }
    symbols = np.concatenate([atoms.get_chemical_symbols() for atoms in frames.atoms])
    return Evaluation(results, pairs, symbols)


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Writes results as JSON."""
    with complete(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
