"""Runs that go on from a trained model: what comes from its file, and what a run may change."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sikff.atomic_write import complete
from sikff.forcefield import ForceField, ForceFieldConfig, load
from sikff.forcefield.model_file import read_header
from sikff.forcefield.restrict import check_correction, corrected, restricted, restricted_config
from sikff.graph import AtomicGraph

from ..config import TrainConfig
from ..data.baselines import SAME_ENERGY, atomic_energies
from ..data.batches import Sample, collate
from .init_scales import set_scales

CHANGES = ("group", "axis", "environment", "vacuum_group", "atomic_energies")
LOOKED_AT = 32  # structures, before training
FAR_OFF = 0.1  # eV per atom


def keep_start(config: TrainConfig) -> None:
    """Copies the model file that a new run starts from into its folder, to be read from there.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it is no model.
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
    """Keys of ForceFieldConfig: those that the run gives, or all of the model it starts from.

    Args:
        config: the run.
        elements: chemical symbols in the training data.
        isolated: energies (eV) of free atoms in the data.

    Raises:
        ValueError: if the trained model lacks an element, has other energies of free atoms, or
            cannot become the one of the run.
    """
    given = config.model
    if config.start is None:
        return {"elements": tuple(elements), **given}
    path = config.start.model
    trained = _trained(config, path).config
    unknown = sorted(set(elements) - set(trained.elements))
    if unknown:
        raise ValueError(
            f"the training data hold {', '.join(unknown)}, which {str(path)!r} does not know (it "
            f"knows {', '.join(trained.elements)}); leave these structures out, or train a new "
            "model"
        )
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
    return dict(target)


def _target(trained: ForceFieldConfig, changes: Mapping[str, Any]) -> ForceFieldConfig:
    """The model that a run makes of a trained one; its data tell the range of an environment."""
    energies = trained.atomic_energies | changes.get("atomic_energies", {})
    environment = changes.get("environment", trained.environment.without_limits())
    if changes.get("vacuum_group", trained.vacuum_group) == trained.vacuum_group:
        group = changes.get("group", trained.group)
        target = restricted_config(trained, group, changes.get("axis"), environment)
        return target.model_copy(update={"atomic_energies": energies})
    new = {**dict(trained), **changes, "environment": environment, "atomic_energies": energies}
    target = ForceFieldConfig(**new)
    check_correction(trained, target)
    return target


def initial_model(
    config: TrainConfig, model: ForceFieldConfig, graphs: Sequence[AtomicGraph]
) -> ForceField:
    """The model that the run trains, in the dtype of the run.

    Args:
        config: the run; its seed decides about all weights that do not come from a file.
        model: what :func:`model_settings` said, completed.
        graphs: of the training set; random weights are rescaled on some of them.

    Raises:
        ValueError: if a vacuum network shall not change but there is none.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        if config.start is None:
            made = ForceField(model)
            random = [network for network in (made.vacuum, made.network) if network is not None]
        else:
            trained = _trained(config, config.start.model)
            adds = model.vacuum_group != trained.config.vacuum_group
            made = corrected(trained, model) if adds else restricted(trained, model)
            random = [made.network] if adds else []
    if config.start is not None and config.start.freeze_vacuum:
        if made.vacuum is None:
            raise ValueError(
                "start.freeze_vacuum is true, but the model has no vacuum network; give "
                "model.vacuum_group, or remove it"
            )
        made.vacuum.requires_grad_(False)
    made = made.to(getattr(torch, config.dtype)).train()
    set_scales(made, random, graphs)
    return made


@torch.no_grad()
def errors_at_start(model: ForceField, samples: Sequence[Sample]) -> list[str]:
    """How far a trained model is off before it is trained on, and what brings it nearer, in words.

    Args:
        samples: training structures, of which some are looked at.
    """
    graph, targets = collate(samples[:: -(-len(samples) // LOOKED_AT)])
    training = model.training
    off = (targets.energy - model.eval()(graph, forces=False).energy.cpu()).numpy()
    model.train(training)
    pairs = graph.batch * len(model.elements) + graph.species
    shape = graph.n_graphs, len(model.elements)
    counts = torch.bincount(pairs, minlength=math.prod(shape)).reshape(shape).double().numpy()
    per_atom = off / counts.sum(1)
    lines = [f"before training its energies are off by {1000 * abs(per_atom).mean():.4g} meV/atom"]
    if abs(np.median(per_atom)) > FAR_OFF:
        numbers = counts.sum(axis=0).tolist()
        absent = {e: 0.0 for e, n in zip(model.elements, numbers, strict=True) if not n}
        shift, unique = atomic_energies(counts, list(off), model.elements, absent)
        known = model.config.atomic_energies
        text = ", ".join(f"{e}: {known.get(e, 0.0) + by:.4f}" for e, by in shift.items())
        doubt = "" if unique else ", in one of many ways, as the compositions do not tell"
        lines.append(f"note: model.atomic_energies: {{{text}}} would shift it to the data{doubt}")
    return lines


def _trained(config: TrainConfig, path: Path) -> ForceField:
    """The model to start from: of the copy in the folder of the run, if there is one."""
    copy = config.output / "start.sikff"
    return load(copy if copy.is_file() else path)
