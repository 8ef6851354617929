"""Which group wins, given errors."""

import numpy as np
import pytest

from sikff import SymmetryGroup
from sikff.training.symmetry.candidates import by_size, choose, clearly_worse, compare, elements

NAMES = by_size(["C_inf_v", "O(3)", "SO(2)", "C4v", "SO(3)", "C2v"])
NOISE = np.random.default_rng(0).normal(size=400)


def errors(mean: float) -> np.ndarray:
    return mean + 0.1 * NOISE


def test_order() -> None:
    assert NAMES == ["O(3)", "SO(3)", "C_inf_v", "SO(2)", "C4v", "C2v", "C1"]
    with pytest.raises(ValueError, match="unknown symmetry group 'C_v'"):
        by_size(["C_v"])


def test_the_largest_that_is_not_worse() -> None:
    assert choose({"O(3)": errors(2.0), "C_inf_v": errors(1.1), "C1": errors(1.0)}) == "C_inf_v"
    assert choose({"O(3)": errors(1.05), "C_inf_v": errors(1.1), "C1": errors(1.0)}) == "O(3)"
    assert choose({"O(3)": errors(2.0), "C_inf_v": errors(2.0), "C1": errors(1.0)}) == "C1"


def test_few_frames_prove_nothing() -> None:
    """A difference of 1 that comes from one frame of four is chance; one of all four is not."""
    best = np.ones(4)
    assert not clearly_worse(best + 4 * np.eye(4)[0], best)
    assert clearly_worse(best + 1, best)


@pytest.mark.parametrize(
    ("truth", "trained"),
    [
        ("O(3)", {"O(3)", "SO(3)", "C1"}),
        ("SO(2)", {"O(3)", "SO(3)", "C_inf_v", "SO(2)", "C1"}),
        ("C4v", set(NAMES)),
    ],
)
def test_smaller_groups_are_trained_only_if_larger_ones_fail(truth: str, trained: set[str]) -> None:
    asked = []

    def train(name: str) -> np.ndarray:
        asked.append(name)
        if name == "C1":
            return errors(1.2)  # never wrong, but it has more to learn
        return errors(1.0 if SymmetryGroup(name) <= SymmetryGroup(truth) else 3.0)

    chosen, found = compare(NAMES, train)
    assert chosen == truth
    assert set(asked) == set(found) == trained and len(asked) == len(trained)


def test_elements_come_from_every_component() -> None:
    for name in ("C1", "C3v", "C30v", "SO(2)", "C_inf_v", "O(3)"):
        group = SymmetryGroup(name, (1, 2, 2))
        found = elements(group)
        assert all(group.contains(g) for g in found)
        assert (found.det() < 0).any() == group.has_improper
