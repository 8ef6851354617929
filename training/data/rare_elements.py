"""E0s of elements that occur in few structures, which alone do not tell them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

FEW = 10  # structures; elements in fewer of them are rare
LEAST = 3  # other elements, from which a mean and a spread are taken


def rare_energies(
    counts: np.ndarray,
    energies: np.ndarray,
    elements: Sequence[str],
    fitted: Mapping[str, float],
    known: Mapping[str, float],
    weights: np.ndarray,
) -> tuple[dict[str, float], str]:
    """E0s (eV) of rare elements, drawn towards the mean of those of the others (ridge regression).

    Least squares take the binding energy of the few structures of an element for its E0. Here the
    squared deviation from the mean counts as much as the E0s of the others spread about it, against
    the squared residuals of the structures without rare elements: for energies of all electrons,
    which differ by thousands of eV, that changes nothing.

    Args:
        counts: [S, elements] atoms in structures.
        energies: [S] eV.
        fitted: E0s by least squares, of all elements.
        known: E0s that are given.
        weights: [S] of squared errors.

    Returns:
        The E0s of the elements that change, and a note. Empty where no free element is rare, or
        fewer than LEAST others are not.
    """
    occurs = (counts > 0).sum(axis=0)
    free = np.array([element not in known for element in elements])
    rare = np.flatnonzero(free & (occurs > 0) & (occurs < FEW))
    common = np.flatnonzero(free & (occurs >= FEW))
    usual = ~(counts[:, rare] > 0).any(axis=1)
    if not len(rare) or len(common) < LEAST or usual.sum() <= len(common):
        return {}, ""
    given = np.array([known.get(element, 0.0) for element in elements])
    scale = np.sqrt(weights)
    matrix, left = counts * scale[:, None], (energies - counts @ given) * scale
    solution, _, rank, _ = np.linalg.lstsq(matrix[usual][:, common], left[usual], rcond=None)
    if rank < len(common):
        return {}, ""
    mean, spread = float(solution.mean()), float(solution.std(ddof=1))
    residual = left[usual] - matrix[usual][:, common] @ solution
    noise = float(np.sqrt(residual @ residual / (usual.sum() - len(common))))
    left, matrix = left - matrix[:, common] @ solution, matrix[:, rare]
    penalty = noise / max(spread, 1e-6)
    ridge = np.vstack([matrix, penalty * np.eye(len(rare))])
    target = np.concatenate([left - mean * matrix.sum(axis=1), np.zeros(len(rare))])
    shift, *_ = np.linalg.lstsq(ridge, target, rcond=None)
    found = {elements[k]: mean + by for k, by in zip(rare.tolist(), shift.tolist(), strict=True)}
    moved = ", ".join(f"{e} (by {found[e] - fitted[e]:+.3g} eV)" for e in found)
    return found, (
        f"note: E0s of elements in fewer than {FEW} structures are drawn towards the mean of the "
        f"others ({mean:.4g} eV, spread {spread:.3g} eV): {moved}; data.isolated_atoms or "
        "model.atomic_energies tell them"
    )
