"""Programs for one structure, run for many at once: their energies are computed in one batch.

Each structure has a thread of its own, in which an optimiser or integrator of ASE runs as it is.
Wherever it asks for forces it waits until all others do, and the force field is called once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

import ase

from sikff.engines import History
from sikff.forcefield.atomic_stress import FullPrediction
from sikff.graph import Structure
from sikff.graph.conditions import Conditions

from .ase import SIKFFCalculator
from .structure_evaluator import SKIN, StructureEvaluator

Result = TypeVar("Result")
SOON = 0.05  # s, between looks at threads that are about to end
OF_ATOMS = ("energies", "forces", "stresses")  # the others are of structures


def run_together(
    evaluator: StructureEvaluator,
    structures: Sequence[ase.Atoms],
    work: Callable[[int, ase.Atoms], Result],
    skin: float = SKIN,
) -> list[Result | Exception]:
    """Calls ``work(n, atoms)`` for each structure, with a calculator that computes all in a batch.

    The results are those of one structure after the other, but for rounding. Work may ask for
    energies as often as it likes; a structure that is done leaves the batch. An interrupt reaches
    every `work` where it asks for energies, and then the caller.

    Args:
        evaluator: of the models.
        structures: their calculators are replaced.
        work: called in several threads; what it changes besides its atoms has to bear that.
        skin: of the neighbour lists, for what is asked after the end of `work`.

    Returns:
        What work returned for each structure, or the error that it raised.

    Raises:
        KeyboardInterrupt: after an interrupt, when all threads have ended.
    """
    lockstep = _Lockstep(evaluator, len(structures))
    outcomes: list[Any] = [None] * len(structures)

    def run(n: int) -> None:
        try:
            outcomes[n] = work(n, structures[n])
        except BaseException as error:  # the caller gets it
            outcomes[n] = error
        finally:
            lockstep.leave(n)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(len(structures))]
    for n, (atoms, thread) in enumerate(zip(structures, threads, strict=True)):
        atoms.calc = SIKFFCalculator(_Place(lockstep, n, skin))
        thread.start()
    lockstep.serve()
    for thread in threads:
        thread.join()
    for outcome in outcomes:
        if isinstance(outcome, BaseException) and not isinstance(outcome, Exception):
            raise outcome
    return outcomes


@dataclass(frozen=True)
class _Request:
    structure: Structure
    conditions: Conditions
    options: dict[str, bool]


class _Lockstep:
    """Answers requests of several threads when all that are active have one."""

    def __init__(self, evaluator: StructureEvaluator, count: int) -> None:
        self.evaluator = evaluator
        self.active = set(range(count))
        self._requests: dict[int, _Request] = {}
        self._answers: list[SimpleQueue[Any]] = [SimpleQueue() for _ in range(count)]
        self._news: SimpleQueue[None] = SimpleQueue()  # wakes the server up
        self._batch: dict[int, _Request] = {}  # of the last evaluation

    def ask(self, place: int, request: _Request) -> list[FullPrediction]:
        self._requests[place] = request
        self._news.put(None)
        answer = self._answers[place].get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def leave(self, place: int) -> None:
        self.active.discard(place)
        self._news.put(None)

    def serve(self) -> None:
        """Answers until all threads have left; after an interrupt with that alone."""
        interrupted = False
        while self.active:
            try:
                if interrupted:
                    self._answer(dict.fromkeys(self._requests, KeyboardInterrupt()))
                elif self._requests.keys() >= self.active:
                    self._answer(self._evaluate(dict(self._requests)))
                self._news.get(timeout=SOON if interrupted else None)
            except Empty:
                continue
            except KeyboardInterrupt:
                interrupted = True

    def _answer(self, answers: dict[int, Any]) -> None:
        for place, answer in answers.items():
            self._requests.pop(place, None)
            self._answers[place].put(answer)

    def _evaluate(self, requests: dict[int, _Request]) -> dict[int, Any]:
        """The predictions for each request, or the error that it causes."""
        self._batch |= requests
        done = self._batch.keys() - requests.keys()
        if 2 * len(done) > len(self._batch):  # else as they are: another size is prepared anew
            self._batch = dict(requests)
        batch = dict(sorted(self._batch.items()))
        try:
            found = self._predict(list(batch.values()))
        except Exception as error:  # whoever causes it gets it, and the others their forces
            if len(requests) == 1:
                return dict.fromkeys(requests, error)
            return self._evaluate_each(requests)
        return {p: each for p, each in zip(batch, found, strict=True) if p in requests}

    def _evaluate_each(self, requests: dict[int, _Request]) -> dict[int, Any]:
        self._batch.clear()
        answers: dict[int, Any] = {}
        for place, request in requests.items():
            try:
                (answers[place],) = self._predict([request])
            except Exception as error:
                answers[place] = error
        return answers

    def _predict(self, requests: Sequence[_Request]) -> list[list[FullPrediction]]:
        """The predictions of all models for each request, with what it asks for."""
        names = {name for each in requests for name in each.options}
        options = {name: any(each.options.get(name) for each in requests) for name in names}
        structures = [each.structure for each in requests]
        found = self.evaluator.evaluate(
            structures, [each.conditions for each in requests], **options
        )
        answers, start = [], 0
        for k, request in enumerate(requests):
            end = start + len(request.structure.positions)
            of_one = [_part(each, k, start, end, request.options) for each in found]
            answers.append(of_one)
            start = end
        return answers


def _part(
    prediction: FullPrediction, k: int, start: int, end: int, options: dict[str, bool]
) -> FullPrediction:
    """What a prediction of a batch says about one of its structures, as far as that was wanted."""
    wanted = options | {"stresses": options.get("atomic_stress", False)}
    wanted["stress"] = wanted.get("stress", False) or wanted["stresses"]
    parts = {
        name: tensor[start:end] if name in OF_ATOMS else tensor[k : k + 1]
        for name, tensor in prediction._asdict().items()
        if tensor is not None and wanted.get(name, True)
    }
    return FullPrediction._make(parts.get(name) for name in prediction._fields)


class _Place(StructureEvaluator):
    """The evaluator of one of the structures, as long as its thread is active."""

    def __init__(self, lockstep: _Lockstep, place: int, skin: float) -> None:
        shared = lockstep.evaluator
        super().__init__(shared.models, list, skin, shared.device)  # alone: the models themselves
        self.sources, self.warned = shared.sources, shared.warned
        self._lockstep, self._place = lockstep, place

    @property
    def history(self) -> list[History]:
        return self._lockstep.evaluator.history

    def resume(self, history: Sequence[History]) -> None:
        self._lockstep.evaluator.resume(history)

    def evaluate(
        self, structures: Sequence[Structure], conditions: Sequence[Conditions], **options: bool
    ) -> list[FullPrediction]:
        if self._place not in self._lockstep.active:
            return super().evaluate(structures, conditions, **options)
        (structure,), (of_structure,) = structures, conditions
        return self._lockstep.ask(self._place, _Request(structure, of_structure, options))
