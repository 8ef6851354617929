"""Parameters of a model computed from its data: E0s and energy scale, and those of a survey."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from sikff.forcefield import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.trained_distances import usual_contacts
from sikff.graph import AtomicGraph
from sikff.graph.conditions import VACUUM

from .charging import charging_columns, charging_energies
from .check_labels import check_isolated_names
from .labels import LabelKeys
from .rare_elements import rare_energies
from .structures import Structures
from .survey import Survey

NO_FORCE = 1e-3  # eV/Å
NO_ENERGY = 1e-6  # eV per atom
SAME_ENERGY = 0.01  # eV, of a free atom


def complete_model(
    settings: dict[str, Any],
    structures: Structures,
    survey: Survey,
    isolated: Mapping[str, float],
) -> tuple[ForceFieldConfig, list[str]]:
    """Fills in atomic_energies, energy_scale, average_neighbours and the ranges of the environment
    that are not given. E0s are those of neutral atoms, as far as the data tell.

    Args:
        settings: keys of ForceFieldConfig, `elements` among them.
        structures: the training set, with energies as far as there are any.
        survey: of its graphs.
        isolated: energies (eV) of free atoms.

    Returns:
        The configuration, and lines for the user on what was filled in.
    """
    elements = settings["elements"]
    known = {**isolated, **settings.get("atomic_energies", {})}
    known = {element: known[element] for element in elements if element in known}
    labels = np.array(structures.values("energy"))
    charging = _charging(settings, survey.charged, labels)
    energies, unique, rare = _fit_atomic_energies(structures, labels - charging, elements, known)
    atomic = compositions(structures, elements) @ np.array(list(energies.values())) + charging
    filled = {
        "energy_scale": energy_scale(structures, atomic),
        "average_neighbours": survey.average_neighbours,
        **settings,
        "atomic_energies": energies,
    }
    model = ForceFieldConfig(**filled)
    environment, limits = survey.environment_range()
    distances, among = survey.distance_range(settings)
    contacts = usual_contacts(elements, distances or {}, model.cutoff)
    changes = {"environment": environment, "distances_seen": distances, "usual_contacts": contacts}
    model = model.model_copy(update=changes)
    limits += among
    in_energies = structures.having("energy").elements
    sources = dict.fromkeys(elements, " (in no structure with an energy)")
    sources |= dict.fromkeys(in_energies, " (fitted)") | dict.fromkeys(known, "")
    notes = [
        f"E0 (eV): {', '.join(f'{e} {energies[e]:.4f}{sources[e]}' for e in elements)}",
        f"energy scale {model.energy_scale:.4g} eV, "
        f"{model.average_neighbours:.3g} neighbours within {model.cutoff:g} Å (the far count less)",
    ]
    notes += rare
    if limits:
        notes.append(f"training data: {', '.join(limits)}")
    if not in_energies:
        notes.append(
            "note: no structure has an energy: of the energies of the model only differences "
            "between structures of one composition mean something"
        )
    elif not unique:
        notes.append(
            "the compositions do not tell the fitted E0s apart; for dissociation give "
            "data.isolated_atoms or model.atomic_energies"
        )
    return model, notes


def _charging(
    settings: Mapping[str, Any], graphs: Sequence[AtomicGraph], energies: np.ndarray
) -> np.ndarray:
    """The energy (eV) of charge and unpaired electrons in each structure, if the model reads them;
    0 in neutral ones. Without its totals, one 0 for all."""
    totals = EnvironmentConfig.model_validate(settings.get("environment", {})).totals
    if not totals:
        return np.zeros(1)
    return charging_columns(graphs, totals) @ charging_energies(graphs, energies, totals)


def with_surfaces(settings: dict[str, Any], structures: Structures) -> dict[str, Any]:
    """Adds the names of the surfaces in the structures to settings with a plane but no names."""
    environment = EnvironmentConfig.model_validate(settings.get("environment", {}))
    if environment.plane_origin is None or environment.surfaces:
        return settings
    surfaces = {structure.conditions.surface for structure in structures} - {None, VACUUM}
    return settings | {
        "environment": environment.model_copy(update={"surfaces": tuple(sorted(surfaces))})
    }


def isolated_energies(
    sources: Sequence[Structures],
    keys: LabelKeys,
    given: Collection[str] = (),
    beside: Sequence[Structures] = (),
) -> dict[str, float]:
    """E0s (eV) of the elements, from single atoms in the weakest field that occurs.

    Args:
        given: elements whose E0 is given, so that those in the sources are not checked.
        beside: the structures of the same data, with labels.

    Raises:
        ValueError: naming structures that are not single atoms, are charged, have no energy, or
            have an energy that contradicts an earlier structure of the element, or is of another
            name.
    """
    energies: dict[str, float] = {}
    weakest: dict[str, float] = {}
    labelled = []
    for structures in sources:
        several = [index for index, each in enumerate(structures) if len(each.numbers) != 1]
        structures.raise_for(several, "not one atom, though said to be isolated,")
        charged = [index for index, each in enumerate(structures) if each.conditions.charge]
        mend = (
            "; an E0 is that of the neutral atom. Leave ions out, or train on them with "
            "model.environment.charge: true, and without config_type=IsolatedAtom"
        )
        structures.raise_for(charged, "an ion, though said to be an isolated atom,", mend)
        structures = structures.with_labels(keys, ["energy"], weighted=False)
        structures.check_labels_complete(["energy"])
        labelled.append(structures)
    check_isolated_names(labelled, beside)
    for structures in labelled:
        for index, structure in enumerate(structures):
            element, energy = structure.atoms.symbols[0], float(structure.value("energy"))
            field = float(np.linalg.norm(structure.conditions.field))
            if element in given or field > weakest.get(element, np.inf):
                continue
            before = energies.get(element, energy) if field == weakest.get(element) else energy
            energies[element], weakest[element] = before, field
            if abs(before - energy) > SAME_ENERGY:
                what = f"a free {element} atom has {energy:.4f} eV, and {before:.4f} eV before"
                mend = f"; expected one energy, or model.atomic_energies with that of {element}"
                structures.raise_for([index], what, mend)
    return energies


def compositions(structures: Structures, elements: Sequence[str]) -> np.ndarray:
    """The number of atoms of each element in each structure: [structures, elements]."""
    numbers = [atomic_numbers[element] for element in elements]
    counts = [np.bincount(s.numbers, minlength=len(chemical_symbols)) for s in structures]
    every = np.array(counts).reshape(len(counts), len(chemical_symbols))
    return every[:, numbers].astype(np.float64)


def atomic_energies(
    counts: np.ndarray,
    energies: Sequence[np.ndarray],
    elements: Sequence[str],
    known: Mapping[str, float],
    weights: np.ndarray | None = None,
) -> tuple[dict[str, float], bool]:
    """E0s (eV): the given ones, the others by least squares; and whether that fit is unique.

    Args:
        weights: of the squared errors, one for each energy; None: all 1.
    """
    fixed = np.array([known.get(element, 0.0) for element in elements])
    free = [k for k, element in enumerate(elements) if element not in known]
    unique = True
    if free:
        matrix, residual = counts[:, free], np.array(energies) - counts @ fixed
        if weights is not None:
            matrix, residual = matrix * np.sqrt(weights)[:, None], residual * np.sqrt(weights)
        solution, _, rank, _ = np.linalg.lstsq(matrix, residual, rcond=None)
        fixed[free] = solution
        unique = int(rank) == len(free)
    return dict(zip(elements, map(float, fixed), strict=True)), unique


def _fit_atomic_energies(
    structures: Structures,
    energies: np.ndarray,
    elements: Sequence[str],
    known: Mapping[str, float],
) -> tuple[dict[str, float], bool, list[str]]:
    """E0s (eV) that are known, or fitted to energies of structures, NaN where there is none; 0 if
    there are none at all. Whether the fit is unique; and notes on it."""
    labelled = np.flatnonzero(np.isfinite(energies)).tolist()
    if not labelled:
        return {element: known.get(element, 0.0) for element in elements}, False, []
    weights = np.array([structures[index].labels["energy"].weight for index in labelled])
    counts = compositions(structures.select(labelled), elements)
    used = None if (weights == 1).all() else weights
    fitted, unique = atomic_energies(counts, list(energies[labelled]), elements, known, used)
    given = (counts, energies[labelled], elements, fitted, known, weights)
    changed, note = rare_energies(*given)
    return fitted | changed, unique, [note] if note else []


def energy_scale(structures: Structures, atomic: np.ndarray) -> float:
    """RMS force component (eV/Å, as eV), or without forces that of the energy per atom (eV).

    Forces that symmetry makes zero, as in perfect crystals, and energies that the E0s explain are
    rounding errors and give no scale; 1 if neither gives one. `atomic` is the sum of E0s (eV) of
    each structure.
    """
    sizes = np.array([len(structure.numbers) for structure in structures])
    forces = structures.having("forces").values("forces")
    components = np.concatenate(forces) if forces else np.zeros(1)
    residual = (np.array(structures.values("energy")) - atomic) / sizes
    for values, least in ((components, NO_FORCE), (residual, NO_ENERGY)):
        labelled = values[~np.isnan(values)]
        scale = float(np.sqrt(np.mean(labelled**2))) if labelled.size else 0.0
        if scale > least:
            return scale
    return 1.0
