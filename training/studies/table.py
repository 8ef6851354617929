"""What the tables of all studies share: results in one file each, that can be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from sikff.atomic_write import complete

from ..evaluation.evaluate import write_json

Results = Sequence[dict[str, Any]]
S = TypeVar("S")


def run_all(
    studies: Sequence[S],
    run: Callable[[S], dict[str, Any]],
    *,
    path: Callable[[S], Path],
    settings: Callable[[S], Mapping[str, Any]],
    words: Callable[[dict[str, Any]], str],
    report: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Results of all studies; those whose file is there are not run again.

    Args:
        studies: what to run.
        run: the result of a study, that can be written as JSON.
        path: of the file of a result.
        settings: what the file must say of a study.
        words: about a result, for the user.
        report: called with a line after each run.

    Raises:
        ValueError: a file that is there is of other settings.
    """
    results = []
    for study in studies:
        file = path(study)
        if file.exists():
            result = json.loads(file.read_text(encoding="utf-8"))
            _check(file, result, json.loads(json.dumps(dict(settings(study)))))
        else:
            result = run(study)
            write_json(file, result)
            report(f"{file.name}: {words(result)}")
        results.append(result)
    return results


def _check(file: Path, result: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    for name, value in settings.items():
        if result.get(name) != value:
            raise ValueError(
                f"{str(file)!r} is of {name} = {result.get(name)}, expected {value}; "
                "choose another folder or remove the file"
            )


def values(results: Results, name: str) -> list[Any]:
    """Without repetition, in order of appearance."""
    return list(dict.fromkeys(result[name] for result in results))


def cell(numbers: Sequence[float], mean: str, spread: str) -> str:
    """The mean, and the standard deviation where there are several, formatted as told."""
    if not numbers:
        return ""
    text = format(np.mean(numbers), mean)
    return f"{text} ± {np.std(numbers, ddof=1):{spread}}" if len(numbers) > 1 else text


def write_text(path: Path, text: str) -> None:
    """Writes a file, which appears when it is complete."""
    with complete(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
