"""Candidate groups, and which of them to use, judged by defects and errors of trained models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from sikff.groups import SymmetryGroup

from .lie import Defect

Array = np.ndarray
Report = Callable[[str], None]
Trainer = Callable[[str], Array]  # name of a group -> error of its model on each test structure

TRIVIAL = "C1"
MODEL_GROUPS = (
    *("O(3)", "SO(3)", "C_inf_v", "SO(2)", "C6v", "C4v", "C3v", "C2v"),
    *("C6", "C4", "C3", "C2", TRIVIAL),
)
DATA_GROUPS = tuple(name for name in MODEL_GROUPS if name not in ("C6v", "C6"))

N_ELEMENTS = 12  # that represent an infinite or large group
BROKEN = "broken"  # verdict
NEARLY = 0.05  # relative change below which a broken symmetry is mentioned
# Errors of small trainings that differ in their initial weights alone seldom differ by more.
TOLERANCE = 0.2


@dataclass(frozen=True)
class Candidate:
    """A group, and the evidence for and against it.

    Attributes:
        group: its name.
        defect: relative change of what should not change, under its elements; None: not measured.
        copies: the same of labelled structures that are copies of each other, moved by its
            elements.
        error: of a model of this group on test data; None: not trained.
        deviation: standard error of that.
        verdict: in a word or two.
    """

    group: str
    defect: float | None
    copies: float | None
    error: float | None
    deviation: float | None
    verdict: str


def sort_by_size(names: Iterable[str]) -> list[str]:
    """Names of groups without repetition, the largest first; C1 is always among them.

    Raises:
        ValueError: an unknown name.
    """

    def size(name: str) -> tuple[int, int]:
        group = SymmetryGroup(name)
        return group.lie_dimension, len(group.elements)

    return sorted(dict.fromkeys([*names, TRIVIAL]), key=size, reverse=True)


def sample_elements(group: SymmetryGroup) -> Tensor:
    """Elements [n, 3, 3]: all of a small group; otherwise some, from every component."""
    elements = torch.from_numpy(np.array(group.elements))
    if group.lie_dimension:
        return torch.cat([elements, group.sample(N_ELEMENTS, seed=0)])
    return elements if len(elements) <= 2 * N_ELEMENTS else group.sample(2 * N_ELEMENTS, seed=0)


def judge_candidates(
    names: Sequence[str],
    defects: Mapping[str, Defect],
    trainer: Trainer | None = None,
    report: Report = lambda line: None,
    copy_defects: Mapping[str, Defect] | None = None,
) -> tuple[str, tuple[Candidate, ...]]:
    """The group to use, and the evidence for and against each candidate.

    Candidates with a defect above its limit are not trained. Without trainings the largest of the
    others is used, but only if its defect was measured.

    Args:
        names: candidates, the largest first, C1 the last, which is never broken.
        defects: of the candidates, as far as they were measured.
        trainer: trains a model of a group; None: no trainings.
        report: called with a line before each training.
        copy_defects: the same of structures that are copies of each other.
    """
    measured = (defects, copy_defects or {})
    broken = {n for n in names[:-1] if any(n in each and each[n].is_broken for each in measured)}
    remaining = [name for name in names if name not in broken]
    errors: Mapping[str, Array] = {}
    if trainer is None:
        chosen = next((name for name in remaining if name in defects), remaining[-1])
    else:
        chosen, errors = train_candidates(remaining, trainer, report)
    candidates = []
    for name in names:
        verdict = "worse" if name in errors else "not needed"
        if name == chosen:
            verdict = "use"
        elif name in broken:
            verdict = BROKEN
        elif SymmetryGroup(name) <= SymmetryGroup(chosen):
            verdict = "part of it"
        defect, copies = (each[name].size if name in each else None for each in measured)
        error = deviation = None
        if name in errors:
            error = float(errors[name].mean())
            deviation = float(errors[name].std() / np.sqrt(len(errors[name])))
        candidates.append(Candidate(name, defect, copies, error, deviation, verdict))
    return chosen, tuple(candidates)


def train_candidates(
    names: Sequence[str], trainer: Trainer, report: Report = lambda line: None
) -> tuple[str, dict[str, Array]]:
    """The largest group whose errors are not clearly above the lowest, and all errors.

    Groups with the most continuous rotations are trained first, and the smallest group, which is
    never wrong, for comparison. Those with fewer are trained only if all these are worse than the
    smallest. For the arguments see :func:`judge_candidates`.
    """
    errors: dict[str, Array] = {}
    chosen = names[-1]
    for _, rank in groupby(names, key=lambda name: SymmetryGroup(name).lie_dimension):
        tried = list(rank)
        for name in dict.fromkeys([*tried, names[-1]]):
            if name not in errors:
                report(f"training a model of {name}")
                errors[name] = trainer(name)
        chosen = choose_group({name: errors[name] for name in names if name in errors})
        if chosen in tried:
            break
    return chosen, errors


def choose_group(errors: Mapping[str, Array]) -> str:
    """The first group whose errors are not clearly above the lowest."""
    best = min(errors.values(), key=np.mean)
    return next(name for name, error in errors.items() if not is_clearly_worse(error, best))


def is_clearly_worse(errors: Array, best: Array) -> bool:
    """Whether errors [n] are above others of the same structures by more than chance allows.

    That is two standard errors of the mean difference, and 20 % for different initial weights.
    """
    difference = errors - best
    doubt = 2 * difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() > doubt + TOLERANCE * best.mean())


def write_group_notes(
    candidates: Sequence[Candidate], chosen: str, mirrored_copies: bool
) -> list[str]:
    """Notes on mirrors that neither trainings nor mirrored copies tested, and on the largest group
    that is broken by a little."""
    notes = []
    trained = any(each.error is not None for each in candidates if each.group == chosen)
    group = SymmetryGroup(chosen)
    if group.lie_dimension == 1 and group.has_improper and not (trained or mirrored_copies):
        notes.append(
            "mirrors were not looked at, as nothing was trained and no structures are mirrored "
            f"copies: if the environment is chiral, take SO(2) and not {chosen}"
        )
    for each in candidates:
        change = max(each.defect or 0.0, each.copies or 0.0)
        if each.verdict == BROKEN and 0 < change < NEARLY:
            notes.append(
                f"{each.group} is broken by {100 * change:.2g} % only: where errors of that size "
                f"do not matter, or data are few, its models are the better ones (--threshold "
                f"{1.2 * change:.2g} takes it for a symmetry)"
            )
            break
    return notes
