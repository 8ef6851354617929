"""Errors of a force field on labelled structures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import ase
import numpy as np
import torch
from torch import Tensor

from sikff.atomic_write import complete
from sikff.forcefield import ForceField
from sikff.forcefield.committee import mean_prediction, standard_deviation
from sikff.plain_torch import plain_torch

from ..data.batches import Sample, collate, labelled, without_edges
from ..data.check_labels import check_fields, check_labels, check_names
from ..data.labels import NAMES, USUAL_KEYS, LabelKeys
from ..data.report import describe_left_out
from ..data.structures import Structures, split_isolated
from ..data.unread_keys import unread_keys
from .metrics import Metrics, errors
from .predict import committee, predict_samples, samples_for


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
            "stress" (eV/Å^3) [B, 3, 3], as far as there are labels; NaN for the label of a force
            component that has none that counts.
        symbols: element of each of the N atoms with forces, or of all atoms if none has.
        left_out: labels that do not count, and why; keys that look like weights and are not read.
    """

    metrics: dict[str, Any]
    pairs: dict[str, tuple[np.ndarray, np.ndarray]]
    symbols: np.ndarray
    left_out: tuple[str, ...] = ()

    @property
    def lines(self) -> tuple[str, ...]:
        """The metrics as a table for the user."""
        rows = dict(self.metrics)
        kinds = rows.pop("by_config_type", {})
        rows |= {f"config_type {kind}": metrics for kind, metrics in kinds.items()}
        return (*(f"{key:28s} {_text(value)}" for key, value in rows.items()), *self.left_out)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items())
    return format(value, ".4g") if isinstance(value, float) else str(value)


@contextmanager
def doubts_as_warnings() -> Iterator[None]:
    """Turns what a check of labels raises into a warning: errors are told all the same."""
    try:
        yield
    except ValueError as error:
        warnings.warn(str(error), stacklevel=3)


@plain_torch()
def evaluate(
    model: ForceField | Sequence[ForceField],
    structures: Structures | Sequence[ase.Atoms],
    keys: LabelKeys = USUAL_KEYS,
    batch_size: int = 16,
    names: Collection[str] = NAMES,
) -> Evaluation:
    """Compares a model with the labels that structures have; isolated atoms are left out.

    Args:
        model: on the device where it runs; it stays unchanged. Several are a committee, of which
            the mean is compared.
        batch_size: structures at a time.
        names: of the labels to compare.

    Raises:
        ValueError: if there are no labels; if the models do not make a committee (see
            :class:`~sikff.calculators.SIKFFCalculator`).
    """
    models = committee(model)
    structures, _ = split_isolated(Structures.of(structures))
    structures = structures.with_labels(keys, names)
    structures.check_weight_key()
    left_out = [*describe_left_out(structures), *map("note: {}".format, unread_keys(structures))]
    if not structures.label_names:
        raise ValueError(
            f"{structures.source} has no labels that count; expected REF_energy, REF_forces or "
            f"REF_stress, or results of a calculator{''.join(f'; {line}' for line in left_out)}"
        )
    check_names([structures])
    structures.check_labels_complete(structures.label_names, partial=NAMES)
    with doubts_as_warnings():
        check_labels(structures)
    for each in models:
        check_fields(structures, each.config)
    samples = samples_for(models, structures, structures.label_names)
    evaluation = evaluate_samples(models, samples, batch_size)
    return replace(evaluation, left_out=tuple(left_out))


@plain_torch()
def evaluate_samples(
    models: Sequence[ForceField], samples: Sequence[Sequence[Sample]], batch_size: int = 16
) -> Evaluation:
    """Compares the mean of models with the targets of samples, made for each model."""
    elements = models[0].elements
    graph, targets = collate([replace(s, graph=without_edges(s.graph)) for s in samples[0]])
    rows = {n: labelled(t) for n, t in targets._asdict().items() if t is not None}
    rows = {name: has_label for name, has_label in rows.items() if has_label.any()}
    asked = "forces" in rows, "stress" in rows
    predictions, seconds = predict_samples(models, samples, batch_size, *asked)
    mean = mean_prediction(predictions)
    all_errors = errors(mean, targets, graph)

    def metrics_of(structures: Tensor | None = None) -> Metrics:
        chosen = Metrics(elements)
        chosen.update(all_errors, targets, graph, structures)
        return chosen

    of_all = metrics_of()
    metrics: dict[str, Any] = of_all.results()
    if "forces" in rows:
        if len(models) > 1:
            counted = ~cast(Tensor, targets.forces).isnan()
            variances = standard_deviation(predictions, "forces")[counted].square()
            metrics["force_std_mev_per_a"] = 1000 * float(variances.mean().sqrt())
        metrics["force_mae_by_element"] = of_all.force_mae_by_element()
    if any(sample.config_type for sample in samples[0]):
        kinds = np.array([sample.config_type or "none" for sample in samples[0]])
        metrics["by_config_type"] = {
            kind: metrics_of(torch.from_numpy(kinds == kind)).results()
            for kind in np.unique(kinds).tolist()
        }
    metrics["n_frames"] = graph.n_graphs
    atoms, pairs = torch.bincount(graph.batch), {}
    for name, has_label in rows.items():
        indices = graph.batch[has_label].unique() if name == "forces" else has_label.nonzero()
        if len(indices) < graph.n_graphs:
            metrics[f"n_with_{name}"] = len(indices)
        both = (getattr(source, name) for source in (targets, mean))
        label, predicted = (each / atoms if name == "energy" else each for each in both)
        pairs[name] = (label[has_label].numpy(), predicted[has_label].numpy())
    metrics["seconds"] = seconds
    species = graph.species[rows["forces"]] if "forces" in rows else graph.species
    return Evaluation(metrics, pairs, np.array(elements)[species.numpy()])


def write_json(path: str | Path, results: dict[str, Any]) -> None:
    """Writes results as JSON."""
    with complete(path) as temporary:
        temporary.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
