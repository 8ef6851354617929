"""The training loop's steps, as Lightning wants them."""

from __future__ import annotations

import copy
import datetime
import math
import multiprocessing
import time
from typing import Any

import lightning as L
import torch
from torch import Tensor

import sikff
from sikff.atomic_write import complete
from sikff.engines import Capacity, Evaluator
from sikff.forcefield import ForceField
from sikff.forcefield.chunks import keep_freed_memory

from ..config import TrainConfig
from ..data.batches import Batch
from ..evaluation.metrics import Metrics, errors
from .log import RunLog
from .losses import loss
from .schedule import Patience, cosine_factor, warm_up_factor
from .soap import SOAP
from .static import static_training

SHOWN = 8  # structures listed in an error


class FitModule(L.LightningModule):
    """Trains `model`; validates and saves the running average of its weights.

    With several processes each sees its part of every batch, and all agree on losses, learning
    rate and end, so that none waits for another that has stopped.

    Args:
        model: what to train.
        config: the run.
        structures: size of the training set, for the provenance of the model.
        validated: structures and atoms of the validation set.
        capacity: for any batch, if steps are to be compiled or replayed.
        data: fingerprint of the data, kept in checkpoints.
    """

    def __init__(
        self,
        model: ForceField,
        config: TrainConfig,
        structures: int,
        validated: tuple[int, int],
        capacity: Capacity | None = None,
        data: str = "",
    ) -> None:
        super().__init__()
        self.model, self.data = model, data
        self.averaged = copy.deepcopy(model).requires_grad_(False)
        self._prepared = None
        if capacity is not None:
            self._prepared = static_training(model, capacity, config.compile)
        self.config = config
        self.structures = structures
        self.validated = validated
        self.patience = Patience()
        self.run_log = RunLog(config.output, config.tensorboard)
        self._spent, self._began = 0.0, time.monotonic()
        self._prepares = capacity is not None  # in the next step, of which the clock knows nothing
        self._epochs = 0.0  # done; steps do not tell, as minutes may have ended an epoch
        self._minutes = 0.0  # as all processes read it, at the start of a step
        self._train_losses: list[Tensor] = []
        self._valid_losses: list[Tensor] = []
        self._metrics = Metrics(model.elements)
        self._names: tuple[str, ...] = ()
        self.shown: dict[str, float] = {}  # the latest validation errors, in short

    @property
    def minutes(self) -> float:
        """Time spent on the run, before and after it was resumed; without that of compiling."""
        return self._spent + (time.monotonic() - self._began) / 60

    def learning_rate(self) -> float:
        """The learning rate of this step."""
        progress, warm_up = self.progress(), self.config.warm_up
        factor = self.patience.factor * warm_up_factor(progress, warm_up)
        if self.config.schedule == "cosine":
            factor *= cosine_factor(progress, warm_up)
        return self.config.lr * factor

    def progress(self) -> float:
        """Part of the run that is done: of its epochs or its minutes, whichever is further."""
        parts = []
        if self.config.max_epochs is not None:
            parts.append(self._epochs / self.config.max_epochs)
        if self.config.max_minutes is not None:
            parts.append(self._minutes / self.config.max_minutes)
        return max(parts)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        config = self.config
        if config.optimiser == "soap":
            return SOAP(self.model, config.lr, config.weight_decay)
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        used = [group for group in groups if group["params"]]
        return torch.optim.AdamW(used, lr=config.lr, fused=True)

    def on_fit_start(self) -> None:
        keep_freed_memory()
        self._began = time.monotonic()
        if self.trainer.world_size > 1 and self.config.threads is not None:
            torch.set_num_threads(self.config.threads)  # this process exists for this run only

    def on_train_start(self) -> None:
        if self.trainer.is_global_zero:
            self.run_log.rewind(self.current_epoch)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self._minutes = self.minutes
        self._epochs = self.current_epoch + batch_idx / int(self.trainer.num_training_batches)
        parent = multiprocessing.parent_process()
        if self.trainer.world_size > 1 and parent is not None and not parent.is_alive():
            raise SystemExit("the process that started this one was killed")
        if self.trainer.world_size > 1 and self.config.max_minutes is not None:
            self._minutes = self._over_processes(torch.tensor(self._minutes), "mean").item()
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.learning_rate()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        value = self._loss(self._prepared or self.model, batch)
        self._names = batch.names
        self._refuse_if_not_finite(value.detach(), "loss")
        self._train_losses.append(value.detach())
        return value

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self._refuse_if_not_finite(norm, "gradient")

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if self._prepares:
            self._prepares, self._began = False, time.monotonic()
        self._epochs = self.current_epoch + (batch_idx + 1) / int(self.trainer.num_training_batches)
        step = self.global_step  # a young average forgets faster
        weight = 1 - min(self.config.ema, step / (step + 10.0))
        with torch.no_grad():
            for mean, new in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(new, weight if self.config.ema else 1.0)
        if self.config.max_minutes is not None and self._minutes >= self.config.max_minutes:
            self.trainer.should_stop = True

    def on_validation_epoch_start(self) -> None:
        self._metrics = Metrics(self.model.elements)
        self._valid_losses.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        value = self._loss(self.averaged, batch, self.validated)
        if batch.names:
            self._valid_losses.append(value.detach())

    def on_validation_epoch_end(self) -> None:
        zero = torch.zeros((), dtype=torch.float64, device=self.device)
        train_loss = self._over_processes(torch.stack(self._train_losses).mean(), "mean").item()
        valid_loss = self._over_processes(sum(self._valid_losses, start=zero), "sum").item()
        self._metrics.sums = self._over_processes(self._metrics.sums, "sum")
        self._train_losses.clear()
        if not math.isfinite(valid_loss):
            raise FloatingPointError(
                f"training diverged: the validation loss is {valid_loss} in epoch "
                f"{self.current_epoch}; {self._mend()}"
            )
        metrics = self._metrics.results()
        short = {"E meV/atom": "energy_mae_mev_per_atom", "F meV/Å": "force_mae_mev_per_a"}
        self.shown = {name: metrics[key] for name, key in short.items() if key in metrics}
        row = {
            "epoch": self.current_epoch,
            "step": self.global_step,
            "minutes": round(self.minutes, 4),
            "lr": self.trainer.optimizers[0].param_groups[0]["lr"],
            "train_loss": train_loss,
            "valid_loss": valid_loss,
            **metrics,
        }
        self.patience.take(valid_loss)
        if self.config.schedule == "plateau":
            self.patience.shrink(self.config.plateau_patience, self.config.plateau_factor)
        if self.config.patience is not None and self.patience.waited >= self.config.patience:
            self.trainer.should_stop = True
        if self.trainer.is_global_zero:
            if self.patience.is_as_good(valid_loss):
                self.averaged.save(self.config.output / "model.sikff", self._provenance(row))
            self.run_log.append(row)

    def on_train_epoch_end(self) -> None:
        path = self.config.output / "last.ckpt"
        if not self.trainer.is_global_zero:
            self.trainer.save_checkpoint(path, weights_only=False)  # writes nothing here
            return
        with complete(path) as temporary:
            self.trainer.save_checkpoint(temporary, weights_only=False)  # optimiser too

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["sikff"] = {
            "minutes": self.minutes,
            "patience": self.patience.state(),
            "data": self.data,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._spent = checkpoint["sikff"]["minutes"]
        self.patience = Patience(**checkpoint["sikff"]["patience"])

    def _loss(
        self,
        model: Evaluator,
        batch: Batch,
        sizes: tuple[float, float] | None = None,
    ) -> Tensor:
        """Of a batch, or what it adds to the loss of so many structures and atoms."""
        graph, targets = batch.graph, batch.targets
        prediction = model(
            graph, forces=targets.forces is not None, stress=targets.stress is not None
        )
        found = errors(prediction, targets, graph)
        if not self.training and batch.names:
            self._metrics.update(found, targets, graph)
        sizes = sizes or (batch.structures, batch.atoms)
        return loss(found, self.config.loss, *sizes, batch.weights, graph.batch)

    def _over_processes(self, value: Tensor, how: str) -> Tensor:
        """The sum or mean over all processes of the run."""
        return self.trainer.strategy.reduce(value.to(self.device), reduce_op=how)

    def _refuse_if_not_finite(self, value: Tensor, what: str) -> None:
        if not bool(torch.isfinite(value)):
            more = f" and {len(self._names) - SHOWN} more" if len(self._names) > SHOWN else ""
            raise FloatingPointError(
                f"training diverged: the {what} is {float(value):g} in step {self.global_step} "
                f"(epoch {self.current_epoch}), on {', '.join(self._names[:SHOWN])}{more}; "
                f"{self._mend()}"
            )

    def _mend(self) -> str:
        return (
            "try a smaller lr or look for wrong labels "
            f"(lr is {self.config.lr:g}; the last good state is in {str(self.config.output)!r})"
        )

    def _provenance(self, row: dict[str, float]) -> dict[str, object]:
        """Where a model comes from."""
        return {
            "program": f"sikff {sikff.__version__}",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "training": self.config.model_dump(mode="json"),
            "training_structures": self.structures,
            "validation": row,
            **({"before": self.model.provenance} if self.model.provenance else {}),
        }
