"""Runs that are killed lose no label, ask for none again, and end as if nothing had been."""

import random
from pathlib import Path

import pytest

from learning_kills import kill_learning


@pytest.mark.parametrize("kills", [3])
def test_killed_runs_lose_nothing(tmp_path: Path, kills: int) -> None:
    done, twice = kill_learning(tmp_path, kills, random.Random(0), seconds=0.01)
    assert done == kills >= twice
