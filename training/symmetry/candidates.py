"""Candidate groups, and which of them to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from sikff.groups import SymmetryGroup

Array = np.ndarray

TRIVIAL = "C1"
OF_MODELS = (
    *("O(3)", "SO(3)", "C_inf_v", "SO(2)", "C6v", "C4v", "C3v", "C2v"),
    *("C6", "C4", "C3", "C2", TRIVIAL),
)
OF_DATA = tuple(name for name in OF_MODELS if name not in ("C6v", "C6"))

N_ELEMENTS = 12  # that stand for an infinite or large group

# So far apart are errors of small trainings that differ in nothing but the start: seldom more.
TOLERANCE = 0.2


def by_size(names: Sequence[str]) -> list[str]:
    """Groups without repetition, the largest first; C1 is always among them.

    Raises:
        ValueError: an unknown name.
    """

    def size(name: str) -> tuple[int, int]:
        group = SymmetryGroup(name)
        return group.lie_dimension, len(group.elements)

    return sorted(dict.fromkeys([*names, TRIVIAL]), key=size, reverse=True)


def about(name: str, axis: Array) -> SymmetryGroup:
    """The group of that name about an axis [3]."""
    return SymmetryGroup(name, axis.tolist())


def keeps(group: SymmetryGroup, axis: Array) -> bool:
    """Whether all elements leave a vector where it is."""
    return bool(abs(group.generators @ axis - axis).max() < 1e-6)


def elements(group: SymmetryGroup) -> Tensor:
    """Elements [n, 3, 3]: all of a small group; otherwise some, from every component."""
    elements = torch.from_numpy(np.array(group.elements))
    if group.lie_dimension:
        return torch.cat([elements, group.sample(N_ELEMENTS, seed=0)])
    return elements if len(elements) <= 2 * N_ELEMENTS else group.sample(2 * N_ELEMENTS, seed=0)


def compare(names: Sequence[str], train: Callable[[str], Array]) -> tuple[str, dict[str, Array]]:
    """The largest group whose errors are not clearly above those of the best, and all errors.

    Groups with the most continuous rotations are trained first, and the smallest group as one that
    cannot be wrong. Those with fewer are trained only if all these are worse than the smallest.

    Args:
        names: candidates, the largest first.
        train: the errors of a model of a group on the frames kept back.
    """
    errors: dict[str, Array] = {}
    chosen = names[-1]
    for _, rank in groupby(names, key=lambda name: SymmetryGroup(name).lie_dimension):
        tried = list(rank)
        for name in dict.fromkeys([*tried, names[-1]]):
            if name not in errors:
                errors[name] = train(name)
        chosen = choose({name: errors[name] for name in names if name in errors})
        if chosen in tried:
            break
    return chosen, errors


def choose(errors: Mapping[str, Array]) -> str:
    """The first whose errors are not clearly above those of the best."""
    best = min(errors.values(), key=np.mean)
    return next(name for name, each in errors.items() if not clearly_worse(each, best))


def clearly_worse(errors: Array, best: Array) -> bool:
    """Whether errors [n] are above others of the same frames by more than chance allows.

    That is two standard errors of the mean difference, and 20 % for the luck of the start.
    """
    difference = errors - best
    doubt = 2 * difference.std() / np.sqrt(len(difference))
    return bool(difference.mean() > doubt + TOLERANCE * best.mean())
