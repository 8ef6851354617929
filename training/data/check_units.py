"""Refuses data that are clearly not in Å, eV, eV/Å and eV/Å^3."""

from __future__ import annotations

from collections.abc import Mapping

from .check_energies import wrong_isolated, wrong_totals
from .check_forces import wrong_work
from .check_lengths import wrong_lengths
from .check_stress import wrong_strain_work, wrong_stress
from .structures import Structures


def check_units(structures: Structures, isolated: Mapping[str, float]) -> None:
    """Refuses data in other units.

    Args:
        structures: with labels, without the isolated atoms.
        isolated: energies of free atoms.

    Raises:
        ValueError: naming the units that fit.
    """
    complaints = (
        wrong_lengths(structures),
        wrong_totals(structures, isolated),
        wrong_isolated(structures, isolated),
        wrong_work(structures),
        wrong_stress(structures),
        wrong_strain_work(structures),
    )
    for complaint in complaints:
        if complaint is not None:
            raise ValueError(
                f"{structures.source}: {complaint}; convert the data, or set "
                "data.check_units: false if they are right"
            )


def check_atomic_energies(structures: Structures, energies: Mapping[str, float]) -> None:
    """Refuses E0s of other data.

    Raises:
        ValueError: if they are further from the energies than any bonds.
    """
    complaint = wrong_isolated(structures, energies)
    if complaint is not None:
        raise ValueError(
            f"{structures.source}: {complaint}. Give the E0s of these data "
            "(model.atomic_energies), or set data.check_units: false"
        )
