"""Force fields called with structures instead of graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import ase
import numpy as np
import torch

from sikff.forcefield import EnergyModel, Prediction
from sikff.forcefield.committee import check_committee, graph_settings
from sikff.forcefield.environment import OPENED, THROUGH
from sikff.forcefield.field_response import FieldResponse, field_response
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList
from sikff.plain_torch import leave_threads_behind


class StructureEvaluator:
    """Evaluates one model, or a committee, for a structure that moves.

    Gives each extrapolation warning once, and holds them in `warned`. For one thread at a time.

    Args:
        models: the models.
        evaluators: called in place of each model, with the same arguments.
        skin: of the neighbour lists, Å; models with one cutoff share a list.
        device: of the models.

    Raises:
        ValueError: if the models do not make a committee, or for an impossible skin.
    """

    def __init__(
        self,
        models: Sequence[EnergyModel],
        evaluators: Sequence[Callable[..., Prediction]],
        skin: float,
        device: torch.device,
    ) -> None:
        check_committee(models)
        self.models, self.evaluators = models, evaluators
        self.neighbour_lists = {
            settings: NeighbourList(*settings, skin=skin, device=device)
            for settings in map(graph_settings, models)
        }
        self.warned: dict[str, str] = {}  # by kind

    def predictions(
        self, atoms: ase.Atoms, conditions: Conditions, stress: bool, dipole: bool
    ) -> list[Prediction]:
        """Energy and forces from each model, with stress and dipole if asked for.

        Raises:
            ValueError: for elements a model does not know, conditions it does not read, or atoms
                nearer than 0.1 Å to each other or to their own images.
        """
        pairs = zip(self.evaluators, self._graphs(atoms, conditions), strict=True)
        return [
            evaluate(graph, forces=True, stress=stress, dipole=dipole) for evaluate, graph in pairs
        ]

    def field_response(self, atoms: ase.Atoms, conditions: Conditions) -> FieldResponse:
        """The mean over the models, which must read the field along the same directions."""
        responses = map(field_response, self.models, self._graphs(atoms, conditions))
        return FieldResponse(*(np.mean(each, axis=0) for each in zip(*responses, strict=True)))

    def _graphs(self, atoms: ase.Atoms, conditions: Conditions) -> list[AtomicGraph]:
        """The graph that each model reads."""
        leave_threads_behind()
        for model in self.models:
            model.check_conditions(conditions)
            model.check_cell(atoms, conditions)
        opened = atoms
        for model in self.models:  # whose planes, if they have one, are equal
            opened = model.opened(opened, conditions)
        if opened is not atoms:
            self._warn("open", f"{THROUGH}: {OPENED}")
        shared = {
            settings: neighbours.graph(opened, conditions)
            for settings, neighbours in self.neighbour_lists.items()
        }
        graphs = [shared[graph_settings(model)] for model in self.models]
        for model, graph in zip(self.models, graphs, strict=True):
            for kind, message in model.extrapolation_warnings(graph).items():
                self._warn(kind, message)
        return graphs

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self.warned:
            self.warned[kind] = message
            warnings.warn(message, stacklevel=5)
