"""The training loop's steps, as Lightning wants them."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor

from sikff.forcefield import ForceField
from sikff.graph import AtomicGraph
from sikff.training.config import TrainConfig
from sikff.training.files import complete
from sikff.training.losses import Targets, errors, loss
from sikff.training.metrics import Metrics

Batch = tuple[AtomicGraph, Targets]


def schedule(progress: float, warm_up: float) -> float:
    """Factor of the learning rate: up in a line until `warm_up`, then down along a cosine."""
    if progress < warm_up:
        return progress / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm_up) / (1 - warm_up))))


class FitModule(L.LightningModule):
    """Trains `model`; validates and saves the running average of its weights.

    Args:
        model: what to train.
        config: the run.
        save: called with the averaged model and its metrics whenever it is the best so far.
    """

    def __init__(
        self,
        model: ForceField,
        config: TrainConfig,
        save: Callable[[ForceField, dict[str, float]], None],
    ) -> None:
        super().__init__()
        self.model = model
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self.config = config
        self.best = math.inf
        self._save = save
        self._spent, self._began = 0.0, time.monotonic()
        self._train_losses: list[Tensor] = []
        self._valid_losses: list[Tensor] = []
        self._structures = 0
        self._metrics = Metrics(model.elements)

    @property
    def minutes(self) -> float:
        """Time spent on the run, before and after it was resumed."""
        return self._spent + (time.monotonic() - self._began) / 60

    @property
    def progress(self) -> float:
        """Part of the run that is done: of its epochs or its minutes, whichever is further."""
        parts = []
        if self.config.max_epochs is not None:
            batches = int(self.trainer.num_training_batches)
            parts.append(self.global_step / (self.config.max_epochs * batches))
        if self.config.max_minutes is not None:
            parts.append(self.minutes / self.config.max_minutes)
        return max(parts)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        parameters = list(self.model.parameters())
        groups = [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": self.config.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([g for g in groups if g["params"]], lr=self.config.lr)

    def _evaluate(self, model: ForceField, batch: Batch) -> Tensor:
        graph, targets = batch
        prediction = model(
            graph, forces=targets.forces is not None, stress=targets.stress is not None
        )
        found = errors(prediction, targets, graph)
        if not self.training:
            self._metrics.update(found, graph)
        return loss(found, self.config.loss)

    def on_fit_start(self) -> None:
        self._began = time.monotonic()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        factor = schedule(self.progress, self.config.warm_up)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.config.lr * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        value = self._evaluate(self.model, batch)
        self._train_losses.append(value.detach())
        return value

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        step = self.global_step  # a young average forgets faster
        weight = 1 - min(self.config.ema, step / (step + 10.0))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(new, weight if self.config.ema else 1.0)
        if self.config.max_minutes is not None and self.minutes >= self.config.max_minutes:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        self._metrics = Metrics(self.model.elements)
        self._valid_losses.clear()
        self._structures = 0

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._valid_losses.append(self._evaluate(self.averaged, batch) * batch[0].n_graphs)
        self._structures += batch[0].n_graphs

    def on_validation_epoch_end(self) -> None:
        valid_loss = torch.stack(self._valid_losses).sum().item() / self._structures
        train_loss = torch.stack(self._train_losses).mean().item()
        self._train_losses.clear()
        if not (math.isfinite(valid_loss) and math.isfinite(train_loss)):
            raise FloatingPointError(
                f"training diverged: the loss is {train_loss} in epoch {self.current_epoch}; "
                f"try a smaller lr (it is {self.config.lr:g}) or look for wrong labels"
            )
        metrics = self._metrics.results()
        short = {"E meV/atom": "energy_mae_mev_per_atom", "F meV/Å": "force_mae_mev_per_a"}
        shown = {name: metrics[key] for name, key in short.items() if key in metrics}
        self.log_dict(shown, prog_bar=True, logger=False, batch_size=self._structures)
        row = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "minutes": round(self.minutes, 4),
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": train_loss,
            "valid_loss": valid_loss,
            **metrics,
        }
        _append(self.config.output / "log.csv", row)
        if valid_loss < self.best:
            self.best = valid_loss
            self._save(self.averaged, row)

    def on_train_epoch_end(self) -> None:
        with complete(self.config.output / "last.ckpt") as path:
            self.trainer.save_checkpoint(path, weights_only=False)  # optimiser too

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sikff"] = {"minutes": self.minutes, "best": self.best}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._spent, self.best = checkpoint["sikff"]["minutes"], checkpoint["sikff"]["best"]


def _append(path: Path, row: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, row)
        if new:
            writer.writeheader()
        writer.writerow(row)
