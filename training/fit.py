"""A training run, from its configuration to a model file."""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning as L
import torch
import yaml

import sikff
from sikff.forcefield import ForceField
from sikff.training.config import TrainConfig
from sikff.training.batches import Batches
from sikff.training.dataset import load_dataset
from sikff.training.files import complete
from sikff.training.module import FitModule

# What a resumed run may change.
FREE = {"output", "max_epochs", "max_minutes", "device", "threads"}


def fit(
    config: TrainConfig,
    *,
    resume: bool = False,
    progress: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Trains a force field and writes the best one to ``model.sikff`` in the output folder.

    Args:
        config: the run.
        resume: go on from ``last.ckpt`` in the output folder.
        progress: show a progress bar.
        report: called with each line meant for the user.

    Returns:
        The path of the model file.

    Raises:
        FileNotFoundError, ValueError: for data or a folder the run cannot use.
        FloatingPointError: if the loss is no longer finite.
    """
    checkpoint = _prepare_folder(config, resume)
    dataset = load_dataset(config)
    for line in dataset.report:
        report(line)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = ForceField(dataset.model).to(getattr(torch, config.dtype))
    size = sum(parameter.numel() for parameter in model.parameters())
    report(f"{size} weights, group {dataset.model.group}")
    path = config.output / "model.sikff"

    def save(best: ForceField, metrics: dict[str, float]) -> None:
        best.save(path, provenance(config, metrics, len(dataset.train)))

    _write_config(config)
    with warnings.catch_warnings():  # Lightning 2.6 uses a name that torch 2.13 deprecates
        warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
        trainer(config, progress).fit(
            FitModule(model, config, save),
            Batches(dataset.train, config.batch_size, seed=config.seed),
            Batches(dataset.valid, config.batch_size),
            ckpt_path=checkpoint,
            weights_only=True,
        )
    return path


def trainer(config: TrainConfig, progress: bool) -> L.Trainer:
    """The Lightning trainer of a run: one device, no files and no words of its own."""
    cuda = torch.cuda.is_available() if config.device == "auto" else config.device == "cuda"
    return L.Trainer(
        accelerator="cuda" if cuda else "cpu",
        devices=1,
        max_epochs=-1 if config.max_epochs is None else config.max_epochs,
        gradient_clip_val=config.clip,
        inference_mode=False,  # forces are gradients, in validation too
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=progress,
        default_root_dir=config.output,
    )


def provenance(
    config: TrainConfig, metrics: dict[str, float], structures: int
) -> dict[str, object]:
    """Where a model comes from."""
    return {
        "program": f"sikff {sikff.__version__}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "training": config.model_dump(mode="json"),
        "training_structures": structures,
        "validation": metrics,
    }


def _prepare_folder(config: TrainConfig, resume: bool) -> Path | None:
    """The checkpoint to go on from, if any."""
    checkpoint = config.output / "last.ckpt"
    if resume:
        if not checkpoint.is_file():
            raise FileNotFoundError(f"nothing to resume: no {str(checkpoint)!r}")
        before = yaml.safe_load((config.output / "config.yaml").read_text(encoding="utf-8"))
        now = config.model_dump(mode="json")
        changed = [key for key in now if key not in FREE and before.get(key) != now[key]]
        if changed:
            raise ValueError(
                f"cannot resume with other settings of {', '.join(changed)} than in "
                f"{str(config.output / 'config.yaml')!r}; only {', '.join(sorted(FREE))} may change"
            )
        return checkpoint
    if checkpoint.exists() or (config.output / "model.sikff").exists():
        raise ValueError(
            f"{str(config.output)!r} already holds a run; resume it (--resume) or choose another "
            "output"
        )
    config.output.mkdir(parents=True, exist_ok=True)
    return None


def _write_config(config: TrainConfig) -> None:
    with complete(config.output / "config.yaml") as path:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        path.write_text(text, encoding="utf-8")
