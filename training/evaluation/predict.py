"""Predictions of one or several force fields for structures."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.calculators.ase_properties import voigt
from sikff.forcefield import ForceField, Prediction
from sikff.forcefield.committee import (
    check_committee,
    graph_settings,
    mean_prediction,
    standard_deviation,
)
from sikff.forcefield.environment import OPENED, THROUGH
from sikff.graph import has_volume
from sikff.plain_torch import plain_torch

from ..data.batches import Batches, Sample
from ..data.labels import without_labels
from ..data.samples import make_samples
from ..data.structures import Structures


@plain_torch()
def predict(
    model: ForceField | Sequence[ForceField],
    structures: Structures | Sequence[ase.Atoms],
    batch_size: int = 16,
    on_batch: Callable[[int], Any] = lambda structures: None,
) -> list[ase.Atoms]:
    """Returns copies of the structures with the predictions of a model as their results.

    Labels of the structures are left out; everything else stays unchanged.

    Args:
        model: on the device where it runs; it stays unchanged. Several are a committee, whose mean
            is the result.
        structures: field and surface are in their `info`, as for
            :class:`~sikff.calculators.SIKFFCalculator`.
        batch_size: structures at a time.
        on_batch: called with the number of structures in each batch that is done.

    Returns:
        Copies of the structures, in their order, with energy (eV), forces [N, 3] (eV/Å) and, where
        they are periodic and have a cell with a volume, stress [6] (eV/Å^3) without what depends on
        the place of a surface (NaN); of a committee also with sample standard deviations,
        ``info["energy_std"]`` and ``arrays["forces_std"]`` [N, 3].

    Raises:
        ValueError: if the models do not make a committee, a structure is not allowed by one, or a
            prediction is NaN or infinite.
    """
    models = committee(model)
    structures = Structures.of(structures)
    copies = [without_labels(atoms) for atoms in structures.atoms]
    if not copies:
        return []
    conditions = []
    for index, structure in enumerate(structures):
        with structures.naming(index):
            for each in models:
                each.check_conditions(structure.conditions)
                each.check_cell(structure.atoms, structure.conditions)
        conditions.append(structure.conditions)
    pairs = zip(copies, conditions, strict=True)
    if any(models[0].opened(atoms, each) is not atoms for atoms, each in pairs):
        warnings.warn(f"{THROUGH}: {OPENED}", stacklevel=2)
    samples, stress = samples_for(models, structures), any(map(_has_stress, copies))
    predictions, _ = predict_samples(models, samples, batch_size, stress=stress, on_batch=on_batch)
    defined = [np.all([m.defined_stress(each) for m in models], axis=0) for each in conditions]
    _attach_results(copies, predictions, defined)
    results = [(atoms.calc.results[n] for n in ("energy", "forces")) for atoms in copies]
    wrong = [p for p, each in enumerate(results) if not all(np.isfinite(r).all() for r in each)]
    structures.raise_for(wrong, "the force field returned NaN or infinity")
    return copies


@plain_torch()
def deviations(
    models: Sequence[ForceField],
    structures: Structures | Sequence[ase.Atoms],
    batch_size: int = 16,
) -> list[np.ndarray]:
    """Computes how far the forces of a committee deviate, for many structures at once.

    Args:
        models: at least two, on the device where they run.
        structures: labels are not read.
        batch_size: structures at a time.

    Returns:
        For each structure the deviation of the force on each atom [N], eV/Å: the square root of
        the sum over x, y and z of the sample variances over the models.

    Raises:
        ValueError: for fewer models, or as :func:`predict`.
    """
    models = committee(models)
    if len(models) < 2:
        raise ValueError("got one model, which has nothing to deviate from; expected two or more")
    structures = Structures.of(structures)
    if not len(structures):
        return []
    samples = samples_for(models, structures)
    predictions, _ = predict_samples(models, samples, batch_size)
    variances = standard_deviation(predictions, "forces").square().sum(-1)
    sizes = [len(atoms) for atoms in structures.atoms]
    return [part.sqrt().numpy() for part in variances.split(sizes)]


def spread(structures: Sequence[ase.Atoms]) -> dict[str, float]:
    """Standard deviations of the forces of a committee in structures from :func:`predict`, meV/Å.

    Returns:
        force_std_mev_per_a, the root mean square over all components; the largest of one structure,
        and the number of that structure, counted from 0.
    """
    squares = [atoms.arrays["forces_std"] ** 2 for atoms in structures]
    of_each = [float(each.mean()) for each in squares]
    most = int(np.argmax(of_each))
    return {
        "force_std_mev_per_a": 1000 * float(np.sqrt(np.concatenate(squares).mean())),
        "largest_force_std_mev_per_a": 1000 * float(np.sqrt(of_each[most])),
        "of_structure": most,
    }


def _attach_results(
    structures: Sequence[ase.Atoms],
    predictions: Sequence[Prediction],
    defined: Sequence[np.ndarray],
) -> None:
    """Gives each structure its predictions, as the results of a calculator.

    Args:
        defined: which components [3, 3] of the stress of each are defined.
    """
    sizes = [len(atoms) for atoms in structures]
    mean = mean_prediction(predictions)._asdict()
    forces = mean["forces"].double().split(sizes)
    for index, atoms in enumerate(structures):
        results = {"energy": mean["energy"][index].item(), "forces": forces[index].numpy()}
        if _has_stress(atoms) and defined[index].any():
            full = mean["stress"][index].double().numpy()
            results["stress"] = voigt(np.where(defined[index], full, np.nan))
        atoms.calc = SinglePointCalculator(atoms, **results)
    if len(predictions) > 1:
        energy_std = standard_deviation(predictions, "energy").tolist()
        forces_std = standard_deviation(predictions, "forces").split(sizes)
        for index, atoms in enumerate(structures):
            atoms.info["energy_std"] = energy_std[index]
            atoms.arrays["forces_std"] = forces_std[index].numpy()


def _has_stress(atoms: ase.Atoms) -> bool:
    """Whether a stress is defined: that of a molecule in a box is meaningless."""
    return bool(atoms.pbc.any()) and has_volume(atoms)


def committee(model: ForceField | Sequence[ForceField]) -> list[ForceField]:
    """Returns the models of a committee; one model is a committee of one.

    Raises:
        ValueError: if they do not describe the same thing.
    """
    models = [model] if isinstance(model, ForceField) else list(model)
    check_committee(models)
    return models


def samples_for(
    models: Sequence[ForceField], structures: Structures, names: Sequence[str] = ()
) -> list[list[Sample]]:
    """The samples of each model (:func:`make_samples`); models that read the same graphs share one
    list.

    Raises:
        ValueError: naming a structure that a model does not allow.
    """
    shared: dict[tuple[object, ...], list[Sample]] = {}
    samples = []
    for model in models:
        config = model.config
        environment = config.environment.without_limits()
        key = (graph_settings(model), environment, config.axis, config.group)
        if key not in shared:
            shared[key] = make_samples(structures, config, names)
        samples.append(shared[key])
    return samples


@plain_torch()
def predict_samples(
    models: Sequence[ForceField],
    samples: Sequence[Sequence[Sample]],
    batch_size: int,
    forces: bool = True,
    stress: bool = False,
    on_batch: Callable[[int], Any] = lambda structures: None,
) -> tuple[list[Prediction], float]:
    """Predicts energies and their derivatives, batch by batch.

    Emits each extrapolation warning once.

    Args:
        models: on the device where they run; they stay unchanged.
        samples: of each model (:func:`samples_for`); at least one.
        on_batch: called with the number of structures in each batch that is done.

    Returns:
        The prediction of each model for all structures, on the CPU, and the time (s) that the
        models took, without the neighbour search.
    """
    device = next(models[0].parameters()).device
    frozen = [_frozen(model) for model in models]
    distinct = {id(each): Batches(each, batch_size) for each in samples}
    warned: set[str] = set()
    results: list[list[Prediction]] = [[] for _ in models]
    seconds = 0.0
    for batches in zip(*distinct.values(), strict=True):
        graphs = {key: batch.graph.to(device) for key, batch in zip(distinct, batches, strict=True)}
        runs = [(model, graphs[id(each)]) for model, each in zip(frozen, samples, strict=True)]
        for model, graph in runs:
            for kind, words in model.extrapolation_warnings(graph).items():
                if kind not in warned:
                    warned.add(kind)
                    warnings.warn(words, stacklevel=3)
        start = time.perf_counter()
        predictions = [model(graph, forces, stress) for model, graph in runs]
        for prediction in predictions:
            prediction.energy.sum().item()  # waits for the device
        seconds += time.perf_counter() - start
        for result, prediction in zip(results, predictions, strict=True):
            result.append(prediction)
        on_batch(batches[0].graph.n_graphs)
    return [_joined(result) for result in results], seconds


def _frozen(model: ForceField) -> ForceField:
    """The model if its weights require no gradient, else a frozen copy."""
    if model.training or any(weight.requires_grad for weight in model.parameters()):
        return copy.deepcopy(model).eval().freeze()
    return model


def _joined(predictions: Sequence[Prediction]) -> Prediction:
    """The predictions of successive batches as one, on the CPU."""
    columns = zip(*predictions, strict=True)
    return Prediction._make(None if c[0] is None else torch.cat(c).cpu() for c in columns)
