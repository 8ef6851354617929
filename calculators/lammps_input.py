"""Input files of LAMMPS in which one line stands for a force field."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ARGUMENTS = ["all", "external", "pf/callback", "1", "1"]
LINE = f"fix ff {' '.join(ARGUMENTS)}"
COMMENT = "# sikff"
_IS_LINE = re.compile(r"^\s*(?:#\s*sikff\s*$|fix\s+\S+\s+\S+\s+external\b)")


class InputFile(NamedTuple):
    """The commands of an input file before and after the line of the force field."""

    before: str
    line: str  # a comment, or a fix external
    after: str


def split_input(text: str, name: str) -> InputFile:
    """Splits a file at its line ``fix ID all external pf/callback 1 1`` or comment ``# sikff``.

    Args:
        text: of the file.
        name: of the file, for errors.

    Raises:
        ValueError: if there is no such line, or several.
    """
    lines = text.splitlines(keepends=True)
    found = [n for n, line in enumerate(lines) if _IS_LINE.match(line)]
    if len(found) != 1:
        numbers = f" ({', '.join(str(n + 1) for n in found)})" if found else ""
        raise ValueError(
            f"{name} has {len(found) or 'no'} lines{numbers} that stand for the force field; "
            f"expected one, after the atoms and their masses: `{LINE}` or the comment `{COMMENT}`"
        )
    (n,) = found
    return InputFile("".join(lines[:n]), lines[n].strip(), "".join(lines[n + 1 :]))


def run_input(lmp: Any, text: str, name: str, attach: Callable[..., Any]) -> None:
    """Runs an input file of LAMMPS with a force field in place of one line of it.

    What stands before and after the line is executed as two files, so that loops, labels and
    ``jump SELF`` work within each of them.

    Args:
        lmp: a ``lammps.lammps``; every process calls this.
        text: of the file.
        name: of the file, for errors.
        attach: called at the line; `fix` is the name of the fix, if the line has one.

    Raises:
        ValueError: as :func:`split_input`, for a fix external with other arguments, or a command
            that LAMMPS refuses.
    """
    before, line, after = split_input(text, name)
    with tempfile.TemporaryDirectory(
        prefix="sikff-"
    ) as folder:  # one each, the first one's is read
        _run_file(lmp, before, Path(folder) / "before")
        if line.startswith("#"):
            attach()
        else:
            _, fix, *arguments = lmp.expand(line).split()
            if arguments != ARGUMENTS:
                raise ValueError(f"{name} has the line `{line}`; expected `{LINE}`")
            attach(fix=fix)
        _run_file(lmp, after, Path(folder) / "after")


def _run_file(lmp: Any, commands: str, path: Path) -> None:
    path.write_text(commands, encoding="utf-8")
    try:
        lmp.file(str(path))
    except Exception as error:  # the class that LAMMPS raises
        raise ValueError(f"LAMMPS refuses the input: {' '.join(str(error).split())}") from error
