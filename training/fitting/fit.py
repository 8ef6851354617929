"""A training run, from its configuration to a model file."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import ase
import torch
import yaml

from sikff.atomic_write import clear_unfinished, complete
from sikff.forcefield import load
from sikff.forcefield.model_file import read_header
from sikff.lock import lock
from sikff.plain_torch import plain_torch, torch_threads

from ..config import LossConfig, TrainConfig, read_config
from ..data.batches import Graphs
from ..data.dataset import Dataset, Given, load_dataset
from ..data.model_settings import copy_start_model, with_network_of
from ..data.slab import check_data_above, with_surface, with_surface_of
from ..evaluation.evaluate import evaluate_samples
from ..evaluation.plots import (
    learning_curves,
    parity,
    picture_may_fail,
    read_log,
    save_figure,
)
from .batch_size import with_batch_size
from .checkpoint import NAME, read_checkpoint
from .finetune import (
    continue_optimiser,
    errors_at_start,
    errors_of_replay,
    initial_model,
    set_charging_energies,
)
from .launch import Launch, Leader, clear_meetings, find_launch, follow, lead, read_launch
from .losses import describe_loss
from .processes import Processes, joined, run_processes
from .static_training import choose_capacity, uses_cuda
from .trainer import Run, train_in_process, train_together

LIMITS = {"max_epochs", "max_steps", "max_minutes", "patience"}
MACHINE = {"device", "devices", "threads", "compile", "replay", "deterministic"}
FILES = {"output", "tensorboard", "checkpoints", "plots"}
FREE = LIMITS | MACHINE | FILES  # settings that a resumed run may change

CUBLAS = "CUBLAS_WORKSPACE_CONFIG"  # see torch.use_deterministic_algorithms
WRITTEN = ("model.sikff", "start.sikff", NAME, "log.csv", "config.yaml")
DRAWN = ("learning_curves.png", "parity.png")


@plain_torch()
def fit(
    config: TrainConfig,
    *,
    structures: Sequence[ase.Atoms] | None = None,
    validation: Sequence[ase.Atoms] | None = None,
    resume: bool = False,
    progress: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains a force field and writes the best to ``model.sikff`` in the output folder.

    Beside it: log.csv, learning_curves.png, parity.png (validation), config.yaml and last.ckpt;
    start.sikff, if the run starts from a trained model.

    With several devices this starts processes, so a script that calls it needs the usual
    ``if __name__ == "__main__":``; where srun, torchrun or mpirun has started as many, each of
    them calls this function, the first one writes, and it returns when the model is written.

    Args:
        config: the run.
        structures: labelled structures in memory, instead of those in ``data.train``.
        validation: likewise, instead of those in ``data.valid``.
        resume: continue from ``last.ckpt`` in the output folder, or begin if there is none yet.
        progress: show a progress bar.
        report: called with each line for the user.

    Returns:
        The path of the model file.

    Raises:
        FileNotFoundError, ValueError: for data, a device or a folder that the run cannot use.
        BlockingIOError: if another run writes to the folder.
        ConnectionError: if another process of the run has ended.
        FloatingPointError: if the loss is no longer finite.
    """
    with nullcontext() if config.threads is None else torch_threads(config.threads):
        launch = find_launch(config.devices)
        _check_devices(config, launch)
        config.output.mkdir(parents=True, exist_ok=True)
        if launch is not None and launch.rank > 0:
            _follow(config, launch)
        else:
            with (
                nullcontext() if launch is None else lead(config.output, launch) as leader,
                lock(config.output, _advice(config)) as note,
            ):
                if note:
                    report(note)
                clear_meetings(config.output, launch)
                given = None if structures is None else Given.of(structures, validation)
                _fit(config, given, resume, progress, report, leader)
    return config.output / "model.sikff"


def _advice(config: TrainConfig) -> str:
    """What to do where another run has the folder."""
    launch = read_launch()
    if config.devices == 1 and launch is not None:
        return (
            f"this is one of {launch.size} processes ({launch.told_by}): start one alone, or set "
            f"devices: {launch.size} and they share the run"
        )
    return "wait until it has ended, end it, or choose another output"


def _follow(config: TrainConfig, launch: Launch) -> None:
    """Trains as one of the processes of a launch that wait for the first."""
    with follow(config.output, launch) as (store, arguments):
        processes = _processes(launch)
        with joined(processes, store, uses_cuda(config)):
            train_together(processes, *arguments)


def _processes(launch: Launch) -> Processes:
    """A launcher may show each process its own GPUs or all those of the host."""
    gpu = launch.local_rank % max(1, torch.cuda.device_count())
    return Processes(launch.rank, launch.size, gpu)


def _fit(
    config: TrainConfig,
    given: Given | None,
    resume: bool,
    progress: bool,
    report: Callable[[str], None],
    leader: Leader | None,
) -> None:
    before = _prepare_folder(config, resume)
    resumed = before is not None
    if resume and not resumed:
        report(f"nothing to resume in {str(config.output)!r}: starting from the beginning")
    notes: list[str] = []
    if before is None:
        config, notes = with_surface(config)
        copy_start_model(config)
    else:
        config = _with_defaults_of(with_surface_of(config, before.model), before)
        trained = config.output / "model.sikff"
        model_keys = read_header(trained)["config"] if trained.exists() else {}
        config, before = (with_network_of(each, model_keys) for each in (config, before))
        _check_same_settings(config, before)
    data = read_checkpoint(config.output)["data"] if resumed else None
    dataset = load_dataset(config, given)
    if notes:  # the surface was found in a slab
        notes += check_data_above(dataset)
    for line in (*notes, *dataset.report):
        report(line)
    if data not in (None, dataset.fingerprint):
        raise ValueError(
            f"the data are not those that {str(config.output / NAME)!r} was trained on, so the run "
            "cannot go on as if it had never stopped; restore the files, or start a new run from "
            "its model (sikff train --from)"
        )
    config = with_batch_size(config, dataset, report)
    model = initial_model(config, dataset.model, Graphs(dataset.train))
    set_charging_energies(model, dataset.train)
    size = sum(parameter.numel() for parameter in model.parameters())
    source = "" if config.start is None else f", from {config.start.model}"
    report(f"{size} weights, group {dataset.model.group}{source}")
    if config.start is not None and not resumed:
        lines = errors_of_replay(model, dataset, "before")
        for line in (*errors_at_start(model, dataset.train), *lines):
            report(line)
    if not resumed:
        report(describe_loss(model, dataset.train, config.loss))
    capacity = choose_capacity(config, dataset, model, report)
    _write_config(config)
    shared, cuda = (config, model, capacity, resumed, progress, given), uses_cuda(config)
    if config.devices == 1:
        run = Run(config, model, dataset, capacity=capacity, progress=progress)
        if not resumed:
            continue_optimiser(config, model, run.loop.optimiser)
        run.train(resumed)
    elif leader is None:
        run_processes(train_in_process, config.devices, cuda, shared)
    else:
        leader.share(shared)
        processes = _processes(leader.launch)
        with joined(processes, leader.store, cuda):
            train_together(processes, *shared, dataset)
    if dataset.replay:
        for line in errors_of_replay(load(config.output / "model.sikff"), dataset, "after"):
            report(line)
    if config.plots:
        _draw(config, dataset)


def _check_devices(config: TrainConfig, launch: Launch | None) -> None:
    """Raises ValueError if there are not as many devices as the run needs on this host."""
    available, needed = torch.cuda.device_count(), config.devices if launch is None else 1
    if uses_cuda(config) and available < needed:
        raise ValueError(
            f"device is {config.device} and devices {config.devices}, but torch finds {available} "
            "GPUs; lower devices or set device: cpu"
        )
    if uses_cuda(config) and config.deterministic and CUBLAS not in os.environ:
        raise ValueError(
            f"deterministic is true, but the environment variable {CUBLAS} is not set, without "
            "which products of matrices on a GPU are not; start the run with "
            f"{CUBLAS}=:4096:8, or set deterministic: false"
        )


def _prepare_folder(config: TrainConfig, resume: bool) -> TrainConfig | None:
    """Checks that the folder is free for the run, and clears what a killed one left unfinished.

    Returns:
        The settings of the run that continues; None: a run begins.
    """
    checkpoint = config.output / NAME
    if not resume and (checkpoint.exists() or (config.output / "model.sikff").exists()):
        raise ValueError(
            f"{str(config.output)!r} already holds a run; resume it (--resume) or choose another "
            "output"
        )
    for name in (*WRITTEN, *DRAWN):
        clear_unfinished(config.output / name)
    if not (resume and checkpoint.is_file()):
        return None
    path = config.output / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"cannot resume without {str(path)!r}, which tells how the run began; restore it, or "
            "start a new run from its model (sikff train --from)"
        )
    return read_config(path)


def _check_same_settings(config: TrainConfig, before: TrainConfig) -> None:
    """Raises ValueError for settings that differ from those of the run that continues."""
    keys = [key for key in TrainConfig.model_fields if key not in FREE]
    changed = [key for key in keys if getattr(before, key) != getattr(config, key)]
    if changed:
        raise ValueError(
            f"cannot resume with other settings of {', '.join(changed)} than in "
            f"{str(config.output / 'config.yaml')!r}; only {', '.join(sorted(FREE))} may change"
        )


def _with_defaults_of(config: TrainConfig, before: TrainConfig) -> TrainConfig:
    """The run with the loss and the batch size of the one that it continues, maybe of an older
    version with other defaults, where it gives none of its own."""
    given = config.loss.model_dump(exclude_none=True)
    loss = LossConfig(**{**before.loss.model_dump(), **given})
    size = config.batch_size or before.batch_size
    return config.model_copy(update={"loss": loss, "batch_size": size})


def _draw(config: TrainConfig, dataset: Dataset) -> None:
    """Learning curves, and the best model's parity plot of the structures for validation."""
    with picture_may_fail(config.output / DRAWN[0]):
        curves = learning_curves(read_log(config.output / "log.csv"))
        save_figure(curves, config.output / DRAWN[0])
    model = load(config.output / "model.sikff")
    if not dataset.valid:
        return
    evaluation = evaluate_samples([model], [dataset.valid])
    with picture_may_fail(config.output / DRAWN[1]):
        save_figure(parity(evaluation, "validation"), config.output / DRAWN[1])


def _write_config(config: TrainConfig) -> None:
    with complete(config.output / "config.yaml") as path:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        path.write_text(text, encoding="utf-8")
