"""The reference calculator of a learning run: made from its name, asked, and checked."""

from __future__ import annotations

import importlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any, Protocol

import ase
import numpy as np
from ase.calculators.calculator import BaseCalculator

from .config import CalculatorConfig
from .label_log import Answer, Request

MOST_FORCE = 30.0  # eV/Å; larger where atoms overlap, which a reference may label all the same
MOST_WORDS = 300  # characters of a reason

OnAnswer = Callable[[Request, Answer], Any]


class Reference(Protocol):
    """Answers requests."""

    def answer(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        """Calls `on_answer` with every request and its answer, as they come."""

    def close(self) -> None:
        """Ends processes, if there are any."""


def make_calculator(config: CalculatorConfig) -> Any:
    """The ASE calculator of a dotted name.

    Raises:
        ValueError: if it cannot be imported or made, or computes no energy and forces.
    """
    name = str(config.name)
    module, dot, attribute = name.rpartition(".")
    if not dot:
        raise ValueError(
            f"calculator.name is {name!r}; expected a class with its module, such as "
            "ase.calculators.emt.EMT"
        )
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"calculator.name is {name!r}, which cannot be imported here ({error}); expected a "
            "class with its module, such as ase.calculators.emt.EMT, of an installed package"
        ) from error
    try:
        calculator = found(**config.arguments)
    except Exception as error:  # calculators raise anything
        raise ValueError(
            f"{name} cannot be made with calculator.arguments {config.arguments} ({_reason(error)})"
        ) from error
    check_calculator(calculator, name)
    return calculator


def check_calculator(calculator: Any, name: str) -> None:
    """Raises ValueError for what is no ASE calculator, or one without energy and forces."""
    if not hasattr(calculator, "get_potential_energy"):
        raise ValueError(f"{name} made {type(calculator).__name__}, which is no ASE calculator")
    known = getattr(calculator, "implemented_properties", ())
    missing = [each for each in ("energy", "forces") if known and each not in known]
    if missing:
        raise ValueError(
            f"{name} does not compute {' and '.join(missing)} (it has {', '.join(known)}); "
            "expected a calculator with energy and forces"
        )


def compute(calculator: Any, atoms: ase.Atoms) -> Answer:
    """Asks a calculator for energy, forces and, in a periodic structure, stress if it has one.

    The energy is the one whose derivatives the forces are: with smeared occupations the free
    energy. Whatever the calculator raises is an answer.
    """
    start = time.monotonic()
    atoms = atoms.copy()
    atoms.set_array("momenta", None)
    atoms.set_constraint()  # the forces on fixed atoms are labels too
    atoms.calc = calculator
    try:
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        energy = atoms.get_potential_energy()
        known = getattr(calculator, "results", {})
        energy = float(known.get("free_energy", energy))  # its derivatives are the forces
        results: dict[str, Any] = {"energy": energy, "forces": forces}
        if atoms.pbc.all() and "stress" in getattr(calculator, "implemented_properties", ()):
            results["stress"] = np.array(atoms.get_stress(), dtype=np.float64)
    except Exception as error:  # calculators raise anything
        return Answer("failed", reason=_reason(error), seconds=time.monotonic() - start)
    return judged(results, time.monotonic() - start)


def judged(results: dict[str, Any], seconds: float) -> Answer:
    """The answer with these results: refused if they are not finite, or of an absurd structure."""
    if not all(np.isfinite(value).all() for value in results.values()):
        return Answer("refused", results, "the label is NaN or infinite", seconds)
    largest = float(np.linalg.norm(results["forces"], axis=1).max())
    if largest > MOST_FORCE:
        reason = f"a force of {largest:.3g} eV/Å, above {MOST_FORCE:g}"
        return Answer("refused", results, reason, seconds)
    return Answer("labelled", results, "", seconds)


def _reason(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(": ")
    return text if len(text) <= MOST_WORDS else f"{text[:MOST_WORDS]} ..."


class InProcess:
    """Answers with a calculator in this process."""

    def __init__(self, calculator: BaseCalculator) -> None:
        self._calculator = calculator

    def answer(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        for request in requests:
            on_answer(request, compute(self._calculator, request.atoms))

    def close(self) -> None:
        pass


class InWorkers:
    """Answers with so many processes, each with a calculator of its own.

    A structure that ends the process that computes it has failed; others are asked again.
    """

    def __init__(self, config: CalculatorConfig) -> None:
        make_calculator(config)  # raises what is wrong before a process is started
        self._config = config
        self._pool: ProcessPoolExecutor | None = None

    def answer(self, requests: Sequence[Request], on_answer: OnAnswer) -> None:
        left = self._attempt(list(requests), on_answer, self._config.workers)
        for request in left:  # one of them has ended a process: one at a time tells which
            if self._attempt([request], on_answer, 1):
                on_answer(request, Answer("failed", reason="the process of the calculator ended"))

    def _attempt(self, requests: list[Request], on_answer: OnAnswer, at_once: int) -> list[Request]:
        """The requests that have no answer because a process has ended."""
        waiting = list(requests)
        running: dict[Future[Answer], Request] = {}
        lost: list[Request] = []
        while waiting or running:
            try:
                while waiting and len(running) < at_once and not lost:
                    future = self._open().submit(_compute_in_worker, waiting[0].atoms)
                    running[future] = waiting.pop(0)
            except BrokenProcessPool:
                lost.append(waiting.pop(0))
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                request = running.pop(future)
                try:
                    on_answer(request, future.result())
                except BrokenProcessPool:
                    lost.append(request)
        if lost:
            self.close()
        return lost + waiting

    def _open(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._config.workers,
                get_context("spawn"),
                initializer=_start_worker,
                initargs=(self._config,),
            )
        return self._pool

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_calculators: list[Any] = []  # of a worker


def _start_worker(config: CalculatorConfig) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _calculators.append(make_calculator(config))


def _end_with_parent() -> None:
    """Ends this process as soon as that of the run has ended: one that is killed closes no pool."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _compute_in_worker(atoms: ase.Atoms) -> Answer:
    return compute(_calculators[0], atoms)
