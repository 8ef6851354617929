"""``sikff check``: properties of a crystal that people look at before they believe a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from ..console import check_output_paths, print_table
from ..properties.settings import CheckSettings
from .arguments import Metavar
from .simulated_structure import SimulatedStructure


class CheckArguments(SimulatedStructure, CheckSettings):
    """Arguments of ``sikff check``."""

    output: Annotated[Path, Metavar("TABLE")] = Path("check.csv")
    """the numbers, CSV; a picture goes beside it"""


def run(settings: CheckArguments) -> None:
    """Computes the properties, prints them, writes a table and a picture."""
    import csv

    from sikff.atomic_write import complete

    from ..evaluation.plots import picture_may_fail, save_figure
    from ..properties.check import check, draw_findings

    table = settings.output
    picture = table.parent / f"{table.stem}.png"
    inputs = [*settings.models, settings.structure]
    check_output_paths([table, picture], settings.overwrite, inputs=inputs)
    report = (lambda line: None) if settings.quiet else (lambda line: print(f"{line} ..."))
    chosen = CheckSettings(**settings.model_dump(include=set(CheckSettings.model_fields)))
    findings = check(settings.read(), chosen, report)
    print_table(findings.table())
    for note in findings.notes:
        print(note)
    with complete(table) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(findings.table().items())
    figure = draw_findings(findings)
    if figure is not None:
        with picture_may_fail(picture):
            save_figure(figure, picture)
    print(f"wrote {table}" + (f", {picture}" if figure is not None else ""))
