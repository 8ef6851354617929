"""A learning run, phase by phase."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import CalculationFailed

from sikff.forcefield import load

from . import sizes
from .checks import check_enough, check_first, check_probe, check_start_data
from .config import LearnConfig
from .job_folder import LabelsMissingError
from .label_log import Answer, Label, LabelLog, Request
from .members import Trainer, read_members, write_members
from .reference import Reference
from .report import write_report
from .rounds import Rounds
from .site_energies import relax_at_sites
from .site_scan import judge_sites
from .state import State
from .surface import SurfaceSystem
from .system import System, read_labelled

MEMBERS = "members.pt"
IDLE = 4  # rounds that ask for nothing


@dataclass(frozen=True)
class Learned:
    """What a run has reached.

    Attributes:
        model: path of the force field.
        reached: whether its error is below the target.
        force_mae: meV/Å, in structures of its own dynamics that it was not trained on.
        energy_mae: meV per atom, likewise.
        labels: number of structures that were asked for.
        words: all this in a sentence.
    """

    model: Path
    reached: bool
    force_mae: float
    energy_mae: float
    labels: int
    words: str


class Learner:
    """A run, phase by phase; the state is written after each."""

    def __init__(
        self,
        config: LearnConfig,
        system: System,
        reference: Reference,
        log: LabelLog,
        state: State,
        report: Callable[[str], None],
    ) -> None:
        self.config, self.system, self.reference = config, system, reference
        self.log, self.state, self.report = log, state, report
        self._given = [] if config.data is None else read_labelled(config.data)
        self.rounds = Rounds(config, system, log, state)

    def run(self) -> Learned:
        """Runs all phases that are left."""
        if self.state.phase != "probe":
            self._find_zero()
        if self.state.phase == "end" and not self._has_reached() and not self._is_over():
            self.state.phase = "train"  # with a larger budget, or another target
        phases = {
            "probe": self._probe,
            "label": self._label,
            "train": self._train,
            "explore": self._explore,
            "last training": self._train_last,
            "last labels": self._measure_last,
            "sites": self._ask_sites,
        }
        while self.state.phase != "end":
            phases[self.state.phase]()
            self.state.write(self.config.output)
        return self._finish()

    def _probe(self) -> None:
        """Labels a start and two structures beside it, and looks at units before more is spent."""
        state = self.state
        self._find_zero()
        if not state.requests:
            check_start_data(self._given, self.system.starts)
            structures = self.system.probe(self._rng("probe"))
            state.requests = _requests(structures, "start", 0)
            self.report(f"asks for {len(state.requests)} labels, to look at units and stiffness")
            state.write(self.config.output)
        self._answer(state.requests, must=True)
        labels = [label for each in state.requests if (label := self.log.find(each)) is not None]
        check_probe(labels, self.config)
        self.system.probe(self._rng("probe"))  # the same, also where the run was resumed
        self.system.set_stiffness([float(label.answer.results["energy"]) for label in labels])
        breadth = self.system.breadth
        count = max(breadth * sizes.STARTS, 2 * len(self.system.starts)) - len(self._given)
        count = min(max(count, 2), self.config.max_labels // 4)
        drawn = self.system.draw(count, max(self.config.temperatures), self._rng("starts"))
        state.requests = _requests(drawn, "start", 0)
        state.phase = "label"

    def _find_zero(self) -> None:
        """Tells the system the energies of what labels are relative to."""
        requests = self.system.zero()
        self._answer(requests, must=True)
        found = (self.log.find(each) for each in requests)
        self.system.set_zero([float(each.answer.results["energy"]) for each in found if each])

    def _label(self) -> None:
        labels = self._answer(self.state.requests)
        if self.state.round == 0:
            if not self.state.members:
                seconds = self._seconds_of_label()
                self.state.members = self.config.members or sizes.n_members(seconds)
            self.state.phase = "train"
            return
        members = read_members(self.config.output / MEMBERS)
        row = self.rounds.measure([each.model for each in members], labels)
        self.report(self.rounds.words(row))
        self.state.phase = "last training" if self.rounds.is_good_enough() else "train"
        if self._is_over():
            self.state.phase = "last training"

    def _train(self) -> None:
        state, path = self.state, self.config.output / MEMBERS
        structures = self._structures()
        seconds = self._seconds_of_label()
        before = read_members(path) if path.is_file() else [None] * state.members
        with self._timed("training"):
            trainer = self._trainer(self.config.model)
            kind = sizes.SCRATCH if before[0] is None else sizes.WARM
            steps = sizes.training_steps(len(structures), seconds, kind)
            is_free = before[0] is None and self.config.members is None
            most = sizes.SHARE * self._label_time() if is_free else np.inf
            members = trainer.train_committee(structures, steps, before, most)
            write_members(path, members)
            self._write_model(members[0].model, {"unfinished": f"round {state.round}"})
        state.phase = "explore"

    def _explore(self) -> None:
        state = self.state
        models = [each.model for each in read_members(self.config.output / MEMBERS)]
        state.round += 1
        with self._timed("exploration"):
            found = self.rounds.explore(models, self._rng("explore"), self._seconds_of_label())
            requests = self.rounds.choose(found, models, self._rng("survey"))
        state.requests = requests[: max(0, self._labels_left())]
        state.phase = "label"

    def _train_last(self) -> None:
        """Trains from random weights, and draws fresh structures from the dynamics of the model."""
        structures = self._structures()
        seconds = self._seconds_of_label()
        with self._timed("last training"):
            steps = sizes.training_steps(len(structures), seconds, sizes.LAST)
            self.report(f"last training: {len(structures)} structures, {steps} steps")
            trained = self._trainer({**self.config.model, **self.config.final}).train(
                structures, steps
            )
            self._write_model(trained.model, {"unfinished": "not measured"})
            left = max(0, self.config.max_labels - len(self.log))
            fresh = self.rounds.fresh_of(trained.model, self._rng("last"), seconds)
            self.state.requests = fresh[:left]
        self.state.phase = "last labels"

    def _measure_last(self) -> None:
        state = self.state
        labels = self._answer(state.requests)
        model = load(self.config.output / "model.sikff")
        state.result = self.rounds.measure_last(model, labels)
        error = state.result["force_mae"]
        self._write_model(model, dict(state.result))
        self.report(
            f"error in {len(labels)} fresh structures: {error:.3g} meV/Å, "
            f"{state.result['energy_mae']:.3g} meV/atom"
        )
        state.phase = "sites"
        if not self._has_reached() and not self._is_over():
            state.patience *= max(0.5, 0.9 * self.config.target / error)
            state.phase = "train"

    def _ask_sites(self) -> None:
        """Compares adsorption energies at the sites of a surface with the reference."""
        state, output = self.state, self.config.output
        if isinstance(self.system, SurfaceSystem):
            members = [each.model for each in read_members(output / MEMBERS)]
            model = load(output / "model.sikff")
            sites = relax_at_sites(self.system, model, members, self._rng("sites"))
            requests = _requests([site.atoms for site in sites], "site", state.round)
            open_requests = [each for each in requests if self.log.find(each) is None]
            if open_requests and len(self.log) + len(open_requests) > self.config.max_labels:
                self.report("max_labels leaves none to compare adsorption energies with")
            else:
                with self._timed("labels"):
                    self.reference.answer(open_requests, self.log.append)
                self.log.write_structures(self.config.output, self._given)
            state.result |= judge_sites(self.system, model, members, sites, self.log)
            for words, value in state.result["more"]:
                self.report(f"{words}: {value}")
        state.phase = "end"

    def _finish(self) -> Learned:
        state, config = self.state, self.config
        error = float(state.result["force_mae"])
        reached = self._has_reached()
        words = (
            f"{'reached' if reached else 'did not reach'} the target of {config.target:g} meV/Å: "
            f"{error:.3g} meV/Å in {state.result['structures']} fresh structures, with "
            f"{len(self.log)} labels"
        )
        if not reached:
            words += f"; the budget ended ({self._budget()}), the model so far is kept"
        path = config.output / "model.sikff"
        learned = Learned(
            path, reached, error, float(state.result["energy_mae"]), len(self.log), words
        )
        write_report(config, self.log, state, words)
        return learned

    def _answer(self, requests: Sequence[Request], must: bool = False) -> list[Label]:
        """Labels of all requests, asked for unless they are in the log; those that succeeded.

        Args:
            must: all have to succeed; those that do not are not recorded, and asked for again.

        Raises:
            CalculationFailed: if more than half of them failed; a run that is resumed goes on
                without these.
        """
        open_requests = [each for each in requests if self.log.find(each) is None]
        record = self._record_or_fail if must else self.log.append
        try:
            with self._timed("labels"):
                self.reference.answer(open_requests, record)
        except LabelsMissingError:
            self.state.write(self.config.output)
            raise
        finally:
            self.log.write_structures(self.config.output, self._given)
        answered = [label for each in requests if (label := self.log.find(each)) is not None]
        try:
            check_enough(answered)
        except CalculationFailed:
            self.state.phase = "train"
            self.state.write(self.config.output)
            raise
        return [label for label in answered if label.answer.status == "labelled"]

    def _record_or_fail(self, request: Request, answer: Answer) -> None:
        check_first(answer)
        self.log.append(request, answer)

    def _structures(self) -> list[ase.Atoms]:
        """All that is trained on."""
        return [*self._given, *(label.atoms for label in self.log.labelled)]

    def _trainer(self, model: dict[str, Any]) -> Trainer:
        keys = {**model, **self.system.model}
        environment = {**model.get("environment", {}), **self.system.model.get("environment", {})}
        if environment:
            keys["environment"] = environment
        stress = self.config.ensemble == "npt"
        return Trainer(keys, self.config.seed, stress, self.report)

    def _seconds_of_label(self) -> float:
        """Of a label, with all workers; 0, by which sizes are least, if learning costs too much."""
        spent, calculator = self.state.seconds, self.config.calculator
        if sum(spent.values()) - spent["labels"] > sizes.SHARE * self._label_time():
            return 0.0
        if calculator is not None and calculator.folder is not None:
            return sizes.DEAR
        workers = 1 if calculator is None else calculator.workers
        seconds = [label.answer.seconds for label in self.log.labelled]
        return float(np.median(seconds)) / workers if seconds else 0.0

    def _label_time(self) -> float:
        """Seconds that labels have taken; those of a queue may take any time."""
        calculator = self.config.calculator
        is_queue = calculator is not None and calculator.folder is not None
        return np.inf if is_queue else self.state.seconds["labels"]

    def _has_reached(self) -> bool:
        return bool(self.state.result["force_mae"] <= self.config.target)

    def _is_over(self) -> bool:
        """Whether the budget allows no further round before the last training."""
        round_ = self.state.round + 1
        breadth = self.system.breadth
        needed = sizes.n_fresh(round_, breadth) + sizes.n_picked(round_, breadth)
        needed += sizes.n_surveyed(round_, breadth)
        out_of_labels = needed > self._labels_left()
        asked = [row.get("asked") for row in self.state.rounds[-IDLE:]]
        idle = len(asked) == IDLE and len(set(asked)) == 1  # nothing new is found any more
        return idle or out_of_labels or self._minutes() >= (self.config.max_minutes or np.inf)

    def _labels_left(self) -> int:
        """Labels for rounds: without those that measure the last training."""
        kept = sizes.FINAL + sizes.SITES * isinstance(self.system, SurfaceSystem)
        return self.config.max_labels - len(self.log) - kept

    def _budget(self) -> str:
        minutes = self.config.max_minutes
        limit = "" if minutes is None else f", {self._minutes():.3g} of {minutes:g} minutes"
        return f"{len(self.log)} of {self.config.max_labels} labels{limit}"

    def _minutes(self) -> float:
        return sum(self.state.seconds.values()) / 60

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.monotonic()
        try:
            yield
        finally:
            self.state.seconds[part] += time.monotonic() - start

    def _rng(self, purpose: str) -> np.random.Generator:
        """Random numbers of a phase: the same if it is repeated."""
        letters = int.from_bytes(purpose.encode(), "big") % 2**31
        return np.random.default_rng((self.config.seed, self.state.round, letters))

    def _write_model(self, model: Any, about: dict[str, Any]) -> None:
        learning = {"learning": {"labels": len(self.log), **about}}
        settings = {"settings": self.config.model_dump(mode="json")}
        model.save(self.config.output / "model.sikff", {**learning, **settings})


def _requests(structures: Sequence[ase.Atoms], use: str, round_: int) -> list[Request]:
    """Requests for structures that differ."""
    found = {each.id: each for each in (Request(atoms, use, round_) for atoms in structures)}
    return list(found.values())
