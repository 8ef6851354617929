"""Learning a force field from a calculator: what is checked before a run begins."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import yaml

from sikff.atomic_write import clear_unfinished, complete
from sikff.lock import lock
from sikff.plain_torch import plain_torch

from .config import LearnConfig
from .job_folder import JobFolder
from .label_log import LabelLog
from .learner import MEMBERS, Learned, Learner
from .reference import InProcess, InWorkers, Reference, check_calculator, make_calculator
from .state import NAME, State
from .surface import SurfaceReference, SurfaceSystem
from .system import FreeSystem, System, read_starts

LABELS = "labels.jsonl"
WRITTEN = ("model.sikff", "data.xyz", "failed.xyz", "report.html", "learn.yaml", NAME, MEMBERS)


@plain_torch()
def learn(
    config: LearnConfig,
    calculator: Any = None,
    *,
    resume: bool = False,
    report: Callable[[str], None] = print,
) -> Learned:
    """Learns a force field from a reference calculator, without supervision.

    Thermal structures about the given ones are labelled and a committee is trained. Then, round by
    round: walkers move by the model and stop where the committee disagrees; structures drawn evenly
    from their dynamics, which measure the error before they are trained on, and uncertain ones are
    labelled; the members are trained further. At the end a model is trained from random weights and
    measured in further fresh structures of its own dynamics.

    The folder ``config.output`` then holds model.sikff, report.html, data.xyz (the labels), and
    labels.jsonl, to which every label is appended as it comes.

    Args:
        config: the run.
        calculator: any ASE calculator; None: as ``config.calculator`` says.
        resume: go on in the output folder, or begin if there is nothing yet.
        report: called with each line for the user.

    Raises:
        FileNotFoundError, ValueError: for files, settings or a calculator that cannot be used.
        CalculationFailed: if more than half of the labels of a round fail, with the message of the
            calculator.
        LabelsMissingError: if labels are to come from a folder and are not there yet.
        BlockingIOError: if another run has the folder.
    """
    system, reference = _prepare(config, calculator)
    config.output.mkdir(parents=True, exist_ok=True)
    advice = "wait until it has ended, end it, or choose another output"
    with closing(reference), lock(config.output, advice) as note:
        if note:
            report(note)
        has_run = (config.output / NAME).is_file()
        if has_run and not resume:
            raise ValueError(
                f"{str(config.output)!r} already holds a run; resume it (--resume) or choose "
                "another output"
            )
        for name in WRITTEN:
            clear_unfinished(config.output / name)
        _write_config(config)
        with closing(LabelLog(config.output / LABELS)) as log:
            state = State.read(config.output) if has_run else State()
            return Learner(config, system, reference, log, state, report).run()


def _prepare(config: LearnConfig, calculator: Any) -> tuple[System, Reference]:
    """The system and its reference, checked before anything is written.

    Raises:
        FileNotFoundError, ValueError: for what cannot be used.
    """
    starts = read_starts(config)
    spec = config.calculator
    reference: Reference
    if calculator is not None:
        check_calculator(calculator, "calculator")
        reference = InProcess(calculator)
    elif spec is None:
        raise ValueError("calculator is missing; expected {name: ...} or {folder: ...}")
    elif spec.folder is not None:
        reference = JobFolder(spec.folder, spec.result)
    elif spec.workers > 1:
        reference = InWorkers(spec)
    else:
        reference = InProcess(make_calculator(spec))
    if config.surface is not None:
        system = SurfaceSystem(config.surface, starts, config.model, config.hottest)
        return system, SurfaceReference(reference, system)
    return FreeSystem(starts, strains=config.ensemble == "npt"), reference


def _write_config(config: LearnConfig) -> None:
    with complete(config.output / "learn.yaml") as path:
        text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
        path.write_text(text, encoding="utf-8")
