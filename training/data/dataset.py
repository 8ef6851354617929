"""The data of a run: reads, checks and splits them, and completes the model with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import ase

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import OPENED, THROUGH, is_periodic_along
from sikff.graph.conditions import VACUUM

from ..config import TrainConfig
from .batches import Sample, update_digest
from .check_electrons import check_electrons
from .check_labels import check_fields, check_labels, check_names
from .check_surface import check_surface, check_zero_of_energy
from .check_units import check_atomic_energies, check_units
from .data_statistics import complete_model, isolated_energies, with_surfaces
from .labels import NAMES, LabelKeys, has_label
from .model_settings import model_settings
from .on_disk.store import Prepared, Store
from .on_disk.stored_samples import StoredSamples
from .reading import read_structures
from .report import describe, describe_left_out
from .samples import SETTINGS, make_samples, unread_conditions
from .structures import Structures, split_isolated, split_validation
from .survey import Survey


@dataclass(frozen=True)
class Dataset:
    """The samples of a run.

    Attributes:
        model: the configured model with elements, E0s, scale and neighbours filled in.
        report: lines for the user.
        prepared: the same, if it is on the disk.
    """

    train: Sequence[Sample]
    valid: Sequence[Sample]
    model: ForceFieldConfig
    report: tuple[str, ...]
    prepared: Prepared | None = None

    @property
    def fingerprint(self) -> str:
        """Equal for the same structures, labels with their weights and E0s; last digits of float64
        do not matter."""
        if self.prepared is not None:
            return self.prepared.fingerprint
        digest = hashlib.sha256()
        for energy in self.model.atomic_energies.values():
            digest.update(f"{energy:.6f} ".encode())
        for sample in (*self.train, *self.valid):
            update_digest(digest, sample)
        return digest.hexdigest()


@dataclass(frozen=True)
class Given:
    """Labelled structures in memory, instead of those in ``data.train`` and ``data.valid``.

    Attributes:
        train: structures; isolated atoms among them are used as in files.
        valid: structures; None: as ``data.valid`` says, of `train`.
    """

    train: Structures
    valid: Structures | None = None

    @classmethod
    def of(cls, train: Sequence[ase.Atoms], valid: Sequence[ase.Atoms] | None = None) -> Given:
        """Reads the structures (:meth:`Structures.of`)."""
        read = None if valid is None else Structures.of(valid, "validation structures")
        return cls(Structures.of(train), read)


def load_dataset(config: TrainConfig, given: Given | None = None) -> Dataset:
    """Reads, checks and splits the data, and completes the configuration of the model.

    With ``data.memory`` structures and what is known of them are on the disk. That is written by
    the first run, and others with the same files and settings begin at once.

    Args:
        given: structures in memory; None: files are read.

    Raises:
        FileNotFoundError, ValueError: if files or labels are missing or make no sense.
        OSError: if ``data.cache`` cannot be written to.
    """
    if given is not None or config.data.train is None or config.data.memory is None:
        return _load(config, given)
    store = Store(config)
    prepared = store.find()
    if prepared is None:
        with store.locked():
            prepared = store.find()
            if prepared is None:
                dataset = _load(config, None, store)
                train, valid = cast(Any, (dataset.train, dataset.valid))
                prepared = Prepared(train, valid, dataset.model, dataset.report)
                store.keep(prepared)
    where = f"structures are on the disk ({store.folder}), graphs in up to {config.data.memory}"
    report = (*prepared.report, where)
    return Dataset(prepared.train, prepared.valid, prepared.model, report, prepared)


def _load(config: TrainConfig, given: Given | None, store: Store | None = None) -> Dataset:
    """Loads the data set from memory, files, or files through a store."""
    if store is None:
        read: Callable[[Any], Structures] = partial(read_structures, units=config.data.npz_units)
    else:
        read = store.read
    train, valid, free, left_out = _read_labelled(config, given, read)
    parts = (train, valid) if len(valid) else (train,)
    for structures in parts:
        check_labels(structures)
        if config.data.check_units:
            check_units(structures, free)
    _check_elements(train, valid, config)
    _check_config_types(train, valid, config.loss.config_types)
    settings = with_surfaces(model_settings(config, train.elements, free), train)
    bare = ForceFieldConfig(**{**settings, "atomic_energies": {}})
    for structures in parts:
        check_fields(structures, bare)
        if config.data.check_units:
            check_zero_of_energy(structures, bare)
    check_surface(train, bare)
    electron_notes = check_electrons(train, bare)
    check_electrons(valid, bare)
    samples, valid_samples = (_samples(part, bare, config, store) for part in (train, valid))
    survey = Survey.of(settings, _each(samples))
    for _ in _each(valid_samples):
        pass
    model, notes = complete_model(settings, train, survey, free)
    if config.data.check_units:
        check_atomic_energies(train, model.atomic_energies)
    notes += [*electron_notes, *_unused(train, config.loss.labels), *_through_plane(train, model)]
    if survey.closest is None:
        notes.append(f"note: no two atoms are within the cutoff ({model.cutoff:g} Å)")
    for key in unread_conditions(train, model):
        notes.append(
            f"structures have {key}; the model ignores it (model.environment.{SETTINGS[key]})"
        )
    return Dataset(
        train=samples,
        valid=valid_samples,
        model=model,
        report=(
            f"{len(train)} training and {len(valid)} validation structures, trained on "
            f"{', '.join(_trained(config))}",
            *describe(train, survey, valid),
            *left_out,
            *notes,
        ),
    )


def _samples(
    structures: Structures, model: ForceFieldConfig, config: TrainConfig, store: Store | None
) -> Sequence[Sample]:
    if store is not None:
        return store.samples(structures, model)
    weighted = structures.with_weights(config.loss.config_types)
    return make_samples(weighted, model, config.loss.labels)


def _each(samples: Sequence[Sample]) -> Iterable[Sample]:
    """The samples, one after another; those on the disk are counted meanwhile."""
    return samples.survey() if isinstance(samples, StoredSamples) else samples


def _read_labelled(
    config: TrainConfig, given: Given | None, read: Callable[[Any], Structures]
) -> tuple[Structures, Structures, dict[str, float], list[str]]:
    """(training structures, validation structures, energies of free atoms, what is left out), with
    all labels that the run reads."""
    data = config.data
    keys = LabelKeys(data.energy_key, data.forces_key, data.stress_key, data.forces_weight_key)
    train, isolated = split_isolated(_given_or_read(config, given, read))
    train, left_out = _labelled(train, keys, config)
    train.check_weight_key()
    found = None if given is None else given.valid
    is_drawn = found is None and isinstance(data.valid, int | float)
    if not is_drawn:
        found = read(data.valid) if found is None else found
        valid, _ = split_isolated(found)
        valid, more = _labelled(valid, keys, config)
        left_out += [f"validation: {line}" for line in more]
    elif data.valid:
        train, valid = split_validation(train, cast(float, data.valid), config.seed)
    else:
        valid = train.select([])
    check_names([train, valid])
    for name in _trained(config):
        if name in train.label_names:
            continue
        if is_drawn and name in valid.label_names:
            raise ValueError(
                f"{valid.source}: {name} is in validation structures only "
                f"({valid.having(name).names(range(len(valid.having(name))))}); give data.valid "
                "or another seed"
            )
        train.check_labels_complete([name])  # raises, with what to do
    if len(valid) and not set(_trained(config)) & set(valid.label_names):
        raise ValueError(
            f"{valid.source}: no validation structure has {' or '.join(_trained(config))}, which "
            "the run is trained on; give data.valid, or another seed"
        )
    for name in _trained(config):
        if len(valid) and name not in valid.label_names:
            left_out.append(
                f"note: no validation structure has {name}, so the best epoch is chosen without"
            )
    sources = [isolated]
    if data.isolated_atoms is not None:
        sources.append(read(data.isolated_atoms))
    known = config.model.get("atomic_energies", {})
    free = isolated_energies(sources, keys, known, beside=[train, valid])
    return train, valid, free, left_out


def _given_or_read(
    config: TrainConfig, given: Given | None, read: Callable[[Any], Structures]
) -> Structures:
    """The structures for training, before the split."""
    if given is not None:
        return given.train
    if config.data.train is None:
        raise ValueError(
            "data.train is missing; expected a file of labelled structures, or a list of them (in "
            "Python also structures in memory, as an argument of fit)"
        )
    return read(config.data.train)


def _labelled(
    structures: Structures, keys: LabelKeys, config: TrainConfig
) -> tuple[Structures, list[str]]:
    """Structures with a label that counts, and what is left out.

    Raises:
        ValueError: naming structures that lack a required label, or whose labels are not finite.
    """
    names = [n for n in NAMES if n in config.loss.labels or n in config.data.require]
    structures = structures.with_labels(keys, names)
    structures.check_labels_given(config.data.require)
    structures.check_labels_complete(names, partial=NAMES)
    counting = [index for index, each in enumerate(structures) if each.labels]
    left_out = describe_left_out(structures)
    return (structures.select(counting) if counting else structures), left_out


def _trained(config: TrainConfig) -> list[str]:
    """The labels whose terms of the loss have a weight."""
    return [name for name in NAMES if getattr(config.loss, name)]


def _check_elements(train: Structures, valid: Structures, config: TrainConfig) -> None:
    """Raises ValueError for elements in validation structures that the model would lack."""
    if config.start is not None or "elements" in config.model:
        return
    foreign = sorted(set(valid.elements) - set(train.elements))
    if foreign:
        raise ValueError(
            f"{', '.join(foreign)} occurs in validation structures only; give data.valid or "
            "another seed, or name all elements in model.elements"
        )


def _check_config_types(
    structures: Structures, valid: Structures, weights: Mapping[str, float]
) -> None:
    """Raises ValueError for weights of a config_type that no training structure has, and if all
    labelled structures for training, or for validation, have weight 0."""
    kinds = {structure.config_type for structure in structures if structure.config_type}
    foreign = sorted(set(weights) - kinds)
    if foreign:
        raise ValueError(
            f"loss.config_types names {', '.join(foreign)}, which no training structure has as its "
            f"config_type; there are {', '.join(sorted(kinds)) or 'none'}"
        )
    for part in (structures, valid) if len(valid) else (structures,):
        if not any(each.weight for each in part.with_weights(weights)):
            raise ValueError(
                f"{part.source}: loss.config_types is 0 for all {len(part)} structures with labels "
                "for training or validation; expected some weight above 0"
            )


def _unused(structures: Structures, needed: Sequence[str]) -> list[str]:
    """Labels that the structures have and the run does not need, in words."""
    notes = []
    for name in (name for name in NAMES if name not in needed):
        key = getattr(structures.keys, name)
        count = sum(has_label(atoms, name, key) for atoms in structures.atoms)
        if count:
            total = len(structures)
            notes.append(f"{name} of {count} of {total} is not trained on (loss.{name}: 0)")
    return notes


def _through_plane(structures: Structures, model: ForceFieldConfig) -> list[str]:
    """Structures whose heights above the plane of a model change when their atoms are wrapped."""
    if model.environment.plane_origin is None:
        return []
    indices = [
        p
        for p, structure in enumerate(structures)
        if structure.conditions.surface != VACUUM and is_periodic_along(structure.atoms, model.axis)
    ]
    if not indices:
        return []
    return [f"note: {THROUGH} in {structures.names(indices)}: {OPENED}"]
