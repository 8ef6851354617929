"""Elements that a model to fine-tune does not know: as which it begins to learn them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from ase.data import atomic_numbers

from sikff.forcefield import ForceField
from sikff.forcefield.change_elements import change_elements

from .batches import Sample, collate
from .data_statistics import atomic_energies

NOBLE = (0, 2, 10, 18, 36, 54, 86, 118)  # atomic numbers at the ends of the periods
LR = 0.01  # measured: docs/howto/fine-tune.md
SAMPLED = 64  # structures from which an E0 is fitted


def with_elements(model: ForceField, elements: Sequence[str]) -> ForceField:
    """The model with further elements, each of which begins as the nearest one that it knows."""
    new = [element for element in elements if element not in model.elements]
    if not new:
        return model
    like = {element: nearest_element(element, model.elements) for element in new}
    return change_elements(model, [*model.elements, *new], like)


def begin_new_elements(
    trained: ForceField,
    settings: dict[str, Any],
    samples: Sequence[Sample],
    free: Mapping[str, float],
) -> tuple[dict[str, Any], list[str]]:
    """Adds E0s of the elements that a model to fine-tune does not know, and says what these are.

    Args:
        trained: the model to fine-tune.
        settings: keys of ForceFieldConfig of the model to be, in which its elements come first.
        samples: the training set.
        free: energies (eV) of free atoms, by element.
    """
    new = [element for element in settings["elements"] if element not in trained.elements]
    if not new:
        return settings, []
    energies = settings.get("atomic_energies", {})
    fitted = [element for element in new if element not in {**energies, **free}]
    found = fit_new_energies(trained, samples, fitted) if fitted else {}
    begun = ", ".join(f"{e} (as {nearest_element(e, trained.elements)})" for e in new)
    note = f"note: elements that the model does not know begin as the nearest ones: {begun}"
    if found:
        note += f"; E0s of {', '.join(found)} fit the energies of structures"
    note += f". They learn slowly at the learning rate of fine-tuning; lr: {LR} is faster"
    return {**settings, "atomic_energies": {**energies, **found}}, [note]


def nearest_element(element: str, known: Sequence[str]) -> str:
    """The one that is nearest in the periodic table; a column away is as far as two rows."""
    number = atomic_numbers[element]
    row, column = _place(number)

    def distance(other: str) -> tuple[int, int]:
        rows, columns = _place(atomic_numbers[other])
        return abs(rows - row) + 2 * abs(columns - column), abs(atomic_numbers[other] - number)

    return min(known, key=distance)


def _place(number: int) -> tuple[int, int]:
    """Row and column (1 to 18; 3 for the lanthanides and actinides) in the periodic table."""
    row = int(np.searchsorted(NOBLE, number))
    first, last = number - NOBLE[row - 1], NOBLE[row] - number
    return row, first if first <= 2 and last else max(18 - last, 3)


@torch.no_grad()
def fit_new_energies(
    model: ForceField, samples: Sequence[Sample], new: Sequence[str]
) -> dict[str, float]:
    """E0s (eV) of new elements with which a model is nearest to the energies of structures.

    Args:
        model: one of the other elements, or with the new ones.
        samples: of which some with the new elements and an energy are evaluated.
    """
    begun = _without_distances(with_elements(model, new)).eval()
    species = torch.tensor([begun.elements.index(element) for element in new])
    with_new = [
        index
        for index, each in enumerate(samples)
        if each.targets.energy is not None
        and not each.targets.energy.isnan()
        and torch.isin(each.graph.species, species).any()
    ]
    if not with_new:
        return {}
    graph, targets = collate([samples[k] for k in with_new[:: -(-len(with_new) // SAMPLED)]])
    off = (targets.energy - begun(graph, forces=False).energy.cpu()).numpy()
    pairs = graph.batch * len(begun.elements) + graph.species
    n = torch.bincount(pairs, minlength=graph.n_graphs * len(begun.elements)).double()
    counts = n.reshape(graph.n_graphs, -1).numpy()
    known = {element: 0.0 for element in begun.elements if element not in new}
    shift, _ = atomic_energies(counts, list(off), begun.elements, known)
    before = begun.config.atomic_energies
    return {element: before.get(element, 0.0) + shift[element] for element in new}


def _without_distances(model: ForceField) -> ForceField:
    """The model without the energies of pairs that its training data did not have."""
    if model.config.distances_seen is None:
        return model
    bare = ForceField(model.config.model_copy(update={"distances_seen": None}))
    bare = bare.to(next(model.parameters()).device, model.dtype)
    bare.load_state_dict(model.state_dict())
    return bare
