"""A training run, from its configuration to a model file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning as L
import torch
import yaml
from torch.multiprocessing import ProcessRaisedException

from sikff.atomic_write import clear_unfinished, complete
from sikff.engines import Capacity
from sikff.forcefield import ForceField, load
from sikff.forcefield.chunks import fit_one_chunk

from ..config import TrainConfig, read_config
from ..data.dataset import Dataset
from ..data.model_settings import keep_start
from ..evaluation.evaluate import evaluate
from ..evaluation.plots import learning_curves, parity, read_log, save_figure
from .finetune import errors_at_start, initial_model
from .loaders import Loaders
from .module import FitModule
from .progress import RunProgress
from .static import capacity_for

FILLED = 0.5  # part of a compiled or replayed batch; where less is used, neither pays

# What a resumed run may change.
FREE = {
    "output",
    "max_epochs",
    "max_minutes",
    "patience",
    "device",
    "devices",
    "threads",
    "compile",
    "replay",
    "tensorboard",
}

WRITTEN = (
    "model.sikff",
    "last.ckpt",
    "log.csv",
    "config.yaml",
    "start.sikff",
    "learning_curves.png",
    "parity.png",
)


def fit(
    config: TrainConfig,
    *,
    resume: bool = False,
    progress: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains a force field and writes the best to ``model.sikff`` in the output folder.

    Beside it: log.csv, learning_curves.png, parity.png (validation), config.yaml and last.ckpt;
    start.sikff, if the run starts from a trained model.

    With several devices this starts processes, so a script that calls it needs the usual
    ``if __name__ == "__main__":``.

    Args:
        config: the run.
        resume: go on from ``last.ckpt`` in the output folder, or begin if there is none yet.
        progress: show a progress bar.
        report: called with each line meant for the user.

    Returns:
        The path of the model file.

    Raises:
        FileNotFoundError, ValueError: for data, a device or a folder the run cannot use.
        FloatingPointError: if the loss is no longer finite.
    """
    checkpoint = _prepare_folder(config, resume)
    if resume and checkpoint is None:
        report(f"nothing to resume in {str(config.output)!r}: starting from the beginning")
    if checkpoint is None:
        keep_start(config)
    loaders = Loaders(config)
    dataset = loaders.dataset
    for line in dataset.report:
        report(line)
    data = dataset.fingerprint
    if checkpoint is not None:
        _check_data(checkpoint, data)
    model = initial_model(config, dataset.model, [sample.graph for sample in dataset.train])
    size = sum(parameter.numel() for parameter in model.parameters())
    source = "" if config.start is None else f", from {config.start.model}"
    report(f"{size} weights, group {dataset.model.group}{source}")
    if config.start is not None and checkpoint is None:
        for line in errors_at_start(model, dataset.train):
            report(line)
    capacity = _capacity(config, dataset, model, report)
    validated = len(dataset.valid), sum(sample.graph.n_atoms for sample in dataset.valid)
    module = FitModule(model, config, len(dataset.train), validated, capacity, data)
    _write_config(config)
    with _silent(), warnings.catch_warnings():  # Lightning 2.6 uses what torch 2.13 deprecates
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        try:
            trainer(config, progress).fit(
                module, datamodule=loaders, ckpt_path=checkpoint, weights_only=True
            )
        except ProcessRaisedException as error:
            name, _, message = str(error).strip().rpartition("\n")[2].partition(": ")
            kind = FloatingPointError if name == "FloatingPointError" else RuntimeError
            raise kind(message) from error
    _draw(config, dataset)
    return config.output / "model.sikff"


@contextmanager
def _silent() -> Iterator[None]:
    """Lightning without its own words."""
    log = logging.getLogger("lightning.pytorch")
    before = log.level
    log.setLevel(logging.WARNING)
    try:
        yield
    finally:
        log.setLevel(before)


def trainer(config: TrainConfig, progress: bool) -> L.Trainer:
    """The Lightning trainer of a run: no files and no words of its own.

    Raises:
        ValueError: if there are not so many devices.
    """
    available, cuda = torch.cuda.device_count(), _uses_cuda(config)
    if cuda and available < config.devices:
        raise ValueError(
            f"device is {config.device} and devices {config.devices}, but torch finds {available} "
            "GPUs; lower devices or set device: cpu"
        )
    return L.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=config.devices,
        strategy="auto" if config.devices == 1 else "ddp_spawn",
        use_distributed_sampler=False,  # the loaders know their part
        max_epochs=-1 if config.max_epochs is None else config.max_epochs,
        inference_mode=False,  # forces are gradients, in validation too
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[RunProgress()] if progress else [],
        default_root_dir=config.output,
    )


def _uses_cuda(config: TrainConfig) -> bool:
    return torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"


def _capacity(
    config: TrainConfig, dataset: Dataset, model: ForceField, report: Callable[[str], None]
) -> Capacity | None:
    """For any batch, where steps are compiled or replayed."""
    may_replay = config.replay and not _uses_cuda(config)
    if not (config.compile or may_replay):
        return None
    capacity, filled = capacity_for(dataset.train, -(-config.batch_size // config.devices))
    how = (
        f"for {capacity.atoms} atoms with {capacity.neighbours} neighbours each, of which batches "
        f"fill {filled:.0%} on average"
    )
    if config.compile:
        report(f"compiled {how}; the first step takes some minutes")
        if filled < FILLED:
            report("sizes differ so much that the run may be faster with compile: false")
        return capacity
    small = fit_one_chunk(capacity.atoms * capacity.neighbours, model.row, torch.device("cpu"))
    if not small or filled < FILLED:
        return None
    report(f"steps are replayed {how}")
    return capacity


def _prepare_folder(config: TrainConfig, resume: bool) -> Path | None:
    """The checkpoint to go on from, if any."""
    checkpoint = config.output / "last.ckpt"
    if not resume and (checkpoint.exists() or (config.output / "model.sikff").exists()):
        raise ValueError(
            f"{str(config.output)!r} already holds a run; resume it (--resume) or choose another "
            "output"
        )
    config.output.mkdir(parents=True, exist_ok=True)
    for name in WRITTEN:
        clear_unfinished(config.output / name)
    if not (resume and checkpoint.is_file()):
        return None
    path = config.output / "config.yaml"
    if not path.is_file():
        raise FileNotFoundError(
            f"cannot resume without {str(path)!r}, which tells how the run began; restore it, or "
            "start a new run from its model (sikff train --from)"
        )
    before = read_config(path)
    keys = [key for key in TrainConfig.model_fields if key not in FREE]
    changed = [key for key in keys if getattr(before, key) != getattr(config, key)]
    if changed:
        raise ValueError(
            f"cannot resume with other settings of {', '.join(changed)} than in "
            f"{str(path)!r}; only {', '.join(sorted(FREE))} may change"
        )
    return checkpoint


def _check_data(checkpoint: Path, data: str) -> None:
    """Refuses to go on with other data than before."""
    before = torch.load(checkpoint, map_location="cpu", weights_only=True)["sikff"].get("data")
    if before not in (None, data):
        raise ValueError(
            f"the data are not those that {str(checkpoint)!r} was trained on, so the run cannot go "
            "on as if it had never stopped; restore the files, or start a new run from its model "
            "(sikff train --from)"
        )


def _draw(config: TrainConfig, dataset: Dataset) -> None:
    """Learning curves, and the best model's parity plot of the structures for validation."""
    curves = learning_curves(read_log(config.output / "log.csv"))
    save_figure(curves, config.output / "learning_curves.png")
    model = load(config.output / "model.sikff")
    labels = config.loss.labels
    found = evaluate(model, dataset.valid_frames, config.data, config.batch_size, labels)
    save_figure(parity(found, "validation"), config.output / "parity.png")


def _write_config(config: TrainConfig) -> None:
    with complete(config.output / "config.yaml") as path:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        path.write_text(text, encoding="utf-8")
