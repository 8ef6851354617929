"""From structures to samples: graphs with their labels."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch

from sikff.forcefield import ForceFieldConfig
from sikff.forcefield.environment import Environment
from sikff.graph import AtomicGraph
from sikff.graph.conditions import KEYS as CONDITIONS
from sikff.graph.conditions import SPIN, VACUUM, Conditions
from sikff.graph.occupancy import check_occupancy

from .batches import Sample, Targets, Weights
from .structures import Structure, Structures

# Of model.environment, without which a model does not read a condition.
SETTINGS = dict(
    zip(CONDITIONS, ("field", "plane_origin", "plane_origin", "charge", "spin"), strict=True)
)


def make_samples(
    structures: Structures, model: ForceFieldConfig, names: Collection[str] = ()
) -> list[Sample]:
    """Builds the graph of each structure, with its neighbours, and its targets.

    Args:
        names: the labels that become targets; NaN where a structure lacks one.

    Raises:
        ValueError: naming a structure with an unknown element or conditions that the model does
            not allow.
    """
    environment = Environment(model)
    samples = []
    for index, structure in enumerate(structures):
        with structures.naming(index):
            graph = make_graph(structure, model, environment)
        name = f"{structures.source} {structures.names([index])}"
        samples.append(make_sample(structure, graph, name, names))
    return samples


def make_sample(
    structure: Structure, graph: AtomicGraph, name: str, names: Collection[str]
) -> Sample:
    """Joins the graph of a structure and its targets, see :func:`make_samples`."""
    values = {each: torch.from_numpy(structure.value(each)) for each in names}
    targets = Targets(**{n: v if n == "forces" else v[None] for n, v in values.items()})
    weights = _weights(structure, names)
    return Sample(graph, targets, name, structure.weight, structure.config_type, weights)


def _weights(structure: Structure, names: Collection[str]) -> Weights | None:
    """The weights of the labels of a structure; None: all 1."""
    labels = {name: label for name, label in structure.labels.items() if name in names}
    weights = {name: np.asarray(label.weight) for name, label in labels.items()}
    if all((weight == 1).all() for weight in weights.values()):
        return None
    shapes = {"energy": 1, "forces": len(structure.numbers), "stress": 1}
    found = (weights.get(name, np.ones(())) for name in shapes)
    return Weights(
        *(
            torch.from_numpy(weight if weight.ndim else np.full(shape, float(weight)))
            for weight, shape in zip(found, shapes.values(), strict=True)
        )
    )


def make_graph(
    structure: Structure, model: ForceFieldConfig, environment: Environment
) -> AtomicGraph:
    """Builds the graph of a structure with those of its conditions that the model reads.

    Raises:
        ValueError: for an unknown element, or conditions that the model does not allow.
    """
    conditions = model.environment.seen(structure.conditions)
    environment.check(conditions)
    environment.check_cell(structure.atoms, conditions)
    check_occupancy(structure.atoms)
    return AtomicGraph.from_atoms(
        environment.opened(structure.atoms, conditions),
        model.cutoff,
        model.elements,
        conditions=conditions,
        surfaces=model.environment.surfaces,
    )


def unread_conditions(structures: Structures, model: ForceFieldConfig) -> list[str]:
    """Keys of conditions that some structures have and the model does not read."""
    present = {
        key
        for structure in structures
        for key, value, absent in zip(CONDITIONS, structure.conditions, Conditions(), strict=True)
        if value not in (absent, VACUUM) and (key, value) != (SPIN, 1)
    }
    settings = dict(model.environment)
    return [key for key in CONDITIONS if key in present and not settings[SETTINGS[key]]]
