"""The data of a run: reads, checks and splits them, and completes the model with them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import ase

from sikff.forcefield import ForceFieldConfig

from ..config import LossConfig, TrainConfig
from .batches import JoinedSamples, Sample, update_digest
from .check_electrons import check_electrons
from .check_labels import check_fields, check_labels, check_names
from .check_run import check_config_types, check_elements
from .check_surface import check_surface, check_zero_of_energy
from .check_units import check_atomic_energies, check_units
from .data_statistics import complete_model, isolated_energies, with_surfaces
from .labels import NAMES, LabelKeys
from .model_settings import model_settings, trained_model
from .new_elements import begin_new_elements
from .notes import not_validated, unused_labels, wrapped_through_plane
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
        train: those that are trained on, those of `replay` among them.
        replay: of structures that a model to fine-tune knows already.
        model: the configured model with elements, E0s, scale and neighbours filled in.
        report: lines for the user.
        prepared: all but `replay`, if it is on the disk.
    """

    train: Sequence[Sample]
    valid: Sequence[Sample]
    model: ForceFieldConfig
    report: tuple[str, ...]
    replay: tuple[Sample, ...] = ()
    prepared: Prepared | None = None

    @property
    def fingerprint(self) -> str:
        """Equal for the same structures, labels with their weights and E0s; last digits of float64
        do not matter."""
        digest = hashlib.sha256()
        samples: Sequence[Sample] = (*self.train, *self.valid) if self.prepared is None else ()
        if self.prepared is not None:
            digest.update(self.prepared.fingerprint.encode())
            samples = self.replay
        for energy in self.model.atomic_energies.values():
            digest.update(f"{energy:.6f} ".encode())
        for sample in samples:
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
        return _with_replay(_load(config, given), config)
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
    dataset = Dataset(
        train=prepared.train,
        valid=prepared.valid,
        model=prepared.model,
        report=(*prepared.report, where),
        prepared=prepared,
    )
    return _with_replay(dataset, config)


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
    check_elements(train, valid, config)
    check_config_types(train, valid, config.loss.config_types)
    settings = with_surfaces(model_settings(config, train.elements, free), train)
    bare = ForceFieldConfig(**{**settings, "atomic_energies": {}})
    for structures in parts:
        check_fields(structures, bare)
        if config.data.check_units:
            check_zero_of_energy(structures, bare)
    check_surface(train, bare)
    electron_notes = check_electrons(train, bare)
    check_electrons(valid, bare)
    trained = _trained(config.loss, train, bare)
    names = [name for name in NAMES if name in {"energy", *trained}]
    samples, valid_samples = (_samples(part, bare, names, config, store) for part in (train, valid))
    survey = Survey.of(settings, _each(samples))
    for _ in _each(valid_samples):
        pass
    begun: list[str] = []
    if config.start is not None:
        old = trained_model(config, config.start.model)
        settings, begun = begin_new_elements(old, settings, samples, free)
    model, notes = complete_model(settings, train, survey, free)
    notes += begun
    if config.data.check_units:
        check_atomic_energies(train, model.atomic_energies)
    notes += [
        *electron_notes,
        *unused_labels(train, names, config.loss),
        *wrapped_through_plane(train, model),
    ]
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
            f"{', '.join(trained)}",
            *describe(train, survey, valid),
            *left_out,
            *not_validated(valid, trained),
            *notes,
        ),
    )


def _with_replay(dataset: Dataset, config: TrainConfig) -> Dataset:
    """Adds the structures of ``data.replay``, made for the same model and labels."""
    if config.data.replay is None:
        return dataset
    targets = dataset.train[0].targets._asdict()
    names = [name for name, target in targets.items() if target is not None]
    replay, left_out = _read_replay(config, dataset.model, names)
    notes = [
        f"{len(replay)} structures of data.replay are trained on again, with the weight "
        f"{config.data.replay_weight:g}",
        *(f"data.replay: {line}" for line in left_out),
    ]
    train: Sequence[Sample] = [*dataset.train, *replay]
    if dataset.prepared is not None:
        train = JoinedSamples(dataset.prepared.train, replay)
    report = (*dataset.report, *notes)
    return dataclasses.replace(dataset, train=train, report=report, replay=replay)


def _samples(
    structures: Structures,
    model: ForceFieldConfig,
    names: Sequence[str],
    config: TrainConfig,
    store: Store | None,
) -> Sequence[Sample]:
    """Samples with the labels of these names."""
    if store is not None:
        return store.samples(structures, model, names)
    return make_samples(structures.with_weights(config.loss.config_types), model, names)


def _each(samples: Sequence[Sample]) -> Iterable[Sample]:
    """The samples, one after another; those on the disk are counted meanwhile."""
    return samples.survey() if isinstance(samples, StoredSamples) else samples


def _read_labelled(
    config: TrainConfig, given: Given | None, read: Callable[[Any], Structures]
) -> tuple[Structures, Structures, dict[str, float], list[str]]:
    """(training structures, validation structures, energies of free atoms, what is left out), with
    all labels that the run reads."""
    data = config.data
    keys = _label_keys(config)
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
    required = config.loss.required
    for name in required:
        if name in train.label_names:
            continue
        if is_drawn and name in valid.label_names:
            raise ValueError(
                f"{valid.source}: {name} is in validation structures only "
                f"({valid.having(name).names(range(len(valid.having(name))))}); give data.valid "
                "or another seed"
            )
        train.check_labels_complete([name])  # raises, with what to do
    if len(valid) and not set(required) & set(valid.label_names):
        raise ValueError(
            f"{valid.source}: no validation structure has {' or '.join(required)}, which "
            "the run is trained on; give data.valid, or another seed"
        )
    sources = [isolated]
    if data.isolated_atoms is not None:
        sources.append(read(data.isolated_atoms))
    known = config.model.get("atomic_energies", {})
    free = isolated_energies(sources, keys, known, beside=[train, valid])
    return train, valid, free, left_out


def _label_keys(config: TrainConfig) -> LabelKeys:
    data = config.data
    return LabelKeys(data.energy_key, data.forces_key, data.stress_key, data.forces_weight_key)


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


def _read_replay(
    config: TrainConfig, model: ForceFieldConfig, names: Sequence[str]
) -> tuple[tuple[Sample, ...], list[str]]:
    """Structures that the model to fine-tune was trained on, with their factor of the loss; and
    what is left out."""
    paths = cast(Any, config.data.replay)
    structures, isolated = split_isolated(read_structures(paths, config.data.npz_units))
    structures, left_out = _labelled(structures, _label_keys(config), config)
    check_labels(structures)
    weighted = structures.with_weights(config.loss.config_types)
    samples = make_samples(weighted, model, names)
    factor = config.data.replay_weight
    if len(isolated):
        left_out.append(f"{len(isolated)} isolated atoms are not trained on")
    return tuple(dataclasses.replace(s, weight=factor * s.weight) for s in samples), left_out


def _trained(loss: LossConfig, train: Structures, model: ForceFieldConfig) -> list[str]:
    """The labels that the run is trained on; by default a stress only if it does not depend on the
    origin of the coordinates."""
    names = list(loss.required)
    has_surface = model.environment.plane_origin is not None
    if loss.stress is None and "stress" in train.label_names and not has_surface:
        names.append("stress")
    return names
