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

from ..data.batches import Sample
from ..data.check_labels import check_fields
from ..data.labels import NAMES, USUAL_KEYS, LabelKeys
from ..data.structures import Structures, split_isolated
from ..data.targets import labelled
from .batch_predictions import committee, predict_batches, samples_for
from .metrics import Metrics, errors


@dataclass(frozen=True)
class Evaluation:
    """The errors of a model on labelled structures.

    Attributes:
        metrics: energy_mae_mev_per_atom, force_mae_mev_per_a and so on, force_mae_by_element,
            by_config_type (the same for the structures of each config_type, if there are any),
            n_frames, and seconds, which counts the model and not the neighbour search; for a
            committee also force_std_mev_per_a, the root mean square of the standard deviation of
            its forces, to be compared with force_rmse_mev_per_a.
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
        rows |= {f"config_type {kind}": metrics for kind, metrics in kinds.items()}
        return tuple(f"{key:28s} {_text(value)}" for key, value in rows.items())


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return format(value, ".4g") if isinstance(value, float) else str(value)


def evaluate(
    model: ForceField | Sequence[ForceField],
    structures: Structures | Sequence[ase.Atoms],
    keys: LabelKeys = USUAL_KEYS,
    batch_size: int = 16,
    names: Collection[str] = NAMES,
) -> Evaluation:
    """Compares a model with the labels of structures; isolated atoms are left out.

    Args:
        model: on the device where it runs; it stays as it is. Several are a committee, of which
            the mean is compared.
        structures: labelled. Each quantity is compared where it has a label.
        keys: label keys.
        batch_size: structures at a time.
        names: which labels to look for.

    Raises:
        ValueError: if there are no labels; if the models do not make a committee (see
            :class:`~sikff.calculators.SIKFFCalculator`).
    """
    models = committee(model)
    structures, _ = split_isolated(Structures.of(structures))
    structures = structures.with_labels(keys, names)
    if not structures.label_names:
        raise ValueError(
            f"{structures.source} has no labels; expected REF_energy, REF_forces or REF_stress, or "
            "results of a calculator"
        )
    structures.check_labels_complete(structures.label_names, partial=NAMES)
    for each in models:
        check_fields(structures, each.config)
    return _compare(models, samples_for(models, structures, structures.label_names), batch_size)


def evaluate_samples(
    model: ForceField, samples: Sequence[Sample], batch_size: int = 16
) -> Evaluation:
    """Compares a model with the targets of samples made for it, as :func:`evaluate` does."""
    return _compare([model], [samples], batch_size)


def _compare(
    models: Sequence[ForceField], samples: Sequence[Sequence[Sample]], batch_size: int
) -> Evaluation:
    """Compares the mean of models with targets; `samples` are those of each model."""
    counts = _label_counts(samples[0])
    kinds = [sample.config_type for sample in samples[0]]
    kinds_or_none = np.array([kind or "none" for kind in kinds] if any(kinds) else [])
    elements = models[0].elements
    total = Metrics(elements)
    of_kind = {kind: Metrics(elements) for kind in sorted(set(kinds_or_none.tolist()))}
    pairs: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {name: [] for name in counts}
    species, variances = [], []
    seconds, done = 0.0, 0
    wanted = {name: name in counts for name in ("forces", "stress")}
    for batch in predict_batches(models, samples, batch_size, **wanted):
        seconds += batch.seconds
        prediction, graph, targets = batch.mean, batch.graph, batch.targets
        batch_errors = errors(prediction, targets, graph)
        total.update(batch_errors, targets, graph)
        kinds_here = kinds_or_none[done : done + graph.n_graphs]
        for kind in set(kinds_here.tolist()):
            chosen = torch.from_numpy(kinds_here == kind).to(graph.batch.device)
            of_kind[kind].update(batch_errors, targets, graph, chosen)
        done += graph.n_graphs
        atoms_shown = torch.ones_like(graph.species, dtype=torch.bool)
        if targets.forces is not None and "forces" in counts:
            atoms_shown = labelled(targets.forces)
            if len(models) > 1:
                variances.append(batch.deviation("forces")[atoms_shown].square())
        species.append(graph.species[atoms_shown])
        atoms = torch.bincount(graph.batch, minlength=graph.n_graphs)
        for name in counts:
            both = (getattr(each, name).detach() for each in (targets, prediction))
            label, predicted = (each / atoms if name == "energy" else each for each in both)
            rows = labelled(label)
            pairs[name].append((label[rows].cpu().numpy(), predicted[rows].cpu().numpy()))
    metrics: dict[str, Any] = total.results()
    if variances:
        metrics["force_std_mev_per_a"] = 1000 * float(torch.cat(variances).mean().sqrt())
    if "forces" in counts:
        metrics["force_mae_by_element"] = total.force_mae_by_element()
    if of_kind:
        metrics["by_config_type"] = {kind: each.results() for kind, each in of_kind.items()}
    partial = {f"n_with_{name}": count for name, count in counts.items() if count < done}
    return Evaluation(
        metrics | {"n_frames": done, **partial, "seconds": seconds},
        {
            name: (np.concatenate([each[0] for each in both]), np.concatenate([e[1] for e in both]))
            for name, both in pairs.items()
        },
        np.array(elements)[torch.cat(species).cpu().numpy()],
    )


def _label_counts(samples: Sequence[Sample]) -> dict[str, int]:
    """The number of structures that have each label, as far as any has it."""
    counts = {
        name: sum(
            bool(labelled(target).any())
            for target in (getattr(sample.targets, name) for sample in samples)
            if target is not None
        )
        for name in NAMES
    }
    return {name: count for name, count in counts.items() if count}


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Writes results as JSON."""
    with complete(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
