"""How many structures a step of the optimiser has, where the settings leave it open."""

from __future__ import annotations

from collections.abc import Callable

from ..config import TrainConfig
from ..data.batches import count_atoms
from ..data.dataset import Dataset
from .static_training import uses_cuda

MOST = 5
ATOMS = 130  # in a step on a CPU, about


def with_batch_size(
    config: TrainConfig, dataset: Dataset, report: Callable[[str], None]
) -> TrainConfig:
    """The run with `batch_size` filled in, if it is None.

    Five structures of a molecule are better than fewer or more at equal time. Of large ones the
    time of a step grows with each, and its gradient hardly gets better: every atom is an example.
    """
    if config.batch_size is not None:
        return config
    atoms = float(count_atoms(dataset.train).mean())
    size = MOST if uses_cuda(config) else min(MOST, max(1, round(ATOMS / atoms)))
    size = max(size, config.devices)
    report(f"{size} structure{'s' * (size > 1)} in a step (batch_size)")
    return config.model_copy(update={"batch_size": size})
