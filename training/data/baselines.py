"""What a model takes from its data before training: E0s, a scale, a number of neighbours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers, chemical_symbols

from sikff.forcefield import EnvironmentConfig, ForceFieldConfig
from sikff.forcefield.environment import Environment
from sikff.graph import AtomicGraph
from sikff.graph.conditions import VACUUM, Conditions
from sikff.nn import PolynomialEnvelope

from ..config import DataConfig
from .batches import Sample
from .structures import Frames, Labels, read_labels

NO_FORCE = 1e-3  # eV/Å
NO_ENERGY = 1e-6  # eV per atom
SAME_ENERGY = 0.01  # eV, of a free atom


def complete_model(
    settings: dict[str, Any],
    frames: Frames,
    labels: Labels,
    samples: Sequence[Sample],
    isolated: Mapping[str, float],
) -> tuple[ForceFieldConfig, list[str]]:
    """Fills in atomic_energies, energy_scale, average_neighbours and the range of the environment
    (field_least, field_limit, height_limit) unless they are given.

    Args:
        settings: keys of ForceFieldConfig, `elements` among them.
        frames, labels, samples: the training set; its energies must be among the labels.
        isolated: energies (eV) of free atoms.

    Returns:
        The configuration, and lines that tell the user what was filled in.
    """
    elements = settings["elements"]
    known = {**isolated, **settings.get("atomic_energies", {})}
    known = {element: known[element] for element in elements if element in known}
    counts = compositions(frames, elements)
    energies, unique = atomic_energies(counts, labels["energy"], elements, known)
    cutoff = ForceFieldConfig(**{**settings, "atomic_energies": energies}).cutoff
    filled = {
        "energy_scale": energy_scale(counts, labels, list(energies.values())),
        "average_neighbours": average_neighbours([sample.graph for sample in samples], cutoff),
        **settings,
        "atomic_energies": energies,
    }
    model = ForceFieldConfig(**filled)
    environment, limits = environment_range(model, samples)
    model = model.model_copy(update={"environment": environment})
    sources = [f"{e} {energies[e]:.4f}{'' if e in known else ' (fitted)'}" for e in elements]
    notes = [
        f"E0 (eV): {', '.join(sources)}",
        f"energy scale {model.energy_scale:.4g} eV, "
        f"{model.average_neighbours:.3g} neighbours within {model.cutoff:g} Å (the far count less)",
    ]
    if limits:
        notes.append(f"training data: {', '.join(limits)}")
    if not unique:
        notes.append(
            "the compositions do not tell the fitted E0s apart; for dissociation give "
            "data.isolated_atoms or model.atomic_energies"
        )
    return model, notes


def with_surfaces(settings: dict[str, Any], frames: Frames) -> dict[str, Any]:
    """Adds the names of the surfaces in the training set where a plane is given but no names.

    Args:
        settings: keys of ForceFieldConfig.
        frames: the training set.
    """
    environment = EnvironmentConfig.model_validate(settings.get("environment", {}))
    if environment.plane_origin is None or environment.surfaces:
        return settings
    named = {Conditions.of(atoms.info).surface for atoms in frames.atoms} - {None, VACUUM}
    return settings | {
        "environment": environment.model_copy(update={"surfaces": tuple(sorted(named))})
    }


def environment_range(
    model: ForceFieldConfig, samples: Sequence[Sample]
) -> tuple[EnvironmentConfig, list[str]]:
    """The model's environment with the range of fields and the lowest height of the samples,
    unless they are given; and the two in words."""
    environment, graphs = model.environment, [sample.graph for sample in samples]
    seen = Environment(model).double()
    found: dict[str, float] = {}
    if environment.field and None in (environment.field_least, environment.field_limit):
        strengths = torch.cat([seen.field_strengths(graph) for graph in graphs])
        found |= {"field_least": float(strengths.min()), "field_limit": float(strengths.max())}
        found = {name: value for name, value in found.items() if getattr(environment, name) is None}
    if environment.plane_origin is not None and environment.height_limit is None:
        lowest = min(map(seen.lowest_height, graphs))
        if np.isfinite(lowest):
            found["height_limit"] = lowest
    environment = environment.model_copy(update=found)
    words = []
    if found.keys() & {"field_least", "field_limit"}:
        words.append(
            f"fields from {environment.field_least:.3g} to {environment.field_limit:.3g} V/Å"
        )
    if "height_limit" in found:
        words.append(f"heights from {environment.height_limit:.3g} Å")
    return environment, words


def isolated_energies(
    sources: Sequence[Frames], data: DataConfig, given: Collection[str] = ()
) -> dict[str, float]:
    """E0 (eV) from frames of single atoms: of each element those in the weakest field.

    Args:
        given: elements whose E0 is given, so that theirs do not matter.

    Raises:
        ValueError: naming frames that are not single atoms, have no energy, or have another one
            than an earlier structure of the element.
    """
    found: dict[str, float] = {}
    weakest: dict[str, float] = {}
    for frames in sources:
        several = [p for p, atoms in enumerate(frames.atoms) if len(atoms) != 1]
        frames.refuse(several, "not one atom, though said to be isolated,")
        values = read_labels(frames, data, ["energy"])["energy"]
        for place, (atoms, value) in enumerate(zip(frames.atoms, values, strict=True)):
            element = atoms.symbols[0]
            field = float(np.linalg.norm(Conditions.of(atoms.info).field))
            if element in given or field > weakest.get(element, np.inf):
                continue
            before = found.get(element, value) if field == weakest.get(element) else value
            found[element], weakest[element] = float(before), field
            if abs(before - value) > SAME_ENERGY:
                what = f"a free {element} atom has {value:.4f} eV, and {before:.4f} eV before"
                mend = f"; expected one energy, or model.atomic_energies with that of {element}"
                frames.refuse([place], what, mend)
    return found


def compositions(frames: Frames, elements: Sequence[str]) -> np.ndarray:
    """How many atoms of each element the frames hold: [frames, elements]."""
    numbers = [atomic_numbers[element] for element in elements]
    counts = [np.bincount(a.numbers, minlength=len(chemical_symbols)) for a in frames.atoms]
    return np.array(counts)[:, numbers].astype(np.float64)


def atomic_energies(
    counts: np.ndarray,
    energies: Sequence[np.ndarray],
    elements: Sequence[str],
    known: Mapping[str, float],
) -> tuple[dict[str, float], bool]:
    """E0s (eV): those known, the others by least squares; and whether that fit is unique."""
    fixed = np.array([known.get(element, 0.0) for element in elements])
    free = [k for k, element in enumerate(elements) if element not in known]
    unique = True
    if free:
        residual = np.array(energies) - counts @ fixed
        solution, _, rank, _ = np.linalg.lstsq(counts[:, free], residual, rcond=None)
        fixed[free] = solution
        unique = int(rank) == len(free)
    return dict(zip(elements, map(float, fixed), strict=True)), unique


def energy_scale(counts: np.ndarray, labels: Labels, atomic: Sequence[float]) -> float:
    """RMS force component (eV/Å, as eV), or without forces that of the energy per atom (eV).

    Forces that symmetry makes zero, as in perfect crystals, and energies that the E0s explain are
    rounding, and no scale; 1 if there is none.
    """
    left = (np.array(labels["energy"]) - counts @ np.array(atomic)) / counts.sum(1)
    sources = ((np.concatenate(labels.get("forces", [[0.0]])), NO_FORCE), (left, NO_ENERGY))
    scales = [(float(np.sqrt(np.mean(values**2))), least) for values, least in sources]
    return next((scale for scale, least in scales if scale > least), 1.0)


def average_neighbours(graphs: Sequence[AtomicGraph], cutoff: float) -> float:
    """Mean over the atoms of sum_j u(r_ij)^2, u the envelope of the cutoff (Å); at least 1.

    Messages of this many neighbours of independent features have as large a variance, so divided
    by its square root they are of one size, in gases and in dense crystals.
    """
    envelope = PolynomialEnvelope(cutoff)
    counted = sum(float(envelope(g.vectors().norm(dim=-1)).square().sum()) for g in graphs)
    return max(counted / sum(graph.n_atoms for graph in graphs), 1.0)
