"""Checks of labels: of the first ones, before others are spent, and of those that fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed

from ..data.check_work import explain_work
from .config import LearnConfig
from .label_log import Answer, Label

EXPLODES = 10.0  # eV/Å, a force on an atom of a start structure
SMALLEST_WORK = 1e-4  # eV, that tells of units


def check_first(answer: Answer) -> None:
    """Raises CalculationFailed, with the message of the calculator, unless there is a label."""
    if answer.status == "failed":
        raise CalculationFailed(
            f"the calculator failed for a start structure: {answer.reason}; nothing else was asked"
        )
    if answer.status == "refused":
        raise CalculationFailed(
            f"the label of a start structure has {answer.reason}; expected a structure near a "
            "minimum, in Å, and forces in eV/Å"
        )


def check_probe(labels: Sequence[Label], config: LearnConfig) -> None:
    """Checks the labels of a start and of two structures on opposite sides of it.

    Raises:
        ValueError: if forces of the start are huge, if energies and forces do not belong together,
            or if there is no stress although the run needs it.
    """
    start = labels[0]
    largest = float(np.linalg.norm(start.forces, axis=1).max())
    if largest > EXPLODES:
        raise ValueError(
            f"the start structure would explode: a force of {largest:.3g} eV/Å on atom "
            f"{int(np.linalg.norm(start.forces, axis=1).argmax())}. Relax it first with the "
            "reference, or check that positions are in Å"
        )
    if config.ensemble == "npt" and "stress" not in start.answer.results:
        raise ValueError(
            "ensemble is npt, but the calculator has no stress, or a start structure is not "
            "periodic in three directions; take nvt, or another calculator"
        )
    if len(labels) == 3:
        _check_units(*labels)


def _check_units(start: Label, one: Label, other: Label) -> None:
    """Compares energies with the work against the forces, from two sides to the start and back.

    Half the sum of the two is E(+) + E(-) - 2 E(0), which is no accident at a minimum either.
    """
    move = 0.5 * (one.request.atoms.positions - other.request.atoms.positions)
    work = -0.5 * float(((one.forces - other.forces) * move).sum())
    energies = [float(label.answer.results["energy"]) for label in (start, one, other)]
    change = energies[1] + energies[2] - 2 * energies[0]
    if abs(work) < SMALLEST_WORK or not move.any():
        return
    complaint = explain_work(change / work, np.array([len(move)]))
    if complaint is None and not 0.5 < change / work < 2:
        complaint = (
            f"energies change by {change / work:.3g} times the work against the forces; expected "
            "1, for forces that are minus the gradient of this energy, in eV/Å and eV"
        )
    if complaint is not None:
        raise ValueError(f"labels of the calculator contradict each other: {complaint}")


def check_enough(labels: Sequence[Label]) -> None:
    """Raises CalculationFailed, with the commonest reason, if more than half of labels failed."""
    failed = [label for label in labels if label.answer.status != "labelled"]
    if len(failed) <= len(labels) / 2:
        return
    reasons = Counter(label.answer.reason for label in failed)
    words, count = reasons.most_common(1)[0]
    raise CalculationFailed(
        f"{len(failed)} of {len(labels)} labels of this round failed; of {count} the reason is: "
        f"{words}. They are in failed.xyz; --resume goes on with the others if you lower the "
        "temperatures or mend the calculator, and asks for none again"
    )


def check_start_data(given: Sequence[ase.Atoms], starts: Sequence[ase.Atoms]) -> None:
    """Raises ValueError for labelled structures with elements that the start structures lack."""
    known = {symbol for atoms in starts for symbol in atoms.symbols}
    foreign = sorted({symbol for atoms in given for symbol in atoms.symbols} - known)
    if foreign:
        raise ValueError(
            f"data hold {', '.join(foreign)}, which no start structure has; leave these structures "
            "out, or add a start structure with these elements"
        )
