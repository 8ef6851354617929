"""Molecular dynamics and relaxations of many structures, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import ase

from sikff.calculators.lockstep import run_together
from sikff.calculators.structure_evaluator import StructureEvaluator

from .md import run_md
from .relax import relax
from .settings import MDSettings, RelaxationSettings

Result = TypeVar("Result")


def relax_together(
    evaluator: StructureEvaluator,
    structures: Sequence[ase.Atoms],
    settings: RelaxationSettings,
    batch_size: int,
    on_end: Callable[[int], Any] = lambda n: None,
) -> list[bool | Exception]:
    """Relaxes structures in place, as `relax` does, so many at a time.

    Args:
        on_end: called with the number of a structure when it is done.

    Returns:
        Of each: whether its forces are below ``settings.fmax``, or the error that ended it.
    """
    if settings.optimiser == "auto":  # bfgs diagonalises longer than a batch takes for a structure
        settings = settings.model_copy(update={"optimiser": "lbfgs"})

    def work(n: int, atoms: ase.Atoms) -> bool:
        try:
            return relax(atoms, settings)
        finally:
            on_end(n)

    return _in_batches(evaluator, structures, work, batch_size)


def run_md_together(
    evaluator: StructureEvaluator,
    structures: Sequence[ase.Atoms],
    settings: MDSettings,
    batch_size: int,
    log: Path | None = None,
    trajectory: Path | None = None,
    restart: Path | None = None,
    go_on: bool = False,
    on_step: Callable[[int, int], Any] = lambda n, step: None,
) -> list[dict[str, float] | Exception]:
    """Moves structures, each as `run_md` does, so many at a time.

    The seed of a structure is that of the settings plus its number, and its files have its number
    in their names (:func:`numbered`).

    Args:
        go_on: go on where each structure has a restart file with steps to do.
        on_step: called with the number of a structure and of the steps that it has done.

    Returns:
        Of each: its summary, or the error that ended it.
    """

    def work(n: int, atoms: ase.Atoms) -> dict[str, float]:
        def of_it(path: Path | None) -> Path | None:
            return None if path is None else numbered(path, n, len(structures))

        return run_md(
            atoms,
            settings.model_copy(update={"seed": settings.seed + n}),
            of_it(log),
            of_it(trajectory),
            on_step=lambda step: on_step(n, step),
            restart=of_it(restart),
            go_on=go_on,
        )

    return _in_batches(evaluator, structures, work, batch_size)


def numbered(path: Path, n: int, count: int) -> Path:
    """The file of the n-th of so many structures: md-07.csv for md.csv."""
    return path.with_name(f"{path.stem}-{n:0{len(str(count - 1))}d}{path.suffix}")


def _in_batches(
    evaluator: StructureEvaluator,
    structures: Sequence[ase.Atoms],
    work: Callable[[int, ase.Atoms], Result],
    batch_size: int,
) -> list[Result | Exception]:
    found: list[Result | Exception] = []
    for start in range(0, len(structures), batch_size):
        batch = structures[start : start + batch_size]

        def of_batch(n: int, atoms: ase.Atoms, start: int = start) -> Result:
            return work(start + n, atoms)

        found += run_together(evaluator, batch, of_batch)
    return found
