"""Committees: models that differ in their seed, trained one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..config import TrainConfig
from .fit import fit


def fit_committee(config: TrainConfig, members: int, **options: Any) -> list[Path]:
    """Trains models with different seeds, each in a folder member0, member1, ... of the output.

    Seeds count up from that of the run. They determine weights and, where ``data.valid`` is a
    number, which structures validate, so that every structure trains some member.

    Args:
        config: of all members.
        members: number of models.
        **options: of :func:`fit`; with ``resume`` members that are complete stay as they are.

    Returns:
        The paths of the model files.

    Raises:
        ValueError: for fewer than two members; else as :func:`fit`.
    """
    if members < 2:
        raise ValueError(f"members is {members}; expected two or more for a committee")
    paths = []
    for number in range(members):
        changes = {"seed": config.seed + number, "output": config.output / f"member{number}"}
        paths.append(fit(config.model_copy(update=changes), **options))
    return paths
