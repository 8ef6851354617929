"""The training of a force field: what the loop runs, and what is kept after each validation."""

from __future__ import annotations

import copy
import datetime
import math
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from tqdm import tqdm

import sikff
from sikff.engines import Capacity, Evaluator
from sikff.forcefield import ForceField
from sikff.forcefield.chunks import keep_freed_memory
from sikff.plain_torch import deterministic_algorithms

from ..config import TrainConfig
from ..data.batches import (
    Batch,
    Batches,
    Sample,
    change_tensors,
    count_labels,
    prefetched,
)
from ..data.dataset import Dataset, Given, load_dataset
from ..evaluation.metrics import Metrics
from .checkpoint import read_checkpoint, write_checkpoint
from .log import RunLog
from .loop import Limits, Loop
from .losses import errors_of, loss
from .optimiser import make_optimiser
from .processes import ALONE, Processes
from .schedule import cosine_factor, warm_up_factor
from .static_training import static_training, uses_cuda

SHOWN = {"E meV/atom": "energy_mae_mev_per_atom", "F meV/Å": "force_mae_mev_per_a"}


class Run:
    """Trains a model; validates and keeps the running average of its weights.

    Args:
        config: the run, with a batch size.
        model: to be trained; it is moved to the device of the run.
        dataset: what to train and validate on.
        capacity: for any batch, if steps are to be compiled or replayed.
        processes: that share the run.
        progress: show a progress bar.
        in_memory: write no files.

    Attributes:
        best: the model that is kept, if no files are written.
        loss: of the last validation; without one, of the last epoch.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: ForceField,
        dataset: Dataset,
        *,
        capacity: Capacity | None = None,
        processes: Processes = ALONE,
        progress: bool = False,
        in_memory: bool = False,
    ) -> None:
        self.config, self.dataset, self.processes = config, dataset, processes
        self.device = torch.device("cuda", processes.gpu) if uses_cuda(config) else "cpu"
        self.model = model.to(self.device)
        self._predict: Evaluator = self.model
        if capacity is not None:
            self._predict = static_training(self.model, capacity, config.compile)
        self._log = None if in_memory else RunLog(config.output, config.tensorboard)
        self.best: ForceField | None = None
        self.loss = math.inf
        self._train_batches = self._batches(dataset.train, config.seed)
        self._valid_batches = self._batches(dataset.valid)
        self._validated = count_labels(dataset.valid)
        # Of the losses since the last validation, with the last weights.
        self._summed, self._steps = torch.zeros((), dtype=torch.float64, device=self.device), 0
        self.loop = Loop(
            self.model,
            make_optimiser(config, self.model),
            self._learning_rate,
            lambda step: 1 - min(config.ema, step / (step + 10.0)),  # shorter at the start
            self._limits(),
            clip=config.clip,
            advice=(
                f"try a smaller lr or look for wrong labels (lr is {config.lr:g}; the last good "
                f"state is in {str(config.output)!r})"
            ),
            processes=processes,
            untimed=0 if capacity is None else 1,
            bar="" if progress and processes.rank == 0 else None,
        )

    def train(self, resume: bool = False) -> None:
        """Trains to the end, from the last checkpoint or from the beginning.

        Raises:
            FloatingPointError: if the loss or its gradient is not finite.
        """
        keep_freed_memory()
        loop, writes = self.loop, self.processes.rank == 0
        if resume:
            loop.load_state_dict(read_checkpoint(self.config.output, self.device)["loop"])
        if writes and self._log is not None:
            self._log.rewind(loop.epoch)
        with deterministic_algorithms(self.config.deterministic):
            self._train_epochs(writes)

    def _train_epochs(self, writes: bool) -> None:
        loop, steps = self.loop, self._steps_between
        for _ in loop.epochs(self._epoch, steps, self._loss, lambda batch: batch.names):
            train_loss = self._mean_loss()
            valid_loss, metrics = self._validate() if self.dataset.valid else (train_loss, {})
            self.loss = valid_loss
            loop.read_clock()
            loop.patience.update(valid_loss)
            if self.config.schedule == "plateau":
                config = self.config
                loop.patience.reduce_on_plateau(config.plateau_patience, config.plateau_factor)
            if writes:
                self._keep({"train_loss": train_loss, "valid_loss": valid_loss, **metrics})

    def _keep(self, results: dict[str, float]) -> None:
        """Keeps the model if it is the best, or without validation, and writes files if any."""
        loop = self.loop
        is_best = loop.patience.is_within_noise(results["valid_loss"]) or not self.dataset.valid
        if self._log is not None:
            self._write(self._log, results, is_best)
        elif is_best:
            self.best = copy.deepcopy(loop.averaged)
        loop.shown = {name: f"{results[key]:.3g}" for name, key in SHOWN.items() if key in results}

    def _write(self, log: RunLog, results: dict[str, float], is_best: bool) -> None:
        """The model if it is the best, the row of the log, the checkpoint."""
        loop, output = self.loop, self.config.output
        if not output.is_dir():  # writing would make a new one, with a part of the run
            raise FileNotFoundError(
                f"{str(output)!r} has been removed or renamed while the run wrote to it, and what "
                "it has learnt since is lost; put it back and resume"
            )
        row = {
            "epoch": loop.epoch,
            "step": loop.step,
            "minutes": round(loop.minutes, 4),
            "lr": loop.learning_rate,
            **results,
        }
        if is_best:
            loop.averaged.save(output / "model.sikff", self._provenance(row))
        log.append(row)
        if self.config.checkpoints:
            write_checkpoint(output, loop.state_dict(), self.dataset.fingerprint)

    @property
    def _steps_between(self) -> int:
        """Steps between two validations."""
        return self.config.validate_every or len(self._train_batches)

    def _limits(self) -> Limits:
        """Where the run ends; with `validate_every` epochs of the loop are that many steps."""
        config = self.config
        epochs, steps = config.max_epochs, config.max_steps
        if config.validate_every is not None and epochs is not None:
            passes = epochs * len(self._train_batches)
            epochs, steps = None, passes if steps is None else min(passes, steps)
        return Limits(epochs, config.max_minutes, config.patience, steps)

    def _learning_rate(self, progress: float) -> float:
        warm_up = warm_up_factor(progress, self.config.warm_up)
        return self.config.lr * warm_up * self._decay(progress)

    def _decay(self, progress: float) -> float:
        """The learning rate, without its warm-up, as a fraction of its largest."""
        factor = self.loop.patience.factor
        if self.config.schedule == "cosine":
            factor *= cosine_factor(progress, self.config.warm_up)
        return factor

    def _batches(self, samples: Sequence[Sample], seed: int | None = None) -> Batches:
        """Batches, of which each process sees its part."""
        size, processes = cast(int, self.config.batch_size), self.processes
        return Batches(samples, size, seed, processes.rank, processes.size)

    def _epoch(self, epoch: int) -> Iterator[Batch]:
        steps = self._steps_between
        batches = self._train_batches.between(epoch * steps, steps)
        if uses_cuda(self.config):
            return prefetched(batches, lambda batch: change_tensors(batch, Tensor.pin_memory))
        return batches

    def _loss(self, batch: Batch) -> Tensor:
        batch = _moved(batch, self.device)
        found = errors_of(self._predict, batch)
        given = (found, self.config.loss, batch.sizes, batch.weights)
        with torch.no_grad():
            self._summed += loss(*given)
        self._steps += 1
        return loss(*given, self._decay(self.loop.progress))

    def _mean_loss(self) -> float:
        """Mean over the steps since the last call, with the weights at the end of the run."""
        mean = float(self._summed) / self._steps
        self._summed.zero_()
        self._steps = 0
        return sum(self.processes.gather(mean)) / self.processes.size

    @torch.no_grad()
    def _validate(self) -> tuple[float, dict[str, float]]:
        """Loss and metrics of the averaged weights on the validation set, from all processes."""
        metrics = Metrics(self.model.elements)
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for part in self._valid_batches:
            if not part.names:  # nothing of this batch is for this process
                continue
            batch = _moved(part, self.device)
            found = errors_of(self.loop.averaged, batch)
            total += loss(found, self.config.loss, self._validated, batch.weights)
            metrics.update(found, batch.targets, batch.graph)
        losses, sums = zip(*self.processes.gather((float(total), metrics.sums.cpu())), strict=True)
        value, metrics.sums = sum(losses), torch.stack(sums).sum(0)
        self.loop.check_finite(value, "validation loss")
        return value, metrics.results()

    def _provenance(self, row: dict[str, float]) -> dict[str, object]:
        """Where a model comes from."""
        return {
            "program": f"sikff {sikff.__version__}",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "training": self.config.model_dump(mode="json"),
            "training_structures": len(self.dataset.train),
            "validation": row,
            **({"before": self.model.provenance} if self.model.provenance else {}),
        }


def train_in_process(processes: Processes, config: TrainConfig, *arguments: Any) -> None:
    """Trains as one of several processes that the run has started; see :func:`train_together`."""
    tqdm.set_lock(threading.RLock())  # the default is a semaphore, left behind by killed processes
    torch.set_num_threads(config.threads or max(1, torch.get_num_threads() // processes.size))
    train_together(processes, config, *arguments)


def train_together(
    processes: Processes,
    config: TrainConfig,
    model: ForceField,
    capacity: Capacity | None,
    resume: bool,
    progress: bool,
    given: Given | None,
    dataset: Dataset | None = None,
) -> None:
    """Trains as one of several processes, of which all but those with a dataset read it.

    Args:
        given: structures in memory, if not in files.
    """
    model = copy.deepcopy(model)  # the argument may be in memory that all processes share
    if dataset is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the first reader has shown them
            dataset = load_dataset(config, given)
    run = Run(config, model, dataset, capacity=capacity, processes=processes, progress=progress)
    run.train(resume)


def _moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device, which is not waited for if the batch is in pinned memory."""
    return change_tensors(batch, lambda tensor: tensor.to(device, non_blocking=True))
