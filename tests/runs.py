"""What tests of training runs read and change."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from sikff import load
from sikff.training.config import TrainConfig
from sikff.training.fitting import trainer
from sikff.training.fitting.fit import fit


def rows(config: TrainConfig) -> list[dict[str, float]]:
    with (config.output / "log.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def changed(config: TrainConfig, **update: object) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), **update})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).state_dict()


def fit_two_epochs(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that an error ends after two epochs."""
    write = trainer.write_checkpoint

    def interrupted(folder: Path, loop: dict[str, Any], data: str) -> None:
        write(folder, loop, data)
        if loop["epoch"] == 2:
            raise InterruptedError

    with monkeypatch.context() as patch, pytest.raises(InterruptedError):
        patch.setattr(trainer, "write_checkpoint", interrupted)
        fit(config)
