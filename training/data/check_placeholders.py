"""Checks that labels are no placeholders, such as 0, -100 or 1e10 where nothing was computed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import ase
import numpy as np
from ase.data import covalent_radii

from sikff.graph import find_edges
from sikff.graph.conditions import Conditions

from .check_work import LARGEST_MOVE, close_pairs
from .structures import Structure, Structures

MANY = 3  # structures in which a value is no accident
MOST_VALUES = 20  # of a label, those that occur most often
MOST_SHAPES = 50  # structures with one label that are compared
SHARE = 0.01  # of all atoms
MEND = (
    "; compute it, remove it, or give these structures no weight in its loss "
    "(config_{}_weight: 0 in info)"
)
LEAST_CHANGE = 1e-3  # eV; smaller ones may be rounding
LEAST_ENERGY = 1e-6  # eV, between structures of one system
LEAST_FORCE = 1e-3  # eV/Å
BOND = 1.6  # sums of covalent radii: with these neighbours forces are not zero but by symmetry
COINCIDENT = 1e-6  # Å
UNBALANCED = 3e-4  # sum of the directions to neighbours, relative, that is no rounding error
FEW_DIGITS = 30  # values smaller than so many digits repeat by rounding
SAME_DIGIT = 1e-9  # relative to the largest force; smaller differences are of arithmetic
ROUNDED = 100  # forces so many times larger than their last digit are rarely rounded to zero


def check_filled(structures: Structures, name: str) -> None:
    """Raises ValueError where one number, not zero, fills all components of forces or stresses, or
    a whole number those of forces on many atoms.

    Forces of no structure are such, for they add up to zero, nor is a stress.
    """
    filled: dict[int, float] = {}
    rows: dict[float, list[int]] = defaultdict(list)
    for index in _with_rows(structures, name, lambda x: (x[:, :1] == x).all(1) & (x[:, 0] != 0)):
        structure = structures[index]
        if len(structure.numbers) == 1 and structure.conditions != Conditions():
            continue  # an environment may pull an atom in any direction
        value = structure.value(name)
        value = value[np.isfinite(value).all(axis=1)]
        same = value[(value[:, :1] == value).all(axis=1) & (value[:, 0] != 0), 0]
        if len(same) == len(value) and np.ptp(same) == 0:
            filled[index] = float(same[0])
        elif name == "forces":
            for number in same[same == np.rint(same)].tolist():
                rows[number].append(index)
    numbers = ", ".join(f"{number:g}" for number in dict.fromkeys(filled.values()))
    mend = f", a placeholder{MEND.format(name)}"
    structures.raise_for([*filled], f"{name} of {numbers} in every component", mend)
    total = sum(len(structure.numbers) for structure in structures)
    for number, indices in rows.items():
        if len({*indices}) >= MANY and len(indices) >= SHARE * total:
            what = f"forces of {number:g} in every component on {len(indices)} atoms"
            structures.raise_for([*dict.fromkeys(indices)], what, mend)


def check_repeated(structures: Structures, name: str) -> None:
    """Raises ValueError if several structures that differ have the same forces or stress: all of
    them one, or each that of another structure."""
    by_value = structures.groups(lambda structure: structure.value(name).tobytes())
    if not len(by_value) < len(structures):
        return
    least = FEW_DIGITS * _digit(structures.values(name))  # else there are few values anyway
    for same in by_value[:MOST_VALUES]:
        if len(same) < MANY:
            break
        if _shapes(same) >= MANY and np.nanmax(abs(same[0].value(name))) > least:
            _raise_for_copies(structures, [*same], name)
    copies: list[Structure] = []
    for same in [each for each in by_value if 1 < len(each) < MANY][:MOST_SHAPES]:
        sizes = np.unique(abs(np.nan_to_num(same[0].value(name))))
        if len(sizes) > 3 and _shapes(same) > 1:  # else it may be one by chance, as in molecules
            copies += same
    if len(copies) >= 2 * MANY:
        _raise_for_copies(structures, copies, name)


def _shapes(same: Structures) -> int:
    """How many structures of different shape there are, among the first."""
    return len({shape_of(atoms) for atoms in same.atoms[:MOST_SHAPES]} - {()})


def _raise_for_copies(structures: Structures, copies: list[Structure], name: str) -> None:
    found = replace(structures, records=copies)
    found.raise_for(
        range(len(copies)),
        f"the same {name}",
        ", though these differ: carried along from another structure, or a "
        f"placeholder{MEND.format(name)}",
    )


def _with_rows(
    structures: Structures, name: str, chosen: Callable[[np.ndarray], np.ndarray]
) -> list[int]:
    """Indices of structures with a row of forces or stress [rows, 3] that is chosen."""
    values = structures.values(name)
    if not values:
        return []
    owners = np.repeat(np.arange(len(values)), [len(value) for value in values])
    return list(dict.fromkeys(owners[chosen(np.concatenate(values))].tolist()))


def check_zero_forces(structures: Structures) -> None:
    """Raises ValueError for forces of exactly zero that symmetry does not make zero.

    All forces of a structure may be zero at a minimum. So structures count only where others of the
    same atoms have forces and lower energies, or others near them have no forces either and other
    energies. Forces on some atoms may be rounded, unless others are much larger than a digit.
    """
    labelled = structures.having("forces")
    zero, partly = zero_forces(labelled)
    still = labelled.select(zero).having("energy")
    if zero and not any(_known(each).any() for each in labelled):
        systems = still.groups(lambda structure: structure.system_key)
        if any(np.ptp(system.values("energy")) > LEAST_ENERGY for system in systems):
            raise ValueError(
                f"{structures.source}: all forces are zero, though the energy changes with the "
                "positions; give the forces, or train on energies alone (loss.forces: 0)"
            )
    if len(still) >= MANY:
        pairs = np.hstack([np.empty((4, 0)), *close_pairs(still)])
        near = (pairs[0] < LARGEST_MOVE) & (abs(pairs[2]) > LEAST_CHANGE)
        if near.sum() >= MANY or _not_lowest(labelled, zero) >= MANY:
            what = (
                "forces that are zero in every component, though not by symmetry or at a minimum,"
            )
            labelled.raise_for(zero, what, f": a placeholder{MEND.format('forces')}")
    _check_some_zero(labelled, partly)


def _check_some_zero(labelled: Structures, partly: Mapping[int, int]) -> None:
    clear = not_rounded(labelled, partly)
    count = sum(partly[index] for index in clear)
    if len(clear) >= MANY and count >= SHARE * sum(len(labelled[p].numbers) for p in clear):
        labelled.raise_for(
            clear,
            f"forces on {count} atoms are exactly zero, though not by symmetry,",
            "; for atoms that are held keep the constraint in the file (FixAtoms, in extended XYZ "
            f"move_mask), else{MEND.format('forces').removeprefix(';')}",
        )


def not_rounded(labelled: Structures, indices: Collection[int]) -> list[int]:
    """Those indices of structures with some forces of zero where it is no rounding: the others
    are much larger than a digit, the least difference between any two components."""
    forces = {index: _known(labelled[index]) for index in indices}
    digit = _digit([*forces.values()])
    return [p for p, each in forces.items() if np.square(each).mean() > (ROUNDED * digit) ** 2]


def _digit(values: Sequence[np.ndarray]) -> float:
    """The least difference between the sizes of any two components, or of one and zero."""
    different = np.unique(np.abs(np.concatenate([np.zeros(1), *map(np.ravel, values)])))
    steps = np.diff(different[np.isfinite(different)])
    return float(steps[steps > SAME_DIGIT * np.nanmax(different)].min(initial=np.inf))


def zero_forces(structures: Structures) -> tuple[list[int], dict[int, int]]:
    """Indices of structures whose forces are all zero, and the numbers of atoms without a force in
    structures that have some, by index; those that symmetry makes zero do not count."""
    zero, partly = [], {}
    for index in _with_rows(structures, "forces", _is_zero):
        structure = structures[index]
        still = _is_zero(structure.value("forces")) & unbalanced(structure.atoms).any(axis=1)
        if still.any() and _known(structure).any():
            partly[index] = int(still.sum())
        elif still.any():
            zero.append(index)
    return zero, partly


def zero_components(structures: Structures) -> dict[int, int]:
    """The numbers of force components that are zero, but not by symmetry, on atoms with other
    components that are not, by the indices of structures with some."""
    found = {}
    for index in _with_rows(structures, "forces", lambda x: (x == 0).any(1) & ~_is_zero(x)):
        structure = structures[index]
        forces = structure.value("forces")
        count = ((forces == 0) & ~_is_zero(forces)[:, None] & unbalanced(structure.atoms)).sum()
        if count:
            found[index] = int(count)
    return found


def _is_zero(forces: np.ndarray) -> np.ndarray:
    """[N] of forces [N, 3]; NaN, where they are unknown, is not zero."""
    return (forces == 0).all(axis=1)


def _known(structure: Structure) -> np.ndarray:
    """The components of the forces that are known."""
    forces = structure.value("forces")
    return forces[np.isfinite(forces)]


def _not_lowest(labelled: Structures, zero: Collection[int]) -> int:
    """How many structures without forces have energies above the lowest tenth of those with."""
    still = {labelled[index] for index in zero}
    count = 0
    for same in labelled.having("energy").groups(_kind):
        with_forces = [float(s.value("energy")) for s in same if _known(s).any()]
        if with_forces:
            lowest = np.quantile(with_forces, 0.1) + LEAST_CHANGE
            count += sum(bool(s.value("energy") > lowest) for s in same if s in still)
    return count


def check_zero_stresses(structures: Structures) -> None:
    """Raises ValueError for stresses of exactly zero among others of the same atoms, in structures
    that have forces or different volumes."""
    wrong = []
    indices = {structure: index for index, structure in enumerate(structures)}
    for same in structures.groups(_kind):
        zero = [each for each in same if not each.value("stress").any()]
        if not zero or len(zero) == len(same):
            continue
        volumes = [each.atoms.get_volume() for each in zero]
        strained = max(volumes) > 1.01 * min(volumes)
        wrong += [
            indices[each]
            for each in zero
            if strained or abs(_known(each)).max(initial=0.0) > LEAST_FORCE
        ]
    if len(wrong) >= MANY:
        structures.raise_for(
            sorted(wrong),
            "stress that is exactly zero, unlike that of other structures of the same atoms,",
            f": a placeholder{MEND.format('stress')}",
        )


def _kind(structure: Structure) -> tuple[bytes, bytes]:
    return structure.atoms.numbers.tobytes(), structure.atoms.pbc.tobytes()


def unbalanced(atoms: ase.Atoms) -> np.ndarray:
    """[N, 3] True for atoms with bonds whose directions do not cancel along an axis, so that a
    force may act along it."""
    receiver, weights, directions = _bonds(atoms)
    total = np.bincount(receiver, weights, len(atoms))
    sums = np.zeros((len(atoms), 3))
    np.add.at(sums, receiver, weights[:, None] * directions)
    return abs(sums) > UNBALANCED * total[:, None]


def shape_of(atoms: ase.Atoms) -> tuple[float, ...]:
    """Numbers that are equal for structures that are turned round or whose atoms are sorted in
    another order, and differ for others; empty without bonds."""
    receiver, weights, _ = _bonds(atoms)
    total = np.bincount(receiver, weights, len(atoms))
    return tuple(np.round(np.sort(total[total > 0]), 3).tolist())


def _bonds(atoms: ase.Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Atoms [E], and the weights [E] and directions [E, 3] of their bonds; a weight depends on the
    element of the neighbour and vanishes smoothly where bonds end."""
    radii = covalent_radii[atoms.numbers]
    edges = find_edges(atoms, 2 * BOND * float(radii.max()))
    receiver, sender = edges.pairs
    reach = 1 - edges.lengths / (BOND * (radii[receiver] + radii[sender]))
    weights = np.maximum(reach, 0.0) ** 2 * atoms.numbers[sender]
    vectors = atoms.positions[sender] - atoms.positions[receiver] + edges.shifts @ atoms.cell.array
    lengths = np.maximum(edges.lengths, COINCIDENT)  # atoms at one place have no direction
    return receiver, weights, vectors / lengths[:, None]
