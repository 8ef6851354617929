"""Results of many trainings in a table: means over seeds, and their standard deviations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Result = dict[str, Any]
Results = Sequence[Result]


@dataclass(frozen=True)
class TableLayout:
    """What a table shows: a row for each model, a column for each task.

    Attributes:
        measure: entry of the results that is shown.
        row: title of the rows, and the entry that distinguishes them.
        fact: title of the second column, and the entry that is shown there.
        columns: entries that distinguish the other columns.
        title: of a column, from its entries.
        formats: of means, of standard deviations, and of the fact.
        reference: title of a last row, and the entry that is shown there.
        order: names in the order in which rows and columns come; numbers are in rising order.
    """

    measure: str
    row: tuple[str, str]
    fact: tuple[str, str]
    columns: tuple[str, ...]
    title: Callable[..., str]
    formats: tuple[str, str, str]
    reference: tuple[str, str] | None = None
    order: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def sorted(self, results: Iterable[Result]) -> list[Result]:
        """Results in the order of columns, then of rows, then of seeds."""
        return self._sorted(results, *self.columns, *self.order, self.row[1], "seed")

    def _sorted(self, results: Iterable[Result], *entries: str) -> list[Result]:
        def place(entry: str, value: Any) -> tuple[int, Any]:
            names = tuple(self.order.get(entry, ()))
            return names.index(value) if value in names else len(names), value

        return sorted(results, key=lambda r: [place(entry, r[entry]) for entry in entries])

    def markdown(self, results: Results) -> str:
        """The table in Markdown."""
        (row_title, row), (fact_title, fact) = self.row, self.fact
        columns: dict[tuple[Any, ...], list[Result]] = {}
        for result in self.sorted(results):
            columns.setdefault(tuple(result[name] for name in self.columns), []).append(result)
        lines = [
            f"| {row_title} | {fact_title} | {' | '.join(self.title(*c) for c in columns)} |",
            "|---" * (2 + len(columns)) + "|",
        ]
        for name in values(self._sorted(results, *self.order, row), row):
            shown = next(r[fact] for r in results if r[row] == name)
            shown = "" if shown is None else format(shown, self.formats[2])
            cells = [
                self._cell([r[self.measure] for r in column if r[row] == name])
                for column in columns.values()
            ]
            lines.append(f"| {name} | {shown} | {' | '.join(cells)} |")
        if self.reference is not None:
            title, entry = self.reference
            known = [[x for x in values(c, entry) if x is not None] for c in columns.values()]
            if any(known):
                lines.append(f"| {title} | | {' | '.join(map(self._cell, known))} |")
        return "\n".join(lines) + "\n"

    def _cell(self, numbers: Sequence[float]) -> str:
        """The mean and, if there are several numbers, the standard deviation."""
        if not numbers:
            return ""
        mean, spread, _ = self.formats
        text = format(np.mean(numbers), mean)
        return f"{text} ± {np.std(numbers, ddof=1):{spread}}" if len(numbers) > 1 else text


def values(results: Results, name: str) -> list[Any]:
    """The values of an entry without repetition, in order of appearance."""
    return list(dict.fromkeys(result[name] for result in results))
