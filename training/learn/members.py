"""Trainings of a learning run: the members of the committee, and the model at the end."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase
import numpy as np
import torch

from sikff.atomic_write import complete
from sikff.forcefield import ForceField, ForceFieldConfig
from sikff.graph.conditions import VACUUM

from ..config import TrainConfig
from ..evaluation.predict import predict
from ..fitting.in_memory import Trained, train_in_memory
from .sizes import LEAST_MEMBERS

FORMAT = "sikff committee in training, version 1"
ATTEMPTS = 3  # at a training that diverges
SEEDS_APART = 1000
NOTHING = 0.95  # of the mean force: errors of a model that predicts none


class Trainer:
    """Trains models on labelled structures.

    Args:
        model: keys of the force field, elements among them.
        seed: of the first member.
        stress: whether structures have a stress to learn.
        report: called with a line for the user.
    """

    def __init__(
        self, model: dict[str, Any], seed: int, stress: bool, report: Callable[[str], None]
    ) -> None:
        self.model, self.seed, self.stress, self.report = model, seed, stress, report

    def train(
        self,
        structures: Sequence[ase.Atoms],
        steps: int,
        member: int = 0,
        before: Trained | None = None,
    ) -> Trained:
        """Trains a model; one that diverges is trained again, from random weights and slower.

        Args:
            structures: with labels.
            steps: of the optimiser.
            member: number of the model in its committee.
            before: an earlier training that goes on.

        Raises:
            FloatingPointError: if it diverges again and again.
        """
        rate = 0.03 if before is None else 0.01
        for attempt in range(ATTEMPTS):
            config = self._config(steps, rate, member + SEEDS_APART * attempt)
            try:
                trained = train_in_memory(config, structures, before=before)
                if not _is_worse_than_nothing(trained.model, structures):
                    return trained
                why = "ended with larger errors than forces are"
            except FloatingPointError as error:
                why = str(error).split(";")[0]
            self.report(f"training {why}; it is repeated with a lower rate")
            before, rate = None, rate / 3
        raise FloatingPointError(
            f"a training on {len(structures)} structures diverged {ATTEMPTS} times: the labels "
            "may contradict each other; look at data.xyz in the output with `sikff data`"
        )

    def train_committee(
        self,
        structures: Sequence[ase.Atoms],
        steps: int,
        before: Sequence[Trained | None],
        seconds: float = np.inf,
    ) -> list[Trained]:
        """Trains models one by one; two at least, and others as long as all take so many seconds.

        Args:
            before: earlier trainings that go on, or None for each member.
        """
        began, members = time.monotonic(), []
        for number, earlier in enumerate(before):
            each = (time.monotonic() - began) / max(number, 1)
            if number >= LEAST_MEMBERS and (number + 1) * each > seconds:
                break
            members.append(self.train(structures, steps, number, earlier))
        return members

    def _config(self, steps: int, rate: float, seed: int) -> TrainConfig:
        return TrainConfig.model_validate(
            {
                "data": {"valid": 0, "check_units": False},
                "model": self.model,
                "loss": {} if self.stress else {"stress": 0.0},
                "max_steps": steps,
                "lr": rate,
                "seed": self.seed + seed,
                "device": "cpu",
            }
        )


def _is_worse_than_nothing(model: ForceField, structures: Sequence[ase.Atoms]) -> bool:
    """Whether errors are as large as forces, of all structures or of those in vacuum alone: where
    few are, the network of the vacuum may stop learning at a high rate, and is constant then."""
    found = predict(model, structures)
    pairs = [(a.get_forces(), b.get_forces()) for a, b in zip(structures, found, strict=True)]
    in_vacuum = [atoms.info.get("surface") == VACUUM for atoms in structures]
    for chosen in ([True] * len(pairs), in_vacuum):
        some = [pair for pair, is_chosen in zip(pairs, chosen, strict=True) if is_chosen]
        if not some:
            continue
        forces, predicted = (np.concatenate(each) for each in zip(*some, strict=True))
        if np.abs(predicted - forces).mean() > NOTHING * np.abs(forces).mean() > 0:
            return True
    return False


def write_members(path: Path, members: Sequence[Trained]) -> None:
    """Writes models with the states of their optimisers."""
    states = [
        {
            "config": each.model.config.model_dump_json(),
            "weights": each.model.state_dict(),
            "optimiser": each.optimiser,
            "loss": each.loss,
        }
        for each in members
    ]
    content = io.BytesIO()
    torch.save({"format": FORMAT, "members": states}, content)
    with complete(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def read_members(path: Path) -> list[Trained]:
    """The models that :func:`write_members` wrote.

    Raises:
        ValueError: for another file.
    """
    try:
        content = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises anything
        raise ValueError(f"cannot read {str(path)!r}: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{str(path)!r} is no {FORMAT}; start again in another output")
    members = []
    for state in content["members"]:
        config = ForceFieldConfig.model_validate_json(state["config"])
        with torch.random.fork_rng(devices=[]):
            model = ForceField(config)
        model.load_state_dict(state["weights"])
        model.eval().requires_grad_(False)
        members.append(Trained(model, state["optimiser"], state["loss"]))
    return members
