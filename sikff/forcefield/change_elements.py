"""Models of other elements with the same predictions for those that stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from sikff.forcefield.config import ForceFieldConfig
from sikff.forcefield.electron_shares import OF_ATTRIBUTES
from sikff.forcefield.force_field import ForceField

OF_SPECIES = ("embedding", "gate")  # weights whose first rows are of elements


def change_elements(
    model: ForceField, elements: Sequence[str], like: Mapping[str, str] | None = None
) -> ForceField:
    """A model of some elements of a model and of new ones, which begin as copies of old ones.

    Energies of structures of the elements that stay are the same. New elements have the embedding,
    gates, affinity and E0 of those that they begin as, but no trained distances or contacts.

    Args:
        elements: chemical symbols, in the order of the new model.
        like: for each new element the one of the model that it begins as.

    Raises:
        ValueError: for elements that the model does not know and that begin as none that it knows.
    """
    given = {} if like is None else dict(like)
    sources = {element: given.get(element, element) for element in elements}
    unknown = [new for new, old in sources.items() if old not in model.elements]
    if unknown:
        raise ValueError(
            f"the model does not know {', '.join(unknown)}, but {', '.join(model.elements)}; "
            "expected for each new element one of these as which it begins"
        )
    with torch.random.fork_rng(devices=[]):
        new = ForceField(_config(model.config, sources)).double()
    rows = torch.zeros(len(elements), len(model.elements), dtype=torch.float64)
    for row, old in zip(rows, sources.values(), strict=True):
        row[model.elements.index(old)] = 1
    of_species = _maps(new, rows)
    state = {key: weight.detach().cpu().double() for key, weight in model.state_dict().items()}
    new.load_state_dict(
        {
            key: of_species[key](weight) if key in of_species else weight
            for key, weight in state.items()
        }
    )
    new.provenance = model.provenance
    return new.to(next(model.parameters()).device, model.dtype).train(model.training)


def _config(config: ForceFieldConfig, sources: Mapping[str, str]) -> ForceFieldConfig:
    """With other elements; what is known of the distances and heights of those that stay."""
    energies, seen, contacts = config.atomic_energies, config.distances_seen, config.usual_contacts
    changes: dict[str, Any] = {
        "elements": tuple(sources),
        "atomic_energies": {e: energies[old] for e, old in sources.items() if old in energies},
        "start_channels": config.start_channels or min(len(config.elements), config.channels),
    }
    stays = {element for element, old in sources.items() if element == old}
    if seen is not None:
        changes["distances_seen"] = {p: x for p, x in seen.items() if {*p.split("-")} <= stays}
    changes["usual_contacts"] = {e: x for e, x in contacts.items() if e in stays}
    heights = config.environment.height_min
    if isinstance(heights, dict):
        kept = {element: height for element, height in heights.items() if element in stays}
        changes["environment"] = config.environment.model_copy(update={"height_min": kept})
    return ForceFieldConfig.model_validate(dict(config) | changes)


def _maps(new: ForceField, rows: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    """How weights of the old model become those of the new one, for all that depend on elements.

    Args:
        rows: [n_new, n_old], 1 where a new element begins as an old one.
    """

    def first_inputs(start: int) -> Callable[[Tensor], Tensor]:
        """Of an MLP whose inputs from ``start`` on are of elements."""

        def change(weight: Tensor) -> Tensor:
            changed = _with_rows(weight, rows, start)
            # layers divide by the square root of the number of their inputs
            return changed * (len(changed) / len(weight)) ** 0.5

        return change

    def of_shares(weight: Tensor) -> Tensor:
        blocks = weight.unflatten(0, (-1, rows.shape[1]))
        return torch.einsum("no,ko...->kn...", rows, blocks).flatten(0, 1)

    maps: dict[str, Callable[[Tensor], Tensor]] = {}
    for key in new.state_dict():
        name = key.rpartition(".")[-1]
        if name in OF_SPECIES:
            maps[key] = lambda weight: _with_rows(weight, rows, 0)
        elif name in OF_ATTRIBUTES:
            maps[key] = of_shares
        elif key.endswith(".start.weights.0") or key == "one_body.weights.0":
            maps[key] = first_inputs(0)
    if new.shares is not None:
        maps["shares.log_affinity"] = lambda weight: weight @ rows.T
    if new.steerable is not None:
        maps["steerable.trunk.mlp.weights.0"] = first_inputs(
            cast(Any, new.steerable).trunk.in_type.n_invariants
        )
    return maps


def _with_rows(weight: Tensor, rows: Tensor, start: int) -> Tensor:
    before, of_elements, after = weight.split(
        (start, rows.shape[1], len(weight) - start - rows.shape[1])
    )
    return torch.cat([before, torch.tensordot(rows, of_elements, 1), after])
