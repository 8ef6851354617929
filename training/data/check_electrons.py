"""Checks of total charges and spin multiplicities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np

from sikff.forcefield import ForceFieldConfig
from sikff.graph.conditions import NUMBERS

from .structures import Structure, Structures


def check_electrons(structures: Structures, model: ForceFieldConfig) -> list[str]:
    """Checks that a model can tell structures of one composition apart by charge and spin.

    Returns:
        Notes for the user: of a charge or spin that the model reads and no structure has, and of
        spins that do not fit the number of electrons. Structures with a periodic direction may
        have any, as their smeared occupations do.

    Raises:
        ValueError: naming structures of one composition that differ in a charge or a spin that the
            model does not read.
    """
    environment = model.environment
    if not environment.charge:
        _check_equal(structures, "charge", "total charges", lambda each: each.conditions.charge)
    if not environment.spin:  # the charge is read, or the same for all of a composition
        _check_equal(structures, "spin", "spin multiplicities", lambda each: each.conditions.spin)
        return _absent(structures, "charge") if environment.charge else []
    wrong = [p for p, each in enumerate(structures) if not _spin_fits(each)]
    notes = [] if not environment.charge else _absent(structures, "charge")
    notes += _absent(structures, "spin")
    if wrong:
        notes.append(
            "note: a spin multiplicity that the number of electrons does not allow (an odd number "
            f"needs an even one) in {structures.names(wrong)}"
        )
    return notes


def describe_electrons(structures: Structures) -> list[str]:
    """A line with the charges and spins of the structures, unless all are neutral singlets."""
    charges = Counter(structure.conditions.charge for structure in structures)
    spins = Counter(structure.conditions.spin for structure in structures)
    parts = [f"total charges {_counted(charges)}"] if charges.keys() - {0} else []
    parts += [f"spin multiplicities {_counted(spins)}"] if spins.keys() - {1, None} else []
    return ["; ".join(parts)] if parts else []


def _counted(numbers: Mapping[Any, int]) -> str:
    """Each number and how often it occurs, in words."""
    ordered = sorted(numbers.items(), key=lambda item: (item[0] is None, item[0]))
    return ", ".join(f"{'not given' if n is None else n} ({count})" for n, count in ordered)


def _check_equal(
    structures: Structures, name: str, words: str, value: Callable[[Structure], int | None]
) -> None:
    """Raises ValueError for structures of one composition, and charge, with different values."""
    if len({value(each) for each in structures} - {None}) < 2:
        return

    def composition(structure: Structure) -> Hashable:
        numbers = np.sort(structure.numbers).tobytes()
        return numbers, structure.conditions.charge if name == "spin" else None

    for group in structures.groups(composition):
        values = [value(each) for each in group]
        different = sorted({each for each in values if each is not None})
        if len(different) > 1:
            formula = group[0].atoms.get_chemical_formula()
            group.raise_for(
                [values.index(each) for each in different],
                f"{formula} with {words} {', '.join(map(str, different))}, which the model does "
                "not read,",
                f"; set model.environment.{name}: true, or select structures of one {name}",
            )


def _absent(structures: Structures, name: str) -> list[str]:
    """A note if the info of no structure has a charge or spin that the model reads."""
    if any(each.atoms.info.keys() & {*NUMBERS[name]} for each in structures):
        return []
    return [
        f"note: model.environment.{name} is true, but no structure has one (looked for "
        f"{' or '.join(NUMBERS[name])} in info); the model cannot learn what it changes"
    ]


def _spin_fits(structure: Structure) -> bool:
    """Whether a molecule's electrons can have its spin; True without one."""
    atoms, conditions = structure.atoms, structure.conditions
    if conditions.spin is None or atoms.pbc.any():
        return True
    electrons = int(atoms.numbers.sum()) - conditions.charge
    return electrons >= conditions.unpaired and (electrons - conditions.unpaired) % 2 == 0
