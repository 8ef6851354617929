"""Which evaluator answers: the policy of simulations and training runs."""

from __future__ import annotations

import math
import threading
import warnings
from typing import Any, Protocol

import torch

from sikff.engines.padding import without_candidates
from sikff.engines.recorder import NotReplayableError
from sikff.engines.static import History, Static, same_tensors
from sikff.forcefield import EnergyModel, Prediction
from sikff.graph import AtomicGraph


class Evaluator(Protocol):
    """Computes a prediction for a graph; :class:`EnergyModel` is the eager one."""

    def __call__(
        self, graph: AtomicGraph, forces: bool = ..., stress: bool = ..., dipole: bool = ...
    ) -> Prediction: ...


class Auto:
    """Uses the static evaluator after some calls with the same atoms, the eager model before.

    The model is also used where a static evaluation is not faster (see :meth:`Static.is_faster`),
    for dipoles and, after a warning, where operations cannot be replayed. Other atoms in between
    restart the count. It may be shared by threads. On a GPU edges may be candidates, as for
    :class:`Static`.

    Args:
        model: the force field.
        static: its static evaluator.
        patience: calls with the same atoms until it is used; 0: it is used for all atoms;
            infinity: for none.
    """

    def __init__(self, model: EnergyModel, static: Static, patience: float = 0) -> None:
        self.model, self.static = model, static
        self.patience = patience
        self._calls = 0  # with the same atoms
        # of the last call; None: those of the next one are taken for the same
        self._atoms: tuple[torch.Tensor, ...] | None = ()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.model, self.static, self.patience)

    def __call__(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> Prediction:
        """As :meth:`EnergyModel.forward`."""
        return self.predict(graph, forces, stress, dipole)[0]

    def predict(
        self, graph: AtomicGraph, forces: bool = True, stress: bool = False, dipole: bool = False
    ) -> tuple[Prediction, torch.Tensor | None]:
        """As :meth:`Static.predict`."""
        checked = dipole or torch.is_anomaly_enabled()  # which looks at each operation of the model
        if not checked and self._is_due(graph) and self.static.is_faster(graph):
            try:
                return self.static.predict(graph, forces, stress)
            except NotReplayableError as error:
                warnings.warn(
                    f"operations of torch {torch.__version__} are not replayed, which is slower: "
                    f"{error}",
                    stacklevel=2,
                )
                self.patience = math.inf
        graph = without_candidates(graph, self.model.cutoff)
        return self.model(graph, forces, stress, dipole), None

    @property
    def history(self) -> History:
        """What the rounding of later results depends on, besides their graphs."""
        return self.static.history._replace(calls=self._calls)

    def resume(self, history: History) -> None:
        """Makes later results round as those of the evaluator that had this history.

        The next call repeats the last one of that evaluator.
        """
        with self._lock:
            self._calls, self._atoms = max(history.calls - 1, 0), None
        self.static.resume(history)

    def _is_due(self, graph: AtomicGraph) -> bool:
        """Whether there were more calls with these atoms, this one included, than patience."""
        if self.patience in (0, math.inf):  # the same for all atoms: none is read from the device
            return self.patience == 0
        atoms = (graph.species, graph.batch, graph.surface)
        with self._lock:
            last = self._atoms
            same = last is None or (len(last) > 0 and same_tensors(atoms, last))
            self._calls, self._atoms = self._calls + 1 if same else 1, atoms
            return self._calls > self.patience
