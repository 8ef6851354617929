"""What a model takes from its data before training: E0s, a scale, a number of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from sikff.forcefield import ForceFieldConfig
from sikff.training.batches import Sample
from sikff.training.config import DataConfig
from sikff.training.data import Frames, label


def complete_model(
    settings: dict[str, Any],
    samples: Sequence[Sample],
    isolated: Sequence[Frames],
    data: DataConfig,
) -> tuple[ForceFieldConfig, list[str]]:
    """Fills in atomic_energies, energy_scale and average_neighbours unless they are given.

    Returns:
        The configuration, and lines that tell the user what was filled in.
    """
    elements = settings["elements"]
    known = isolated_energies(isolated, data.energy_key) | settings.get("atomic_energies", {})
    known = {element: known[element] for element in elements if element in known}
    energies, unique = atomic_energies(samples, elements, known)
    filled = {
        "energy_scale": energy_scale(samples, energies, elements),
        "average_neighbours": average_neighbours(samples),
        **settings,
        "atomic_energies": energies,
    }
    model = ForceFieldConfig(**filled)
    sources = [f"{e} {energies[e]:.4f}{'' if e in known else ' (fitted)'}" for e in elements]
    notes = [
        f"E0 (eV): {', '.join(sources)}",
        f"energy scale {model.energy_scale:.4g} eV, "
        f"{model.average_neighbours:.3g} neighbours within {model.cutoff:g} Å",
    ]
    if not unique:
        notes.append(
            "the compositions do not tell the fitted E0s apart; for dissociation give "
            "data.isolated_atoms or model.atomic_energies"
        )
    return model, notes


def isolated_energies(sources: Sequence[Frames], key: str | None) -> dict[str, float]:
    """E0 (eV) from frames of single atoms.

    Raises:
        ValueError: naming frames that are not single atoms or have no energy.
    """
    found: dict[str, float] = {}
    for frames in sources:
        several = [p for p, atoms in enumerate(frames.atoms) if len(atoms) != 1]
        frames.refuse(several, "not one atom, though said to be isolated,")
        for place, atoms in enumerate(frames.atoms):
            value = label(atoms, "energy", key)
            if value is None or not np.isfinite(value):
                frames.refuse([place], "no energy of the isolated atom")
            else:
                found[atoms.symbols[0]] = float(value)
    return found


def atomic_energies(
    samples: Sequence[Sample], elements: Sequence[str], known: dict[str, float]
) -> tuple[dict[str, float], bool]:
    """E0s (eV): those known, the others by least squares; and whether that fit is unique."""
    counts = _compositions(samples, elements)
    energies = np.array([_energy(sample) for sample in samples])
    fixed = np.array([known.get(element, 0.0) for element in elements])
    free = [k for k, element in enumerate(elements) if element not in known]
    if free:
        residual = energies - counts @ fixed
        solution, _, rank, _ = np.linalg.lstsq(counts[:, free], residual, rcond=None)
        fixed[free] = solution
        unique = int(rank) == len(free)
    else:
        unique = True
    return dict(zip(elements, map(float, fixed), strict=True)), unique


def energy_scale(
    samples: Sequence[Sample], energies: dict[str, float], elements: Sequence[str]
) -> float:
    """RMS force component (eV/Å, as eV), or without forces that of the energy per atom (eV)."""
    forces = [s.targets.forces.flatten() for s in samples if s.targets.forces is not None]
    if forces:
        values = torch.cat(forces).numpy()
    else:
        counts = _compositions(samples, elements)
        binding = [_energy(sample) for sample in samples] - counts @ list(energies.values())
        values = binding / counts.sum(1)
    scale = float(np.sqrt(np.mean(values**2)))
    return scale if scale > 0 else 1.0


def average_neighbours(samples: Sequence[Sample]) -> float:
    """Mean number of edges at an atom; 1 if there are none."""
    edges = sum(sample.graph.n_edges for sample in samples)
    return edges / sum(sample.graph.n_atoms for sample in samples) or 1.0


def _compositions(samples: Sequence[Sample], elements: Sequence[str]) -> np.ndarray:
    counts = [torch.bincount(s.graph.species, minlength=len(elements)) for s in samples]
    return torch.stack(counts).numpy().astype(np.float64)


def _energy(sample: Sample) -> float:
    if sample.targets.energy is None:
        raise ValueError("the E0s need the energies of the structures")
    return sample.targets.energy.item()
