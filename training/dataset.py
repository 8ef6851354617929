"""All that a run needs from its files."""

from __future__ import annotations

from dataclasses import dataclass

from sikff.forcefield import ForceFieldConfig
from sikff.training.batches import Sample
from sikff.training.config import TrainConfig
from sikff.training.data import (
    elements_of,
    make_samples,
    read_frames,
    split_isolated,
    split_validation,
)
from sikff.training.losses import Targets
from sikff.training.statistics import complete_model


@dataclass(frozen=True)
class Dataset:
    """Samples, and what they decide about the model.

    Attributes:
        model: the configured model with elements, E0s, scale and neighbours filled in.
        report: lines for the user.
    """

    train: list[Sample]
    valid: list[Sample]
    model: ForceFieldConfig
    report: tuple[str, ...]


def load_dataset(config: TrainConfig) -> Dataset:
    """Reads, checks and splits the data, and completes the configuration of the model.

    Raises:
        FileNotFoundError, ValueError: if files or labels are missing or make no sense.
    """
    data = config.data
    train, isolated = split_isolated(read_frames(data.train))
    if not train.atoms:
        raise ValueError(f"{train.source} holds isolated atoms only; expected structures")
    if isinstance(data.valid, int | float):
        train, valid = split_validation(train, data.valid, config.seed)
    else:
        valid, _ = split_isolated(read_frames(data.valid))
    sources = [isolated]
    if data.isolated_atoms is not None:
        sources.append(read_frames(data.isolated_atoms))
    settings = {"elements": elements_of(train), **config.model}
    bare = ForceFieldConfig(**{**settings, "atomic_energies": {}})
    trained = [name for name in Targets._fields if getattr(config.loss, name)]
    needed = {"energy", *trained}
    samples = make_samples(train, bare, data, needed)
    model, notes = complete_model(settings, samples, sources, data)
    if not model.frame.field and any(sample.graph.field.any() for sample in samples):
        notes.append("structures have an electric_field; the model ignores it (model.frame.field)")
    counted = f"{len(train.atoms)} training and {len(valid.atoms)} validation structures"
    return Dataset(
        train=samples,
        valid=make_samples(valid, bare, data, needed),
        model=model,
        report=(f"{counted}, trained on {', '.join(trained)}", *notes),
    )
