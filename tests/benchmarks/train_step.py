"""Where a training step spends its time, plain, replayed and compiled: measured only.

    python tests/benchmarks/train_step.py config.yaml [key=value ...] [--compile]

Times, for a batch of the run that the file describes, on the CPU: the energy; energy and forces;
these and the gradient of the loss in the weights, plain, replayed, and with --compile through
torch.compile; and the optimiser. Medians, all in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sikff.engines import Evaluator
from sikff.forcefield import ForceField
from sikff.training.config import TrainConfig, read_config
from sikff.training.data.batches import Batch, Batches
from sikff.training.data.dataset import load_dataset
from sikff.training.evaluation.metrics import errors
from sikff.training.fitting.batch_size import with_batch_size
from sikff.training.fitting.finetune import initial_model
from sikff.training.fitting.losses import loss
from sikff.training.fitting.soap import SOAP
from sikff.training.fitting.static_training import capacity_for, static_training

TURNS = 40


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--compile", action="store_true", help="through torch.compile too")
    options = parser.parse_args()
    config = read_config(options.config, options.overrides)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    dataset = load_dataset(config)
    samples = dataset.train
    model = initial_model(config, dataset.model, [sample.graph for sample in samples])
    size = with_batch_size(config, dataset, print).batch_size or 1
    capacity, filled = capacity_for(samples, size)
    print(f"{capacity}, of which batches fill {filled:.0%}")
    replayed, optimiser = static_training(model, capacity, False), SOAP(model, config.lr)
    batch = next(iter(Batches(samples, size, config.seed)))
    steps: dict[str, Callable[[], object]] = {
        "energy": lambda: model(batch.graph, forces=False),
        "energy and forces": lambda: model(batch.graph),
        "and gradient of the loss": lambda: backward(model, model, batch, config),
        "the same, replayed": lambda: backward(replayed, model, batch, config),
        "SOAP": optimiser.step,
    }
    if options.compile:
        compiled = static_training(model, capacity, True)
        steps["the same, compiled"] = lambda: backward(compiled, model, batch, config)
    for name in [name for name in steps if name.startswith("the same")]:
        start = time.perf_counter()
        steps[name]()
        print(f"{name}: prepared in {time.perf_counter() - start:.2g} s")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    for name, found in seconds.items():
        print(f"{name:26} {1000 * np.median(found):6.1f} ms")


def backward(predict: Evaluator, model: ForceField, batch: Batch, config: TrainConfig) -> None:
    """The loss of a batch and its gradient."""
    model.zero_grad()
    prediction = predict(batch.graph, stress=batch.targets.stress is not None)
    found = errors(prediction, batch.targets, batch.graph)
    loss(found, config.loss, batch.sizes, batch.weights).backward()


if __name__ == "__main__":
    main()
