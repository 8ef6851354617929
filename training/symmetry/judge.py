"""What follows from a Lie matrix and from trainings: the axis, and the group to use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sikff.groups import SymmetryGroup
from sikff.groups.matrices import unit_vector

from .axes import Z, angle, distinct, nearest
from .candidates import about, compare
from .copies import SAME_ELEMENT, Copy
from .findings import Candidate
from .lie import Defect, LieMatrix
from .settings import Search

Array = np.ndarray
Report = Callable[[str], None]
Train = Callable[[str], Array]  # name of a group -> error of each frame kept back

BROKEN = "broken"  # verdict
NEARLY = 0.05  # relative change that models of a group may bear
SHOWN = 0.01  # degrees between axes that are not the same


def find_axis(
    lie: LieMatrix | None, search: Search, special: Sequence[Array] | Array = ()
) -> Array:
    """The axis that is given, or else that of the Lie matrix; z where none is singled out.

    Args:
        lie: None only if the axis is given.
        search: may give the axis.
        special: directions that are known; one within half a degree is taken for the axis.

    Raises:
        ValueError: the data were not turned in enough ways to tell.
    """
    if search.axis is not None:
        return unit_vector(search.axis)
    if lie is None or lie.n_symmetries == 3:
        return special[0] if len(special) else Z
    if lie.n_symmetries == 2:
        raise ValueError(
            "turns about two axes seem to change nothing, but those about the third do, which no "
            "group can do: structures or systems are turned in too few ways to tell. Give more, or "
            "the axis"
        )
    return nearest(lie.axes[0] if lie.n_symmetries else distinct(lie), special)


def judge(
    names: Sequence[str],
    defects: Mapping[str, Defect],
    train: Train | None,
    report: Report,
    copies: Mapping[str, Defect] | None = None,
) -> tuple[str, tuple[Candidate, ...]]:
    """The group to use, and what speaks for and against each candidate.

    Candidates with a defect above its limit are not trained. Without trainings the largest of the
    others is used; a finite group, however, only if its defect was measured.

    Args:
        names: candidates, the largest first, C1 the last.
        defects: of the candidates, as far as they were measured.
        train: trains a model of a group; None: no trainings.
        report: called with a line before each training.
        copies: the defect on frames that are copies of each other.
    """
    copies = copies or {}
    found = (defects, copies)
    broken = {n for n in names if any(n in each and each[n].is_broken for each in found)}
    open_ = [name for name in names if name not in broken]
    errors: Mapping[str, Array] = {}
    if train is None:
        known = [n for n in open_ if n in defects]
        chosen = known[0] if known else open_[-1]
    else:

        def announced(name: str) -> Array:
            report(f"training a model of {name}")
            return train(name)

        chosen, errors = compare(open_, announced)
    return chosen, tuple(
        Candidate(
            name,
            defects[name].size if name in defects else None,
            copies[name].size if name in copies else None,
            float(errors[name].mean()) if name in errors else None,
            float(errors[name].std() / np.sqrt(len(errors[name]))) if name in errors else None,
            verdict(name, chosen, name in broken, name in errors),
        )
        for name in names
    )


def verdict(name: str, chosen: str, broken: bool, trained: bool = False) -> str:
    """In a word or two."""
    if name == chosen:
        return "use"
    if broken:
        return BROKEN
    if SymmetryGroup(name) <= SymmetryGroup(chosen):
        return "part of it"
    return "worse" if trained else "not needed"


def notes_on_groups(
    candidates: Sequence[Candidate], chosen: str, axis: Array, copies: Sequence[Copy]
) -> list[str]:
    """What was not looked at, and what is a symmetry but for a little."""
    notes = []
    used = next(each for each in candidates if each.group == chosen)
    group = about(chosen, axis)
    mirrored = any(
        np.linalg.det(each.matrix) < 0 and group.contains(each.matrix, SAME_ELEMENT)
        for each in copies
    )
    if group.lie_dimension == 1 and group.has_improper and used.error is None and not mirrored:
        notes.append(
            "mirrors were not looked at, as nothing was trained and no frames are mirrored "
            f"copies: if what is outside is chiral, take SO(2) and not {chosen}"
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


def notes_on_axis(lie: LieMatrix | None, axis: Array) -> list[str]:
    """Where what was found is not what is used."""
    if lie is None or lie.n_symmetries != 1:
        return []
    off = angle(lie.axes[0], axis)
    if off < SHOWN:
        return []
    shown = ", ".join(f"{x:.4f}" for x in lie.axes[0])
    return [f"turns about [{shown}] are symmetries, {off:.2f}° from the axis used"]
