"""Notes on what looks like weights, masks, charges or spins under names that are not read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ase
import numpy as np

from sikff.graph.conditions import CHARGE, NUMBERS, SPIN

from .label_weights import OF_STRUCTURE
from .labels import WEIGHT_KEYS, WEIGHT_KEYS_OF_ATOMS
from .structures import Structures


class Meaning(NamedTuple):
    """What a key may stand for."""

    fits: Callable[[str], bool]  # the key in lower case
    nothing: int  # the value that changes nothing
    of_atoms: bool  # also an array, a number or three for each atom
    instead: str  # the names that are read
    names: tuple[str, ...] = ()  # if there is one of these, others say no more


MOST_CHARGE = 0.5  # e; what partial charges add up to by rounding
_OTHER_WEIGHTS = ("mol", "atomic", "mass")  # such as molecular_weight


def _weight(key: str) -> bool:
    weight = any(word in key for word in ("weight", "mask", "sigma"))
    return weight and not any(word in key for word in _OTHER_WEIGHTS)


OF_LABELS = (
    Meaning(
        _weight,
        1,
        True,
        "weights are called config_weight, config_forces_weight and so on, those of atoms "
        "forces_weight or forces_mask",
    ),
    Meaning(
        lambda key: any(word in key for word in ("frozen", "freeze", "fixed")),
        0,
        True,
        "atoms are held by constraints of ASE, in extended XYZ by move_mask",
    ),
)
OF_ELECTRONS = (
    Meaning(
        lambda key: key.endswith("charge") or key in ("q", "chg"),
        0,
        False,
        f"a total charge is called {' or '.join(NUMBERS[CHARGE])} in info",
        NUMBERS[CHARGE],
    ),
    Meaning(
        lambda key: key.endswith("multiplicity") or key in NUMBERS[SPIN],
        1,
        False,
        f"a spin multiplicity is called {' or '.join(NUMBERS[SPIN])} in info",
        NUMBERS[SPIN],
    ),
)


def unread_keys(
    structures: Structures, meanings: Sequence[Meaning] = (*OF_LABELS, *OF_ELECTRONS)
) -> Iterator[str]:
    """Notes on keys in `info` and arrays that look like weights, charges or spins and are not read,
    and on initial charges with a total where there is no total charge."""
    key = structures.keys.forces_weight
    read = {OF_STRUCTURE, *(each for keys in WEIGHT_KEYS.values() for each in keys)}
    read |= {*WEIGHT_KEYS_OF_ATOMS} if key is None else {key}
    read |= {each for keys in NUMBERS.values() for each in keys} | {"move_mask"}
    found: dict[str, list[int]] = {}
    charged = []
    for index, atoms in enumerate(structures.atoms):
        for key in _suspicious(atoms, meanings) - read:
            found.setdefault(key, []).append(index)
        without = not atoms.info.keys() & {*NUMBERS[CHARGE]}
        if without and abs(atoms.get_initial_charges().sum()) > MOST_CHARGE:
            charged.append(index)
    for key, indices in sorted(found.items()):
        instead = next(each.instead for each in meanings if each.fits(key.lower()))
        yield f"{key} in {structures.names(indices)} is not read; {instead}"
    if charged:
        yield (
            "initial charges, which are not read, do not add up to 0 in "
            f"{structures.names(charged)}; {OF_ELECTRONS[0].instead}"
        )


def _suspicious(atoms: ase.Atoms, meanings: Sequence[Meaning]) -> set[str]:
    """Keys that may stand for something, with values that would change something."""
    keys = set()
    for holder in (atoms.info, atoms.arrays):
        for key, value in holder.items():
            for meaning in (each for each in meanings if not atoms.info.keys() & {*each.names}):
                if meaning.fits(str(key).lower()) and _tells(value, meaning, len(atoms)):
                    keys.add(str(key))
    return keys


def _tells(value: Any, meaning: Meaning, n_atoms: int) -> bool:
    """Whether a value is a number, or numbers of atoms, that would change something."""
    if not isinstance(value, bool | int | float | np.ndarray | np.generic):
        return False
    array = np.asarray(value)
    if array.dtype.kind not in "biuf":
        return False
    if array.size == 1:
        number = float(array.item())
        return number != meaning.nothing and (meaning.of_atoms or number.is_integer())
    return meaning.of_atoms and len(array) == n_atoms and bool((array != meaning.nothing).any())
