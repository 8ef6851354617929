"""Which group is chosen, by errors and defects."""

import numpy as np
import pytest

from sikff import SymmetryGroup
from sikff.training.symmetry.candidates import (
    choose_group,
    is_clearly_worse,
    judge_candidates,
    sample_elements,
    sort_by_size,
    train_candidates,
)
from sikff.training.symmetry.lie import Defect

NAMES = sort_by_size(["C_inf_v", "O(3)", "SO(2)", "C4v", "SO(3)", "C2v"])
NOISE = np.random.default_rng(0).normal(size=400)


def errors(mean: float) -> np.ndarray:
    return mean + 0.1 * NOISE


def test_groups_are_sorted_by_size_and_unknown_ones_raise() -> None:
    assert NAMES == ["O(3)", "SO(3)", "C_inf_v", "SO(2)", "C4v", "C2v", "C1"]
    with pytest.raises(ValueError, match="unknown symmetry group 'C_v'"):
        sort_by_size(["C_v"])


def test_the_largest_group_that_is_not_clearly_worse_is_chosen() -> None:
    assert (
        choose_group({"O(3)": errors(2.0), "C_inf_v": errors(1.1), "C1": errors(1.0)}) == "C_inf_v"
    )
    assert choose_group({"O(3)": errors(1.05), "C_inf_v": errors(1.1), "C1": errors(1.0)}) == "O(3)"
    assert choose_group({"O(3)": errors(2.0), "C_inf_v": errors(2.0), "C1": errors(1.0)}) == "C1"


def test_an_error_of_a_single_structure_is_chance() -> None:
    """A difference of 1 that comes from one structure of four is chance; one of all four is not."""
    best = np.ones(4)
    assert not is_clearly_worse(best + 4 * np.eye(4)[0], best)
    assert is_clearly_worse(best + 1, best)


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
            return errors(1.2)  # never wrong, but it needs more data
        return errors(1.0 if SymmetryGroup(name) <= SymmetryGroup(truth) else 3.0)

    chosen, found = train_candidates(NAMES, train)
    assert chosen == truth
    assert set(asked) == set(found) == trained and len(asked) == len(trained)


def test_elements_come_from_every_component() -> None:
    for name in ("C1", "C3v", "C30v", "SO(2)", "C_inf_v", "O(3)"):
        group = SymmetryGroup(name, (1, 2, 2))
        found = sample_elements(group)
        assert all(group.contains(g) for g in found)
        assert (found.det() < 0).any() == group.has_improper


def test_groups_with_a_broken_symmetry_are_not_trained() -> None:
    defects = {"O(3)": Defect(0.1, 1e-3), "SO(3)": Defect(0.1, 1e-3), "C_inf_v": Defect(0, 1e-3)}
    lines: list[str] = []
    chosen, candidates = judge_candidates(NAMES, defects, lambda name: errors(1.0), lines.append)
    assert chosen == "C_inf_v"
    assert lines == [f"training a model of {name}" for name in ("C_inf_v", "SO(2)", "C1")]
    verdicts = [each.verdict for each in candidates]
    assert verdicts == ["broken", "broken", "use", *["part of it"] * 4]


def test_a_group_that_was_not_measured_is_not_chosen_without_trainings() -> None:
    assert judge_candidates(NAMES, {"O(3)": Defect(0.1, 1e-3)})[0] == "C1"
    measured = {"O(3)": Defect(0.1, 1e-3), "C4v": Defect(0, 1e-3)}
    assert judge_candidates(NAMES, measured)[0] == "C4v"
