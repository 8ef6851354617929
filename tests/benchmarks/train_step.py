"""Where a training step spends its time, plain and compiled: measured only.

    python tests/benchmarks/train_step.py config.yaml [key=value ...]

Times, for a batch of the run that the file describes, on the CPU: the energy; energy and forces;
these and the gradient of the loss in the weights, plain and through torch.compile; and the
optimiser. Medians, all in turns.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from sikff.forcefield import ForceField
from sikff.training.batches import Batch
from sikff.training.compiled import CompiledTraining, room_for
from sikff.training.config import TrainConfig, read_config
from sikff.training.loaders import Loaders
from sikff.training.losses import errors, loss
from sikff.training.soap import SOAP
from sikff.training.start import initial_model

TURNS = 40


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("config", type=Path)
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    config = read_config(options.config, options.overrides)
    torch.set_num_threads(config.threads or torch.get_num_threads())
    loaders = Loaders(config)
    samples = loaders.dataset.train
    model = initial_model(config, loaders.dataset.model, [sample.graph for sample in samples])
    room, _ = room_for(samples, config.batch_size)
    compiled, optimiser = CompiledTraining(model, room), SOAP(model, config.lr)
    batch = next(iter(loaders.train_dataloader()))
    steps: dict[str, Callable[[], object]] = {
        "energy": lambda: model(batch.graph, forces=False),
        "energy and forces": lambda: model(batch.graph),
        "and gradient of the loss": lambda: backward(model, model, batch, config),
        "the same, compiled": lambda: backward(compiled, model, batch, config),
        "SOAP": optimiser.step,
    }
    start = time.perf_counter()
    steps["the same, compiled"]()
    print(f"compiled in {time.perf_counter() - start:.0f} s; {room}")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(TURNS):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    for name, found in seconds.items():
        print(f"{name:26} {1000 * np.median(found):6.1f} ms")


def backward(
    predict: ForceField | CompiledTraining, model: ForceField, batch: Batch, config: TrainConfig
) -> None:
    """The loss of a batch and its gradient."""
    model.zero_grad()
    prediction = predict(batch.graph, stress=batch.targets.stress is not None)
    found = errors(prediction, batch.targets, batch.graph)
    loss(found, config.loss, batch.structures, batch.atoms).backward()


if __name__ == "__main__":
    main()
