"""``sikff learn``: a force field from structures and a calculator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from .arguments import CommandSettings, Positional, StandsAlone

LABELS_MISSING, NOT_REACHED = 3, 4  # exit statuses


class LearnSettings(CommandSettings):
    """Arguments of ``sikff learn``."""

    config: Annotated[Path | None, Positional("CONFIG")] = None
    """YAML file; its keys: sikff.training.learn.config.LearnConfig"""
    overrides: Annotated[tuple[str, ...], Positional("KEY=VALUE")] = ()
    """instead of what CONFIG says, such as target=10"""
    example: Annotated[
        Literal["molecule", "crystal", "surface", "queue"] | None, StandsAlone("molecule")
    ] = None
    """print a configuration with comments, to begin with, and end; of a molecule if no other"""
    resume: bool = False
    """continue the run in the output folder, if any"""
    quiet: bool = False
    """print nothing but errors"""


def run(settings: LearnSettings) -> int:
    """Learns a force field; the exit status is 3 if labels of a queue are not there yet, 4 if the
    budget ended before the target was reached."""
    from ..learn.config import read_learn_config
    from ..learn.examples import EXAMPLES

    if settings.example is not None:
        print(EXAMPLES[settings.example], end="")
        return 0
    if settings.config is None:
        raise ValueError("no configuration; expected a YAML file (--example molecule prints one)")
    config = read_learn_config(settings.config, settings.overrides)

    from ..learn.job_folder import LabelsMissingError
    from ..learn.learn import learn

    report = (lambda line: None) if settings.quiet else _print
    try:
        learned = learn(config, resume=settings.resume, report=report)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt("labels are kept; --resume continues") from interrupt
    except LabelsMissingError as missing:
        report(str(missing))
        return LABELS_MISSING
    report(learned.words)
    report(f"wrote {learned.model} and {config.output / 'report.html'}")
    return 0 if learned.reached else NOT_REACHED


def _print(line: str) -> None:
    print(line, flush=True)
