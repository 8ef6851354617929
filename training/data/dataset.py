"""All that a run needs from its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import is_periodic_along
from sikff.graph.conditions import FIELD

from ..config import DataConfig, TrainConfig
from .baselines import complete_model, isolated_energies, with_surfaces
from .batches import Sample
from .check_labels import (
    check_atomic_energies,
    check_fields,
    check_labels,
    check_units,
)
from .labels import has_label
from .model_settings import model_settings
from .report import describe
from .structures import (
    Frames,
    config_types,
    elements_of,
    make_samples,
    read_frames,
    read_labels,
    split_isolated,
    split_validation,
    unread_conditions,
)
from .targets import Targets

PARTIAL = ("stress",)  # labels that structures may lack


@dataclass(frozen=True)
class Dataset:
    """Samples, and what they decide about the model.

    Attributes:
        valid_frames: what `valid` was made of.
        model: the configured model with elements, E0s, scale and neighbours filled in.
        report: lines for the user.
    """

    train: list[Sample]
    valid: list[Sample]
    valid_frames: Frames
    model: ForceFieldConfig
    report: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Equal for the same structures, labels and E0s; last digits of float64 do not matter."""
        found = hashlib.sha256()
        for energy in self.model.atomic_energies.values():
            found.update(f"{energy:.6f} ".encode())
        for sample in (*self.train, *self.valid):
            for tensor in (*vars(sample.graph).values(), *sample.targets):
                if tensor is not None:
                    rounded = tensor.float() if tensor.is_floating_point() else tensor
                    found.update(rounded.numpy().tobytes())
        return found.hexdigest()


def load_dataset(config: TrainConfig) -> Dataset:
    """Reads, checks and splits the data, and completes the configuration of the model.

    Raises:
        FileNotFoundError, ValueError: if files or labels are missing or make no sense.
    """
    data = config.data
    train, isolated = read_structures(data.train)
    if isinstance(data.valid, int | float):
        train, valid = split_validation(train, data.valid, config.seed)
    else:
        valid, _ = read_structures(data.valid)
    trained = [name for name in Targets._fields if getattr(config.loss, name)]
    needed = config.loss.labels
    labels = read_labels(train, data, needed, PARTIAL)
    if "stress" in trained and not any(np.isfinite(each).all() for each in labels["stress"]):
        read_labels(train, data, ["stress"])  # says what to do where there is none
    valid_labels = read_labels(valid, data, needed, PARTIAL)
    sources = [isolated]
    if data.isolated_atoms is not None:
        sources.append(read_frames(data.isolated_atoms))
    free = isolated_energies(sources, data, config.model.get("atomic_energies", {}))
    for frames, found in ((train, labels), (valid, valid_labels)):
        check_labels(frames, found)
        if data.check_units:
            check_units(frames, found, free)

    _check_elements(train, valid, config)
    _check_config_types(train, config.loss.config_types)
    settings = with_surfaces(model_settings(config, elements_of(train), free), train)
    bare = ForceFieldConfig(**{**settings, "atomic_energies": {}})
    for frames in (train, valid):
        check_fields(frames, bare)
    samples = make_samples(train, bare, labels)
    valid_samples = make_samples(valid, bare, valid_labels)
    samples = _weighted(train, samples, config.loss.config_types)
    valid_samples = _weighted(valid, valid_samples, config.loss.config_types)
    model, notes = complete_model(settings, train, labels, samples, free)
    if data.check_units:
        check_atomic_energies(train, labels, model.atomic_energies)
    notes += [*_unused(train, data, needed), *_through_plane(train, model)]
    if not any(sample.graph.n_edges for sample in samples):
        notes.append(f"note: no two atoms are within the cutoff ({model.cutoff:g} Å)")
    for key in unread_conditions(train, model):
        setting = "field" if key == FIELD else "plane_origin"
        notes.append(f"structures have {key}; the model ignores it (model.environment.{setting})")
    counted = f"{len(train.atoms)} training and {len(valid.atoms)} validation structures"
    described = describe(train, data, needed, samples, valid)
    return Dataset(
        train=samples,
        valid=valid_samples,
        valid_frames=valid,
        model=model,
        report=(f"{counted}, trained on {', '.join(trained)}", *described.lines, *notes),
    )


def _check_elements(train: Frames, valid: Frames, config: TrainConfig) -> None:
    """Refuses validation structures with elements that the model would not know."""
    if config.start is not None or "elements" in config.model:
        return
    foreign = sorted(set(elements_of(valid)) - set(elements_of(train)))
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} occurs in validation structures only; give data.valid or "
            "another seed, or name all elements in model.elements"
        )


def _weighted(
    frames: Frames, samples: Sequence[Sample], weights: Mapping[str, float]
) -> list[Sample]:
    """The samples, counted by their config_type."""
    if not weights:
        return list(samples)
    kinds = config_types(frames) or ["none"] * len(samples)
    pairs = zip(samples, kinds, strict=True)
    return [replace(each, weight=weights.get(kind, 1.0)) for each, kind in pairs]


def _check_config_types(frames: Frames, weights: Mapping[str, float]) -> None:
    """Refuses weights of a config_type that no training structure has."""
    kinds = {*config_types(frames)} - {"none"}
    foreign = sorted(set(weights) - kinds)
    if foreign:
        raise ValueError(
            f"loss.config_types names {', '.join(foreign)}, which no training structure has as its "
            f"config_type; there are {', '.join(sorted(kinds)) or 'none'}"
        )


def _unused(frames: Frames, data: DataConfig, needed: Sequence[str]) -> list[str]:
    """Labels that are there and are not trained on, in words."""
    notes = []
    for name in (name for name in Targets._fields if name not in needed):
        key = getattr(data, f"{name}_key")
        count = sum(has_label(atoms, name, key) for atoms in frames.atoms)
        if count:
            total = len(frames.atoms)
            notes.append(f"{name} of {count} of {total} is not trained on (loss.{name}: 0)")
    return notes


def _through_plane(frames: Frames, model: ForceFieldConfig) -> list[str]:
    """Structures whose heights above the plane of a model change when their atoms are wrapped."""
    if model.environment.plane_origin is None:
        return []
    across = (is_periodic_along(atoms, model.axis) for atoms in frames.atoms)
    places = [place for place, leads in enumerate(across) if leads]
    if not places:
        return []
    return [
        f"note: a periodic direction leads through the plane in {frames.names(places)}: the height "
        "of an atom is that of its position as it stands, so never wrap them, or set pbc to false "
        "along the axis"
    ]


def read_structures(paths: Path | Sequence[Path]) -> tuple[Frames, Frames]:
    """(structures, isolated atoms) of the files.

    Raises:
        FileNotFoundError, ValueError: if a file is missing or unreadable, or there are no
            structures but isolated atoms.
    """
    structures, isolated = split_isolated(read_frames(paths))
    if not structures.atoms:
        raise ValueError(f"{isolated.source} holds isolated atoms only; expected structures")
    return structures, isolated
