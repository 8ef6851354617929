"""Settings of the model to train: those of the run, or those of the model that it fine-tunes."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sikff.atomic_write import complete
from sikff.forcefield import ForceField, ForceFieldConfig, load
from sikff.forcefield.model_file import read_header
from sikff.forcefield.restrict_model import check_correction, restricted_config

from ..config import TrainConfig
from .data_statistics import SAME_ENERGY
from .new_elements import with_elements

SCALES = ("energy_scale", "average_neighbours")
NETWORK = (
    *("cutoff", "layers", "channels", "max_frequency", "feature_frequency", "correlation"),
    *("kernel_fields", "kernel_layers", "kernel_width", "radial_functions", "species_channels"),
    "readout_width",
)
CHANGES = ("group", "axis", "environment", "vacuum_group", "atomic_energies")


def with_network_of(config: TrainConfig, model: Mapping[str, Any]) -> TrainConfig:
    """A run that goes on with a network: sizes that it does not give are those of the network's
    configuration, maybe of an older version with other defaults."""
    if config.start is not None:
        return config
    sizes = {key: model[key] for key in NETWORK if key in model}
    return config.model_copy(update={"model": {**sizes, **config.model}})


def copy_start_model(config: TrainConfig) -> None:
    """Copies the model file that a run fine-tunes into its folder, where it is read later.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it is not a model.
    """
    if config.start is None:
        return
    path = config.start.model
    read_header(path)
    with complete(config.output / "start.sikff") as temporary:
        shutil.copyfile(path, temporary)


def model_settings(
    config: TrainConfig, elements: Sequence[str], isolated: Mapping[str, float]
) -> dict[str, Any]:
    """The keys of ForceFieldConfig that the run gives, or all keys of the model it fine-tunes.

    Args:
        elements, isolated: chemical symbols, and energies (eV) of free atoms, in the training data.

    Raises:
        ValueError: if the trained model has other energies of free atoms, or cannot be changed into
            the model of the run.
    """
    given = config.model
    if config.start is None:
        return {"elements": tuple(elements), **given}
    path = config.start.model
    model = trained_model(config, path)
    energies = {"atomic_energies": model.config.atomic_energies}  # of the elements that it knows
    trained = with_elements(model, elements).config.model_copy(update=energies)
    known = {} if "atomic_energies" in given else trained.atomic_energies
    off = [e for e in known if abs(isolated.get(e, known[e]) - known[e]) > SAME_ENERGY]
    if off:
        e = off[0]
        raise ValueError(
            f"the energy of a free {e} atom is {isolated[e]:.4f} eV in the data and {known[e]:.4f} "
            f"eV in {str(path)!r}, so the two are of different methods, or the model has fitted "
            "E0s. Give model.atomic_energies: those of the data, which shifts the model, or those "
            "of the file"
        )
    wanted = ForceFieldConfig(**{"elements": trained.elements, **given})
    target = _target(trained, {key: getattr(wanted, key) for key in CHANGES if key in given})
    for key in given:
        if key not in CHANGES and getattr(wanted, key) != getattr(target, key):
            raise ValueError(
                f"model.{key} is {getattr(wanted, key)!r}, but the run starts from {str(path)!r}, "
                f"where it is {getattr(target, key)!r}; leave it out (a run may change "
                f"{', '.join(CHANGES)})"
            )
    scales = SCALES if config.start.rescale else ()
    return {key: value for key, value in dict(target).items() if key not in scales}


def _target(trained: ForceFieldConfig, changes: Mapping[str, Any]) -> ForceFieldConfig:
    """The configuration of a trained model with the changes of a run; ranges of the environment
    are left to the data, which may lower heights."""
    energies = trained.atomic_energies | changes.get("atomic_energies", {})
    environment = changes.get("environment", trained.environment.without_limits())
    if environment.plane_origin is not None and environment.height_min is None:
        lowest = trained.environment.height_min
        environment = environment.model_copy(update={"height_min": lowest})
    if changes.get("vacuum_group", trained.vacuum_group) == trained.vacuum_group:
        given = (changes.get("group"), changes.get("axis"), environment)
        target = restricted_config(trained, *given)
        return target.model_copy(update={"atomic_energies": energies})
    new = {**dict(trained), **changes, "environment": environment, "atomic_energies": energies}
    if environment.lattice is not None:
        new["group"] = changes.get("group")  # by default the point group of the lattice
    target = ForceFieldConfig(**new)
    check_correction(trained, target)
    return target


def trained_model(config: TrainConfig, path: Path, elements: Sequence[str] = ()) -> ForceField:
    """Loads the model to fine-tune: the copy in the folder of the run, if there is one.

    Args:
        elements: chemical symbols; those that the model does not know begin as the nearest ones.
    """
    copy = config.output / "start.sikff"
    return with_elements(load(copy if copy.is_file() else path), elements)
