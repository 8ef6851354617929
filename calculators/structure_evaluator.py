"""Force fields called with structures instead of graphs: what every adapter stands on."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from ase.calculators.calculator import CalculationFailed
from ase.data import chemical_symbols

from sikff.engines import Auto, History, Static, without_candidates
from sikff.forcefield import EnergyModel, Prediction
from sikff.forcefield.atomic_stress import FullPrediction, predict_atomic_stress
from sikff.forcefield.committee import check_committee, graph_settings, mean_prediction
from sikff.forcefield.data_end import KINDS
from sikff.forcefield.energy import fetch
from sikff.forcefield.environment import OPENED, THROUGH
from sikff.forcefield.field_response import FieldResponse, field_response
from sikff.forcefield.model_file import chosen_dtype
from sikff.graph import AtomicGraph, Structure, has_volume
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_lists import NeighbourLists
from sikff.plain_torch import leave_threads_behind, torch_threads

from .prepare_models import (
    choose_evaluators,
    chosen_device,
    cut_down,
    has_many_elements,
    prepared,
)

SKIN = 0.8  # Å
REPLAY_AFTER = 10  # calls
# atoms; fewer are evaluated on one thread of the CPU: more save at most a third of the time, and
# where another program takes a core they wait for each other in every operation
FEW_ATOMS = 50
Choose = Callable[[Sequence[EnergyModel]], Sequence[Callable[..., Prediction]]]
Models = str | Path | EnergyModel | Sequence[str | Path | EnergyModel]


class StructureEvaluator:
    """Evaluates one model, or a committee, for structures that move: one, or several at once.

    Structures are an ase.Atoms or arrays (:class:`~sikff.graph.StructureArrays`). In every call the
    first one is that of the call before, moved, and so on: their neighbour lists have a skin. Gives
    each extrapolation warning once, and holds them in `warned`. On a CPU fewer than FEW_ATOMS are
    evaluated on one thread. `sources` are the files of the models, or their classes. For one
    thread at a time.

    Args:
        models: the models, frozen and on the device.
        choose: makes of models what is called in place of each, with the same arguments.
        skin: of the neighbour lists, Å; models with one cutoff share lists.
        device: of the models.

    Raises:
        ValueError: if the models do not make a committee, or for an impossible skin.
    """

    def __init__(
        self, models: Sequence[EnergyModel], choose: Choose, skin: float, device: torch.device
    ) -> None:
        check_committee(models)
        self.models, self.device = models, device
        self.warned: dict[str, str] = {}  # by kind
        self.sources = [type(model).__name__ for model in models]
        self._choose, self._skin, self._rebuilds_before = choose, skin, 0
        self._elements: frozenset[str] = frozenset()  # that models are cut down to
        self._has_many = any(map(has_many_elements, models))
        self._resumed: Sequence[History] = ()  # for models that are still to be cut down
        self._use(models)

    def _use(self, models: Sequence[EnergyModel]) -> None:
        self._used, self.evaluators = models, self._choose(models)
        on_device = self.device.type != "cpu"  # which selects neighbours itself
        self.neighbour_lists = {
            settings: NeighbourLists(
                *settings, skin=self._skin, device=self.device, candidates=on_device
            )
            for settings in map(graph_settings, models)
        }
        self._conditions: dict[EnergyModel, tuple[torch.Tensor, ...]] = {}  # of the last graphs

    @classmethod
    def of(
        cls,
        model: Models,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype | None = None,
        skin: float = SKIN,
        compile: bool = False,
        replay_after: int | None = REPLAY_AFTER,
    ) -> Self:
        """Reads and prepares models.

        Args: as those of :class:`~sikff.calculators.SIKFFCalculator`.

        Raises:
            FileNotFoundError, ValueError: as there.
        """
        if replay_after is not None and not (isinstance(replay_after, int) and replay_after >= 0):
            raise ValueError(
                f"replay_after is {replay_after!r}; expected a number of calls or None"
            )
        given = [model] if isinstance(model, str | Path | EnergyModel) else model
        device, dtype = chosen_device(device), chosen_dtype(dtype)
        models = [prepared(each, device, dtype) for each in given]
        choose = partial(choose_evaluators, compile=compile, replay_after=replay_after)
        made = cls(models, choose, skin, device)
        made.sources = [type(m).__name__ if isinstance(m, EnergyModel) else str(m) for m in given]
        return made

    @property
    def rebuilds(self) -> int:
        """Searches for neighbours so far."""
        now = sum(each.rebuilds for each in self.neighbour_lists.values())
        return self._rebuilds_before + now

    @property
    def history(self) -> list[History]:
        """Of each model: what the rounding of later results depends on, besides the structures."""
        return [
            each.history if isinstance(each, Auto | Static) else History(0, 0)
            for each in self.evaluators
        ]

    def resume(self, history: Sequence[History]) -> None:
        """Makes later results round as those of the evaluator that had this history, whose last
        call the next one repeats."""
        self._resumed = history if self._has_many else ()
        for evaluator, each in zip(self.evaluators, history, strict=True):
            if isinstance(evaluator, Auto | Static):
                evaluator.resume(each)

    def evaluate(
        self,
        structures: Sequence[Structure],
        conditions: Sequence[Conditions],
        *,
        stress: bool = False,
        dipole: bool = False,
        atomic_stress: bool = False,
    ) -> list[FullPrediction]:
        """Energies and forces of the structures from each model, and what else is asked for.

        Atomic stress comes with the stress. Components of stresses that depend on the origin of the
        coordinates are NaN, and all are for a structure without a cell of finite volume. Results
        are on the host.

        Args:
            structures: at least one.
            conditions: of each.

        Raises:
            ValueError: for elements a model does not know, conditions it does not read, or atoms
                nearer than 0.1 Å to each other or to their own images.
            CalculationFailed: if a model returns NaN or infinity.
        """
        graphs = self._graphs(structures, conditions)
        calls: list[Callable[..., Any]] = list(self.evaluators)
        options = {"forces": True, "stress": stress, "dipole": dipole}
        if atomic_stress:
            calls = [partial(predict_atomic_stress, model) for model in self._used]
            options = {"dipole": dipole}
        predictions = [
            self._predict(model, call, graph, **options)
            for model, call, graph in zip(self._used, calls, graphs, strict=True)
        ]
        solid = list(map(has_volume, structures)) if stress or atomic_stress else []
        for prediction in predictions:
            stress_of_solids = None if prediction.stress is None else prediction.stress[solid]
            changed = prediction._replace(stress=stress_of_solids, stresses=None)
            check_finite({name: x for name, x in changed._asdict().items() if x is not None})
        if predictions[0].stress is None:
            return predictions
        sizes = [len(structure.positions) for structure in structures]
        return [self._hide_undefined_stress(each, conditions, sizes) for each in predictions]

    def mean(
        self, structures: Sequence[Structure], conditions: Sequence[Conditions], **options: bool
    ) -> FullPrediction:
        """The mean over the models; else as :meth:`evaluate`."""
        return mean_prediction(self.evaluate(structures, conditions, **options))

    def field_response(self, structure: Structure, conditions: Conditions) -> FieldResponse:
        """The mean over the models, which must read the field along the same directions."""
        pairs = self.inputs([structure], [conditions])
        for model, graph in pairs:
            self._warn_of(model, graph)
        responses = [
            field_response(model, without_candidates(graph, model.cutoff)) for model, graph in pairs
        ]
        mean = FieldResponse(*(np.mean(each, axis=0) for each in zip(*responses, strict=True)))
        check_finite({name: torch.from_numpy(x) for name, x in mean._asdict().items()})
        return mean

    def _hide_undefined_stress(
        self, prediction: FullPrediction, conditions: Sequence[Conditions], sizes: Sequence[int]
    ) -> FullPrediction:
        """NaN in components of stresses that depend on the origin of the coordinates."""
        of_models = [[m.defined_stress(each) for each in conditions] for m in self.models]
        hidden = ~np.all(of_models, axis=0)  # [B, 3, 3]
        if not hidden.any():
            return prediction
        masks = {"stress": hidden, "stresses": np.repeat(hidden, sizes, axis=0)}
        tensors = {name: getattr(prediction, name) for name in masks}
        changed = {
            name: x.masked_fill(torch.from_numpy(masks[name]).to(x.device), torch.nan)
            for name, x in tensors.items()
            if x is not None
        }
        return prediction._replace(**changed)

    def inputs(
        self, structures: Sequence[Structure], conditions: Sequence[Conditions]
    ) -> list[tuple[EnergyModel, AtomicGraph]]:
        """Each model, perhaps cut down to the elements at hand, and the graph that it reads.

        Raises:
            ValueError: as :meth:`evaluate`.
        """
        graphs = self._graphs(structures, conditions)
        return list(zip(self._used, graphs, strict=True))

    def _graphs(
        self, structures: Sequence[Structure], conditions: Sequence[Conditions]
    ) -> list[AtomicGraph]:
        """The graph that each model reads."""
        leave_threads_behind()
        if self._has_many:
            self._cut_down(structures)
        opened = [self._open(*each) for each in zip(structures, conditions, strict=True)]
        shared = {
            settings: neighbours.graph(opened, conditions)
            for settings, neighbours in self.neighbour_lists.items()
        }
        return [shared[graph_settings(model)] for model in self._used]

    def _cut_down(self, structures: Sequence[Structure]) -> None:
        """Takes models of the elements at hand, which are faster and predict the same."""
        numbers = np.unique(np.concatenate([each.numbers for each in structures]))
        elements = frozenset(chemical_symbols[number] for number in numbers)
        if elements <= self._elements:
            return
        self._elements |= elements
        self._rebuilds_before = self.rebuilds
        self._use([cut_down(model, self._elements) for model in self.models])
        if self._resumed:
            self.resume(self._resumed)
            self._resumed = ()

    def _predict(
        self, model: EnergyModel, call: Callable[..., Any], graph: AtomicGraph, **options: bool
    ) -> FullPrediction:
        """The prediction on the host, where it is copied at once: a GPU is waited for once."""
        if graph.positions.device.type == "cpu":
            self._warn_of(model, graph)
            with torch_threads(1) if graph.n_atoms < FEW_ATOMS else nullcontext():
                return FullPrediction(*call(graph, **options))
        extrapolates = None
        if isinstance(call, Auto | Static):
            prediction, extrapolates = call.predict(graph, **options)
        else:
            prediction = call(without_candidates(graph, model.cutoff), **options)
        flags = [True] * len(KINDS) if extrapolates is None else extrapolates.tolist()
        # what does not move is looked at when it changes, the rest with the results
        conditions = (graph.field, graph.charge, graph.unpaired)
        same = all(map(is_, conditions, self._conditions.get(model, (None,) * 3)))
        self._conditions[model] = conditions
        new = any(flag and kind not in self.warned for kind, flag in zip(KINDS, flags, strict=True))
        if new or not same:
            self._warn_of(model, graph)
        found: list[Any] = fetch(prediction)
        return FullPrediction(*found)

    def _warn_of(self, model: EnergyModel, graph: AtomicGraph) -> None:
        for kind, message in model.extrapolation_warnings(graph).items():
            self._warn(kind, message)

    def _open(self, structure: Structure, conditions: Conditions) -> Structure:
        """The structure, checked, without periodic directions that lead through a plane."""
        for model in self.models:
            model.check_conditions(conditions)
            model.check_cell(structure, conditions)
        opened = structure
        for model in self.models:  # whose planes, if they have one, are equal
            opened = model.opened(opened, conditions)
        if opened is not structure:
            self._warn("open", f"{THROUGH}: {OPENED}")
        return opened

    def _warn(self, kind: str, message: str) -> None:
        if kind not in self.warned:
            self.warned[kind] = message
            warnings.warn(message, stacklevel=5)


def check_finite(results: Mapping[str, torch.Tensor]) -> None:
    """Raises CalculationFailed for NaN or infinity; NumPy tells it in less time than torch."""
    wrong = [name for name, x in results.items() if not np.isfinite(x.cpu().numpy()).all()]
    if wrong:
        raise CalculationFailed(
            f"the force field returned NaN or infinity in {', '.join(wrong)}; expected finite "
            "numbers: are atoms far too close, or is the time step too long?"
        )
