"""Checks that labels were computed for their structures, all by one method.

Checks of data raise only on clear evidence, for data that would waste a run.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sikff.forcefield import ForceFieldConfig
from sikff.graph.conditions import FIELDS

from .check_placeholders import (
    MANY,
    MEND,
    MOST_SHAPES,
    MOST_VALUES,
    SHARE,
    check_filled,
    check_repeated,
    check_zero_forces,
    check_zero_stresses,
    not_rounded,
    shape_of,
    zero_components,
    zero_forces,
)
from .labels import NAMES, has_label
from .structures import Structure, Structures

SAME_METHOD = 1e-3  # eV per atom; energies further apart are not those of the same forces


def check_labels(structures: Structures) -> None:
    """Checks that labels differ between structures and are no placeholders.

    Raises:
        ValueError: if many structures have one label although they differ, if one number fills all
            components of forces or stresses, or if these are zero where they cannot be.
    """
    check_energies(structures.having("energy"))
    for name in ("forces", "stress"):
        check_filled(structures.having(name), name)
        check_repeated(structures.having(name), name)
    check_zero_forces(structures)
    check_zero_stresses(structures.having("stress"))


def check_energies(structures: Structures) -> None:
    """Raises ValueError if structures that differ have one energy: most of them, or several while
    no other energy occurs nearly as often."""
    by_energy = structures.groups(lambda structure: float(structure.value("energy")))
    for same in by_energy[:1]:
        shapes = {shape_of(atoms) for atoms in same.atoms[:MOST_SHAPES]}
        differ = len({each.key for each in same}) > 2 and (len(shapes) > 1 or shapes == {()})
        if _rounded(same, by_energy):
            return
        if 2 * len(same) > len(structures) and differ:
            _raise_for_one_energy(structures, same, "")
    found = []  # values, and how many shapes have each
    for same in by_energy[:MOST_VALUES]:
        if len(same) >= MANY:
            shapes = {shape_of(atoms) for atoms in same.atoms[:MOST_SHAPES]} - {()}
            found.append((len(shapes), same))
    found.sort(key=lambda each: -each[0])
    for count, same in found[:1]:
        if count >= MANY * max([1, *(others for others, _ in found[1:])]):
            _raise_for_one_energy(structures, same, MEND.format("energy"))


def _rounded(same: Structures, by_energy: Sequence[Structures]) -> bool:
    """Whether energies have so few digits that one repeats, as at the end of a relaxation: all are
    multiples of a step, and others are as near to this one as to each other."""
    energy = float(same[0].value("energy"))
    energies = np.sort([float(each[0].value("energy")) for each in by_energy])
    others = energies[energies != energy]
    if len(others) < MANY:
        return False
    steps = (others - energy) / np.diff(energies).min()
    near = abs(others - energy).min() < 1.5 * np.diff(others).min()
    return bool(near and abs(steps - np.rint(steps)).max() < 0.01)


def _raise_for_one_energy(structures: Structures, same: Structures, mend: str) -> None:
    raise ValueError(
        f"{structures.source}: {len(same)} of {len(structures)} energies are "
        f"{same[0].value('energy'):g} eV, though structures differ "
        f"({same.names(range(len(same)))}); expected the energy of each (is data.energy_key the "
        f"right one, was the label carried along from another structure, or is it a placeholder?)"
        f"{mend}"
    )


def check_isolated_names(isolated: Sequence[Structures], structures: Sequence[Structures]) -> None:
    """Checks that the energies of free atoms have one key, that of the structures.

    REF_energy, which somebody gave them, may stand beside results of calculators in structures, but
    not the other way round.

    Raises:
        ValueError: naming the structures of each key.
    """
    references = [s for s in structures if any(_is_reference(each, "energy") for each in s)]
    check_names([*references, *isolated])


def _is_reference(structure: Structure, name: str) -> bool:
    return name in structure.labels and structure.labels[name].key.startswith("REF_")


def check_names(sources: Sequence[Structures]) -> None:
    """Checks that each label has one key in all structures of all sources.

    Raises:
        ValueError: naming the structures of each key. A label of another name may be of another
            method, such as a prediction, and nothing in a file tells.
    """
    for name in NAMES:
        places: dict[str, list[str]] = {}
        for structures in sources:
            keys = [each.labels[name].key if name in each.labels else None for each in structures]
            for key in dict.fromkeys(filter(None, keys)):
                here = [index for index, each in enumerate(keys) if each == key]
                places.setdefault(key, []).append(
                    f"{structures.names(here)} of {structures.source}"
                )
        if len(places) < 2:
            continue
        atoms = [atoms for structures in sources for atoms in structures.atoms]
        found = ", ".join(f"{key} in {' and '.join(where)}" for key, where in places.items())
        counts = {key: sum(has_label(each, name, key) for each in atoms) for key in places}
        choices = " or ".join(f"{key} (in {n} of {len(atoms)})" for key, n in counts.items())
        convert = "; a virial makes a stress of -virial / volume" if name == "stress" else ""
        raise ValueError(
            "labels of two names, perhaps of two methods, such as references and predictions: "
            f"{name} is {found}. Expected one name in all structures: choose {name}_key {choices}, "
            f"or rename the labels that are of one method{convert}"
        )


def doubts(structures: Structures) -> list[str]:
    """Notes on energies and forces that may not belong together, and on forces of zero."""
    notes = []
    both = structures.having("energy", "forces")
    given = structures.keys.energy and structures.keys.forces
    mixed = [
        each for each in both if _is_reference(each, "energy") != _is_reference(each, "forces")
    ]
    if mixed and not given:
        energy, forces = (mixed[0].labels[name].key for name in ("energy", "forces"))
        notes.append(
            f"energy is {energy} and forces are {forces} in {len(mixed)} of {len(structures)} "
            "structures: expected both of one method"
        )
    apart = [abs(free_energy_beside(each)) for each in both]
    smeared = [p for p, difference in enumerate(apart) if difference > SAME_METHOD]
    if smeared:
        key = both[smeared[0]].labels["energy"].key
        free = "free_energy"
        if key.startswith("REF_") and key.replace("energy", free) in both[smeared[0]].atoms.info:
            free = key.replace("energy", free)
        notes.append(
            f"{free} differs from {key} by up to {1000 * max(apart):.3g} meV/atom in "
            f"{both.names(smeared)}: forces and stresses of VASP, GPAW and others with smearing "
            f"belong to the free energy (energy_key: {free})"
        )
    labelled = structures.having("forces")
    zero, partly = zero_forces(labelled)
    if zero:
        notes.append(
            f"forces are exactly zero, though not by symmetry, in {labelled.names(zero)}: right "
            "at a minimum only"
        )
    some = not_rounded(labelled, partly)
    if some:
        count = sum(partly[index] for index in some)
        notes.append(
            f"forces on {count} atoms are exactly zero, though not by symmetry, in "
            f"{labelled.names(some)}: held, and the constraint lost?"
        )
    components = zero_components(labelled)
    some = not_rounded(labelled, components)
    count = sum(components[index] for index in some)
    if len(some) >= MANY and count >= SHARE * 3 * sum(
        len(labelled[index].numbers) for index in some
    ):
        notes.append(
            f"{count} force components are exactly zero, though not by symmetry, in "
            f"{labelled.names(some)}: held along an axis, and the constraint lost?"
        )
    both = structures.having("stress", "forces")
    stressed, pulled = (any(map(np.any, both.values(name))) for name in ("stress", "forces"))
    if pulled and not stressed:
        notes.append("all stresses are exactly zero, though forces are not: no labels?")
    return notes


def free_energy_beside(structure: Structure) -> float:
    """The free energy minus the energy that is the label, in eV per atom; 0 without one.

    ASE calls the energy whose derivatives the forces are `free_energy`; its readers set `energy` to
    that extrapolated to no smearing (VASP, CASTEP, GPAW), or both to the same (Quantum ESPRESSO).
    """
    atoms, label = structure.atoms, structure.labels["energy"]
    results = {} if atoms.calc is None else atoms.calc.results
    key = label.key
    if key.startswith("REF_") and "energy" in results and not label.differs_from_calculator:
        key = "energy"
    beside = key.replace("energy", "free_energy")
    value = np.asarray(results.get(beside, atoms.info.get(beside)))
    if "free_energy" in key or value.size != 1 or value.dtype.kind not in "iuf":
        return 0.0  # none, or no number
    return float(np.nan_to_num(value.item() - label.value)) / len(atoms)


def check_fields(structures: Structures, model: ForceFieldConfig) -> None:
    """Raises ValueError naming structures without electric field if the model reads it."""
    if model.environment.field:
        lacking = [p for p, each in enumerate(structures) if not each.atoms.info.keys() & {*FIELDS}]
        structures.raise_for(
            lacking, "model.environment.field is true but there is no electric_field"
        )
