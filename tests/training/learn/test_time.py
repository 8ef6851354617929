"""How much a run trains and explores follows the seconds of labels, and of learning itself."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import pytest
import torch
from ase.calculators.emt import EMT

from sikff import ForceField, ForceFieldConfig
from sikff.training.fitting.in_memory import Trained
from sikff.training.learn import learner, members, reference
from sikff.training.learn.config import LearnConfig
from sikff.training.learn.job_folder import LabelsMissingError
from sikff.training.learn.learn import learn

SMALL: dict[str, Any] = {"layers": 1, "channels": 2, "max_frequency": 1, "cutoff": 4.0}
SMALL |= {"average_neighbours": 6.0, "atomic_energies": {"Cu": 0.0}}
MakeConfig = Callable[..., LearnConfig]


class Clock:
    """Stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Slow(EMT):
    def __init__(self, clock: Clock, seconds: float) -> None:
        super().__init__()
        self.clock, self.seconds = clock, seconds

    def calculate(self, *arguments: Any) -> None:
        self.clock.now += self.seconds
        super().calculate(*arguments)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (learner, members, reference):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Callable[[float], list[int]]:
    """Makes trainings that learn nothing and take so many seconds, and notes their steps."""

    def replace(seconds: float) -> list[int]:
        found: list[int] = []
        with torch.random.fork_rng():
            model = ForceField(ForceFieldConfig(elements=("Cu",), group="O(3)", **SMALL)).eval()

        def train(config: Any, *_: Any, **__: Any) -> Trained:
            clock.now += seconds
            found.append(config.max_steps)
            return Trained(model.requires_grad_(False), {}, 0.0)

        monkeypatch.setattr(members, "train_in_memory", train)
        monkeypatch.setattr(members, "_is_worse_than_nothing", lambda *_: False)
        monkeypatch.setattr(learner, "write_report", lambda *_: None)
        return found

    return replace


@pytest.mark.filterwarnings("ignore:atoms .* apart:UserWarning")
@pytest.mark.parametrize(
    ("training", "committee", "factor"), [(0.0, 4, 2), (8.0, 3, 2), (50.0, 2, 1)]
)
def test_more_is_learned_where_labels_take_long_and_learning_does_not(
    make_config: MakeConfig,
    short: None,
    clock: Clock,
    steps: Callable[[float], list[int]],
    training: float,
    committee: int,
    factor: int,
) -> None:
    """Nine labels take 270 s before the first training."""
    found, config = steps(training), make_config(target=1e-3, max_labels=20)
    learn(config, Slow(clock, 30.0), report=lambda line: None)
    # the first members are trained before it is known what that takes
    assert found == [2 * 30] * committee + [40 * factor]
    state = json.loads((config.output / "state.json").read_text())
    assert state["seconds"]["training"] == committee * training


def test_labels_of_a_queue_count_as_slow_ones(
    make_config: MakeConfig, short: None, steps: Callable[[float], list[int]], tmp_path: Path
) -> None:
    found, jobs = steps(1000.0), tmp_path / "jobs"
    config = make_config(calculator={"folder": jobs})
    while not found:
        with pytest.raises(LabelsMissingError):
            learn(config, resume=True, report=lambda line: None)
        for job in jobs.glob("*/structure.xyz"):
            atoms = ase.io.read(job)
            atoms.calc = EMT()
            atoms.get_forces()
            ase.io.write(job.with_name("labelled.xyz"), atoms)
    assert found == [60] * 4
