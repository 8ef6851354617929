"""Energies, forces and stresses that a force field gives to structures of a file."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np
import torch
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from sikff.forcefield import ForceField, Prediction
from sikff.forcefield.committee import check_committee, graph_settings
from sikff.graph import AtomicGraph, has_volume
from sikff.graph.conditions import Conditions

from ..data.batches import Batches, Sample
from ..data.labels import without_labels
from ..data.structures import Frames, make_samples
from ..data.targets import Targets

Reader = tuple[Any, ...]


class Answer(NamedTuple):
    """What a committee says about a batch of structures, and their labels.

    `graph` is the one that the first model read; `seconds` are those of the models.
    """

    predictions: list[Prediction]
    graph: AtomicGraph
    targets: Targets
    seconds: float

    @property
    def mean(self) -> Prediction:
        """The mean over the models."""
        columns = zip(*self.predictions, strict=True)
        return Prediction._make(
            None if column[0] is None else torch.stack(column).mean(0) for column in columns
        )

    def deviation(self, name: str) -> Tensor:
        """Sample standard deviation of "energy" or "forces" over at least two models."""
        return torch.stack([getattr(each, name) for each in self.predictions]).std(0)


def reader(model: ForceField) -> Reader:
    """Models for which this is the same read the same graphs and refuse the same conditions."""
    config = model.config
    return (graph_settings(model), config.environment.without_limits(), config.axis, config.group)


def answers(
    models: Sequence[ForceField],
    samples: Mapping[Reader, Sequence[Sample]],
    batch_size: int,
    forces: bool = True,
    stress: bool = False,
) -> Iterator[Answer]:
    """What models, which it puts into evaluation mode, say about structures, batch by batch.

    Args:
        samples: the structures, for each :func:`reader` among the models.
    """
    device = next(models[0].parameters()).device
    readers = [(model.eval(), reader(model)) for model in models]
    warned: set[str] = set()
    for batches in zip(*(Batches(each, batch_size) for each in samples.values()), strict=True):
        moved = [batch.graph.to(device) for batch in batches]
        graphs = dict(zip(samples, moved, strict=True))
        for model, key in readers:
            for kind, words in model.beyond_training(graphs[key]).items():
                if kind not in warned:
                    warned.add(kind)
                    warnings.warn(words, stacklevel=3)
        targets = Targets(*(None if t is None else t.to(device) for t in batches[0].targets))
        start = time.perf_counter()
        predictions = [model(graphs[key], forces, stress) for model, key in readers]
        for prediction in predictions:
            prediction.energy.sum().item()  # waits for the device
        yield Answer(predictions, moved[0], targets, time.perf_counter() - start)


def predict(
    model: ForceField | Sequence[ForceField],
    frames: Frames | Sequence[ase.Atoms],
    batch_size: int = 16,
    on_batch: Callable[[int], Any] = lambda structures: None,
) -> list[ase.Atoms]:
    """The structures with what a model says about them, as results that ASE writes and reads.

    Labels that came with the structures are left out; everything else stays as it is.

    Args:
        model: on the device where it should run; it is put into evaluation mode. Several are a
            committee, whose mean is the result.
        frames: structures, with or without labels. What acts from outside is in their `info`, as
            for :class:`~sikff.calculators.SIKFFCalculator`.
        batch_size: structures at a time.
        on_batch: called with the number of structures in each batch that is done.

    Returns:
        Copies of the structures, in their order, with energy (eV), forces [N, 3] (eV/Å) and, where
        they are periodic and have a cell with a volume, stress [6] (eV/Å^3); of a committee also
        with sample standard deviations, ``info["energy_std"]`` and ``arrays["forces_std"]`` [N, 3].

    Raises:
        ValueError: if the models do not make a committee, one cannot answer for a frame, or the
            answer is NaN or infinite.
    """
    models = [model] if isinstance(model, ForceField) else list(model)
    frames = frames if isinstance(frames, Frames) else Frames.of(frames)
    check_committee(models)
    for place, atoms in enumerate(frames.atoms):
        with frames.naming(place):
            conditions = Conditions.of(atoms.info)
            for each in models:
                each.check_conditions(conditions)
    readers = {reader(each): each.config for each in models}
    samples = {key: make_samples(frames, config, {}) for key, config in readers.items()}
    found = [without_labels(atoms) for atoms in frames.atoms]
    stress, done = any(map(_has_stress, found)), 0
    for answer in answers(models, samples, batch_size, stress=stress):
        here = range(done, done + answer.graph.n_graphs)
        _keep(answer, [found[place] for place in here])
        said = {place: found[place].calc.results.values() for place in here}
        wrong = [p for p, results in said.items() if not all(map(_is_finite, results))]
        frames.refuse(wrong, "the force field returned NaN or infinity")
        done += len(here)
        on_batch(len(here))
    return found


def spread(structures: Sequence[ase.Atoms]) -> dict[str, float]:
    """How far a committee disagrees about structures from :func:`predict`, meV/Å.

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


def _keep(answer: Answer, structures: Sequence[ase.Atoms]) -> None:
    """Gives each structure of a batch what was said about it."""
    sizes = [len(atoms) for atoms in structures]
    said = answer.mean._asdict()
    forces = said["forces"].double().cpu().split(sizes)
    for place, atoms in enumerate(structures):
        results = {"energy": said["energy"][place].item(), "forces": forces[place].numpy()}
        if _has_stress(atoms):
            full = said["stress"][place].double().cpu().numpy()
            results["stress"] = full_3x3_to_voigt_6_stress(full)
        atoms.calc = SinglePointCalculator(atoms, **results)
    if len(answer.predictions) > 1:
        energy_std = answer.deviation("energy").tolist()
        forces_std = answer.deviation("forces").double().cpu().split(sizes)
        for place, atoms in enumerate(structures):
            atoms.info["energy_std"] = energy_std[place]
            atoms.arrays["forces_std"] = forces_std[place].numpy()


def _has_stress(atoms: ase.Atoms) -> bool:
    """Molecules in a box have one too, which means nothing."""
    return bool(atoms.pbc.any()) and has_volume(atoms)


def _is_finite(result: float | np.ndarray) -> bool:
    return bool(np.isfinite(result).all())
