"""What tests of training runs read and change."""

import csv
from pathlib import Path

import torch

from sikff import load
from sikff.training.config import TrainConfig


def rows(config: TrainConfig) -> list[dict[str, float]]:
    with (config.output / "log.csv").open() as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def changed(config: TrainConfig, **update: object) -> TrainConfig:
    return TrainConfig.model_validate({**config.model_dump(), **update})


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load(path).state_dict()
