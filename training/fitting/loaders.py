"""The data of a run, as Lightning wants it."""

from __future__ import annotations

from typing import Any

import lightning as L

from ..config import TrainConfig
from ..data.batches import Batches
from ..data.dataset import Dataset, load_dataset


class Loaders(L.LightningDataModule):
    """Batches for training and validation; every process of a run reads the files itself.

    Attributes:
        dataset: read on first use.
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self._dataset: Dataset | None = None

    @property
    def dataset(self) -> Dataset:
        if self._dataset is None:
            self._dataset = load_dataset(self.config)
        return self._dataset

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_dataset": None}  # thousands of small tensors do not travel

    def train_dataloader(self) -> Batches:
        return self._batches("train", self.config.seed)

    def val_dataloader(self) -> Batches:
        return self._batches("valid", None)

    def _batches(self, name: str, seed: int | None) -> Batches:
        rank, processes = 0, 1
        if self.trainer is not None:
            rank, processes = self.trainer.global_rank, self.trainer.world_size
        samples = getattr(self.dataset, name)
        return Batches(samples, self.config.batch_size, seed, rank, processes)
