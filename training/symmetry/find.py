"""From a dataset or a force field to the symmetry group that a model should have."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sikff.forcefield import ForceField, load

from ..data import reading
from ..data.labels import USUAL_KEYS, LabelKeys
from ..data.structures import Structures, split_isolated
from .findings import Findings
from .labels import of_labels
from .models import of_model
from .settings import Search


def find_symmetry(
    source: str | Path | ForceField | Structures,
    structures: str | Path | Structures | None = None,
    search: Search | None = None,
    keys: LabelKeys = USUAL_KEYS,
    report: Callable[[str], None] = lambda line: None,
) -> Findings:
    """Finds the symmetry group, and its axis, of a dataset or of a force field.

    Args:
        source: a force field or its file (``*.sikff``), or labelled structures.
        structures: on which a force field is measured.
        search: how to look.
        keys: label keys.
        report: called with a line before each training.

    Raises:
        FileNotFoundError, ValueError: for files that cannot be used, or data that do not tell.
    """
    start, search = time.perf_counter(), search or Search()
    if isinstance(source, str | Path) and Path(source).suffix == ".sikff":
        source = load(source)
    if isinstance(source, ForceField):
        if structures is None:
            raise ValueError(
                "a force field is measured on structures; give some of its elements (--structures)"
            )
        findings = of_model(source, read_structures(structures), search)
    else:
        findings = of_labels(read_structures(source), search, keys, report)
    return replace(findings, seconds=time.perf_counter() - start)


def read_structures(source: str | Path | Structures) -> Structures:
    """Structures without isolated atoms, which have every symmetry.

    Raises:
        FileNotFoundError, ValueError: a file that cannot be read, or isolated atoms only.
    """
    if not isinstance(source, Structures):
        source = reading.read_structures(source)
    return split_isolated(source)[0]
