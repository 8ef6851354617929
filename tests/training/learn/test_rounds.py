"""What a round asks for, and when it is enough."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import ase
import numpy as np
import pytest
from ase.build import molecule

from force_fields import force_field
from sikff.training.learn.config import LearnConfig
from sikff.training.learn.explore import Frame, draw_evenly, draw_from_each
from sikff.training.learn.pick import describe, pick
from sikff.training.learn.rounds import Rounds
from sikff.training.learn.state import State
from sikff.training.learn.system import FreeSystem


def stretched(factor: float) -> ase.Atoms:
    atoms = molecule("H2O")
    atoms.positions *= factor
    return atoms


def test_frames_are_drawn_at_equal_distances() -> None:
    assert draw_evenly(range(10), 5) == [1, 3, 5, 7, 9]
    assert draw_evenly(range(3), 5) == [0, 1, 2]
    assert draw_evenly([], 5) == []
    tracks = [list(range(100, 140)), [1, 2], [], list(range(200, 240))]
    drawn = draw_from_each(tracks, 10)
    assert drawn == [1, 2, 105, 115, 125, 135, 205, 215, 225, 235]
    assert draw_from_each([[1], [2]], 9) == [1, 2] and draw_from_each([], 3) == []


def test_descriptions_see_distances_and_neither_order_nor_orientation() -> None:
    atoms, pairs = molecule("CH3OH"), [(1, 1), (1, 6), (1, 8), (6, 8)]
    other = atoms[[5, 1, 0, 2, 4, 3]]
    other.rotate(40, (1, 2, 3))
    assert describe(other, pairs) == pytest.approx(describe(atoms, pairs))
    atoms.rattle(0.05, seed=0)
    assert abs(describe(other, pairs) - describe(atoms, pairs)).max() > 1e-3


def test_picks_are_uncertain_far_from_labels_and_from_each_other() -> None:
    frames = [Frame(stretched(f), 300.0, d) for f, d in ((1.0, 9.0), (1.2, 1.0), (1.4, 1.0))]
    frames += [Frame(stretched(1.4), 300.0, 0.9), Frame(stretched(1.45), 300.0, 0.2)]
    chosen = pick(frames, [stretched(1.0)], 2)
    assert [each.atoms.get_distance(0, 1) for each in chosen] == pytest.approx(
        [frames[n].atoms.get_distance(0, 1) for n in (2, 1)]
    )
    chosen = pick(frames, [stretched(1.0)], 9)
    assert len(chosen) == 3  # what is labelled, and a copy of what is picked, are worth nothing
    assert pick([], [stretched(1.0)], 3) == []


@pytest.mark.parametrize(
    ("errors", "alive", "enough"),
    [
        ([60.0, 30.0], 9, True),  # 0.75 * 30 * (20 / 40)^0.8 = 12.9
        ([60.0, 50.0], 9, False),
        ([30.0], 9, False),  # one round alone
        ([90.0, 30.0], 9, False),  # too different
        ([60.0, 30.0], 4, False),  # walkers were stopped
        ([60.0, None], 9, False),
    ],
)
def test_a_last_training_comes_when_it_promises_the_target(
    make_config: Callable[..., LearnConfig], errors: list[Any], alive: int, enough: bool
) -> None:
    config = make_config(target=20.0)
    state = State()
    state.rounds = [
        {"force_mae": error, "structures": 20, "alive": alive, "walkers": 9} for error in errors
    ]
    log: Any = SimpleNamespace(labelled=[None] * 40)
    rounds = Rounds(config, FreeSystem([molecule("CO")]), log, state)
    assert rounds.is_good_enough() == enough
    assert rounds.measure_last(force_field(), [])["force_mae"] == np.inf
    state.patience = 0.1  # after a last training that did not reach it
    assert not rounds.is_good_enough()


def test_a_state_comes_back_exactly(tmp_path: Any) -> None:
    state = State(phase="explore", round=3, limit=np.pi, points=[(0.1, 0.2, "fresh")])
    state.write(tmp_path)
    assert State.read(tmp_path) == state
