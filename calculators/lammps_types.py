"""Which element an atom type of LAMMPS is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

MASS_ERROR = 0.1  # u; input files round masses


def find_elements(lmp: Any, given: Sequence[str] | None) -> tuple[tuple[str, ...], str]:
    """The chemical symbol of every atom type, and where it comes from.

    That is: those given, else labels of types (labelmap) if all are symbols, else masses.

    Args:
        lmp: a `lammps.lammps` with a box.
        given: one symbol for each type, or None.

    Raises:
        ValueError: for another number of symbols, a word that is none, or a type whose mass is not
            set, or none of an element.
    """
    n_types = lmp.extract_setting("ntypes")
    if given is not None:
        unknown = [word for word in given if word not in chemical_symbols[1:]]
        if unknown or len(given) != n_types:
            raise ValueError(
                f"the elements {' '.join(given)} are given; expected one chemical symbol for each "
                f"of the {n_types} atom types of LAMMPS, in their order"
                + (f" ({' '.join(unknown)} is none)" if unknown else "")
            )
        return tuple(given), "as given"
    labelled = _by_labels(lmp, n_types)
    return (labelled, "from labels") if labelled else (_by_masses(lmp, n_types), "from masses")


def _by_labels(lmp: Any, n_types: int) -> tuple[str, ...]:
    """The symbols that are labels of types; empty unless all types have one."""
    lmp.set_show_error(False)  # asking without a labelmap is an error
    try:
        labelled = {
            round(lmp.eval(f"label2type(atom,{symbol})")): symbol
            for symbol in chemical_symbols[1:]
            if round(lmp.eval(f"is_typelabel(atom,{symbol})"))
        }
    except Exception as error:
        if "labelmap" not in str(error):
            raise
        return ()
    finally:
        lmp.set_show_error(True)
    return tuple(labelled[n] for n in range(1, n_types + 1)) if len(labelled) == n_types else ()


def _by_masses(lmp: Any, n_types: int) -> tuple[str, ...]:
    masses = lmp.numpy.extract_atom("mass")
    if masses is None or not all(masses[1 : n_types + 1]):
        raise ValueError(
            "atom types have no masses yet, which tell their elements; put the fix after the mass "
            "commands, or give the elements"
        )
    symbols = []
    for n, mass in enumerate(masses[1 : n_types + 1].tolist(), 1):
        number = int(abs(atomic_masses[1:] - mass).argmin()) + 1
        if abs(atomic_masses[number] - mass) > MASS_ERROR:
            raise ValueError(
                f"atom type {n} has the mass {mass:g}, which is that of no element (the nearest is "
                f"{chemical_symbols[number]}, {atomic_masses[number]:g}); give the elements"
            )
        symbols.append(chemical_symbols[number])
    return tuple(symbols)


def numbers_by_type(symbols: Sequence[str]) -> np.ndarray:
    """Atomic numbers by type, which LAMMPS counts from 1."""
    return np.array([0, *(atomic_numbers[symbol] for symbol in symbols)])
