"""The data of a run on the disk: records of its files, and what was prepared from them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

import sikff
from sikff.atomic_write import clear_unfinished, complete
from sikff.forcefield import ForceFieldConfig

from ...config import TrainConfig, bytes_of
from ..batches import Counts
from ..labels import NAMES, LabelKeys
from ..structures import Structures
from .record_cache import FOLDER, identity_of, locked, open_records
from .record_file import RecordFile
from .stored_samples import Budget, Recipe, StoredSamples, StoredStructures

FORMAT_VERSION = 1
PARTS = ("train", "valid")


class Prepared(NamedTuple):
    """A data set that is ready: nothing of it has to be read before the first batch."""

    train: StoredSamples
    valid: StoredSamples
    model: ForceFieldConfig
    report: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Equal for the same structures, labels with their weights and E0s."""
        energies = " ".join(f"{energy:.6f}" for energy in self.model.atomic_energies.values())
        text = f"{energies} {self.train.digest} {self.valid.digest}"
        return hashlib.sha256(text.encode()).hexdigest()


class Store:
    """The files of a run, read through records on the disk.

    Args:
        config: of the run, with ``data.memory``.

    Raises:
        FileNotFoundError: if a file is missing.
    """

    def __init__(self, config: TrainConfig) -> None:
        data = config.data
        self.config, self.budget = config, Budget(bytes_of(data.memory or "0 B"))
        paths = [
            path for name in ("train", "valid", "isolated_atoms") for path in files(data, name)
        ]
        self.folder = data.cache or (paths[0].parent / FOLDER if paths else Path(FOLDER))
        start = [] if config.start is None else [config.start.model]
        settings = config.model_dump(
            mode="json", include={"data", "model", "start", "loss", "seed"}
        )
        for name in ("memory", "cache", "replay", "replay_weight"):
            del settings["data"][name]
        identities = [(str(path.absolute()), identity_of(path)) for path in (*paths, *start)]
        about = {"version": FORMAT_VERSION, "sikff": sikff.__version__, "settings": settings}
        self._about = json.loads(json.dumps({**about, "files": identities}))
        digest = hashlib.sha256(json.dumps(self._about, sort_keys=True).encode()).hexdigest()
        self._path = self.folder / f"prepared-{digest[:16]}.safetensors"

    def read(self, paths: Path | Sequence[Path]) -> Structures:
        """Reads all structures of files as :func:`~sikff.training.data.reading.read_structures`;
        their atoms stay on the disk."""
        several = [paths] if isinstance(paths, Path) else [*paths]
        opened = [self._open(path) for path in several]
        return StoredStructures.read(opened, " + ".join(map(str, several)))

    def samples(
        self, structures: Structures, model: ForceFieldConfig, names: Sequence[str]
    ) -> StoredSamples:
        """Samples of structures that are read, made for a model, with the labels of these names."""
        recipe = self._recipe(structures.source, model, tuple(names))
        return StoredSamples.of(structures, recipe, self.budget)

    def keep(self, prepared: Prepared) -> None:
        """Writes what is known of a data set, for the next run with the same files and settings."""
        arrays: dict[str, np.ndarray] = {}
        about: dict[str, Any] = {
            **self._about,
            "model": prepared.model.model_dump(mode="json"),
            "report": prepared.report,
        }
        for name in PARTS:
            samples: StoredSamples = getattr(prepared, name)
            if samples.counts is None:
                raise RuntimeError(f"{name}: samples are kept before they are counted")
            counts = {f"{name}.{n}": a for n, a in samples.counts._asdict().items()}
            arrays |= {f"{name}.places": samples.places, **counts}
            about[name] = {
                "files": [str(file.path) for file in samples.files],
                "metadata": [file.metadata for file in samples.files],
                "source": samples.recipe.source,
                "labels": samples.recipe.targets,
                "model": samples.recipe.model.model_dump(mode="json"),
                "digest": samples.digest,
            }
        clear_unfinished(self._path)
        with complete(self._path) as temporary:
            arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
            temporary.write_bytes(save(arrays, {"sikff": json.dumps(about)}))

    def find(self) -> Prepared | None:
        """What an earlier run has kept; None if there is none, or files have changed since."""
        try:
            with safe_open(self._path, "numpy") as file:
                about = json.loads(file.metadata()["sikff"])
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None
        if any(about.get(name) != value for name, value in self._about.items()):
            return None
        parts = {}
        for name in PARTS:
            opened = self._open_again(about[name])
            if opened is None:
                return None
            kept = about[name]
            model, names = ForceFieldConfig(**kept["model"]), tuple(kept["labels"])
            recipe = self._recipe(kept["source"], model, names)
            counts = Counts(*(arrays[f"{name}.{field}"] for field in Counts._fields))
            places = arrays[f"{name}.places"]
            parts[name] = StoredSamples(opened, places, recipe, self.budget, counts)
            parts[name].digest = about[name]["digest"]
        return Prepared(**parts, model=ForceFieldConfig(**about["model"]), report=about["report"])

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the lock of what is kept, so that one process at a time prepares it."""
        with locked(self._path):
            yield

    def _open(self, path: Path) -> RecordFile:
        return open_records(path, self.folder, self.config.data.npz_units)

    def _open_again(self, about: dict[str, Any]) -> list[RecordFile] | None:
        """The files of records, unless one is missing or has been written again since."""
        opened = []
        for path, metadata in zip(about["files"], about["metadata"], strict=True):
            try:
                opened.append(RecordFile(Path(path)))
            except (FileNotFoundError, ValueError):
                return None
            if opened[-1].metadata != metadata:
                return None
        return opened

    def _recipe(self, source: str, model: ForceFieldConfig, names: tuple[str, ...]) -> Recipe:
        data, loss = self.config.data, self.config.loss
        keys = LabelKeys(data.energy_key, data.forces_key, data.stress_key, data.forces_weight_key)
        read = tuple(n for n in NAMES if n in loss.labels or n in data.require)
        return Recipe(source, keys, read, names, loss.config_types, model)


def files(data: Any, name: str) -> tuple[Path, ...]:
    """The files that a key of ``data`` names."""
    value = getattr(data, name)
    if isinstance(value, Path):
        return (value,)
    return tuple(value) if isinstance(value, tuple) else ()
