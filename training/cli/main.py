"""The ``sikff`` command: which commands there are, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from signal import SIGINT
from typing import Any, get_type_hints

from pydantic import BaseModel, ValidationError

from sikff import __version__

from ..console import plain_warnings, usable_streams
from ..read_settings import sentence
from .arguments import Parser
from .interrupts import Interrupts

# A command is the function `run` of the module of its name; the annotation of its argument is the
# pydantic model from which arguments and --help are made. Those of studies are made in studies.py.
COMMANDS = {
    "train": "fit a force field to labelled structures",
    "learn": "from structures and a calculator to a force field, unattended",
    "data": "what is in files of labelled structures, and whether it makes sense",
    "evaluate": "compare a force field with labels",
    "predict": "label structures with a force field or the mean of several",
    "info": "what is in a model file",
    "md": "molecular dynamics of a structure",
    "relax": "minimise the energy of a structure",
    "ipi": "compute for i-PI (path integrals), or print an input for it",
    "lammps": "an input file of LAMMPS with a force field, on one process or on many",
    "check": "lattice, elastic constants, phonons, defects and dynamics of a crystal",
    "export": "a force field as a file that needs no sikff: compiled by torch, or for metatomic",
    "symmetry": "which symmetry group, about which axis, a dataset or a force field has",
    "adsorption": "where a molecule sits on a surface, how it vibrates there and how it hops",
    "pmf": "potential of mean force of a molecule on a surface, integrated and from MD",
    "surface": "the lattice, wallpaper group and sites of a slab, for a surface without its atoms",
    "nbody": "particles above a plane or in a field: which symmetry learns their motion",
    "nbody table": "models x stiffness x seeds: one file each, resumable, figures and a table",
    "nbody data": "trajectories as a file, for sikff symmetry and for other programs",
    "qm9": "properties of molecules: kernels that see bonds and elements",
    "qm9 table": "variants x targets x seeds: one file each, resumable, a figure and a table",
    "shapes": "shapes that stand upright: which symmetry tells them apart",
    "shapes table": "groups x kernels x seeds: one file each, resumable, a figure and a table",
}
STUDIES = ("nbody", "qm9", "shapes")
DESCRIPTION = """\
Molecular-dynamics force fields, equivariant under any compact group G <= O(3).

A run from data to dynamics:
  sikff train config.yaml              writes run/model.sikff
  sikff evaluate run/model.sikff test.xyz
  sikff md run/model.sikff start.xyz --temperature 300 --trajectory md.traj
"""
TRACEBACK = "SIKFF_TRACEBACK"  # environment variable, the same as --traceback
BROKEN_PIPE = 141  # as shells count a reader that went away: sikff info model.sikff | head -1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        0, or the status that the command returns; 2 after an error, which is reported in one
        sentence on stderr (with --traceback or SIKFF_TRACEBACK=1 below its traceback); 128 + the
        number of a signal that ended it: 130 after Ctrl-C, 143 after SIGTERM.

    Raises:
        SystemExit: with code 2 for arguments that are not understood, with 0 after --help.
    """
    with usable_streams(), Interrupts() as interrupts:
        why = "what was written so far is kept"
        try:
            return _run(sys.argv[1:] if arguments is None else arguments, interrupts)
        except KeyboardInterrupt as interrupt:
            why = str(interrupt) or why
        except Exception:  # such as that of a connection to a process that was interrupted as well
            if interrupts.received is None:
                raise
        signal = interrupts.received
        by = "" if signal in (None, SIGINT) else f" by {signal.name}"
        print(f"sikff: interrupted{by}; {why}", file=sys.stderr)
        return 128 + (signal or SIGINT)


def _run(arguments: Sequence[str], interrupts: Interrupts) -> int:
    """Runs a command and reports its errors, but for those that follow from an interrupt."""
    run, show_traceback = parse_command(arguments)
    try:
        with plain_warnings():
            status = run()
        sys.stdout.flush()
        return status or 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in it
        return BROKEN_PIPE
    except Exception as error:
        problem = sentence_of(error)
        if problem is None or interrupts.received is not None:
            raise
        if show_traceback:
            traceback.print_exc()
        print(f"sikff: {' '.join(problem.split())}", file=sys.stderr)
        return 2


def parse_command(arguments: Sequence[str]) -> tuple[Callable[[], Any], bool]:
    """The command with its settings, and whether errors are shown with their traceback.

    Raises:
        SystemExit: with code 2 for arguments that are not understood, with 0 after --help.
    """
    name = " ".join(arguments[:2])
    if name not in COMMANDS:
        top = Parser("sikff", DESCRIPTION, _listed(""))
        top.add_argument("--version", action="version", version=f"sikff {__version__}")
        names = [name for name in COMMANDS if " " not in name]
        top.add_argument("command", choices=names, metavar="COMMAND", help="one of those below")
        name = top.parse_args(arguments[:1]).command
    words = COMMANDS[name]
    parser = Parser(f"sikff {name}", f"{words[0].upper()}{words[1:]}.", _listed(f"{name} "))
    run, model = find_command(name)
    settings, show_traceback = parser.parse_settings(model, arguments[len(name.split()) :])
    from_environment = os.environ.get(TRACEBACK, "0") not in ("", "0")
    return partial(run, settings), show_traceback or from_environment


def find_command(name: str) -> tuple[Callable[[Any], int | None], type[BaseModel]]:
    """The function of a command and the model of its settings; imports the command's module."""
    module = name.split()[0]
    if module in STUDIES:
        from .studies import find_study_command

        return find_study_command(name)
    run = import_module(f".{module}", __package__).run
    return run, get_type_hints(run)["settings"]


def _listed(prefix: str) -> str:
    """The commands that have one word after a prefix, for --help."""
    names = {name: name.removeprefix(prefix) for name in COMMANDS if name.startswith(prefix)}
    lines = [f"  {rest:9s} {COMMANDS[name]}" for name, rest in names.items() if " " not in rest]
    return "\n".join(["commands:", *lines]) if lines else ""


def sentence_of(error: BaseException) -> str | None:
    """What went wrong, for errors that input may cause; None for others."""
    from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError
    from torch import OutOfMemoryError

    if isinstance(error, ValidationError):
        return sentence(error)
    if isinstance(error, MemoryError | OutOfMemoryError):
        return f"out of memory, take smaller batches or structures: {error}"
    if isinstance(error, ValueError) and _raised_elsewhere(error):
        return f"{error}; --traceback shows where"
    expected = (ValueError, OSError, FloatingPointError, CalculatorError)
    if isinstance(error, (*expected, PropertyNotImplementedError)):
        return str(error)
    return None


def _raised_elsewhere(error: Exception) -> bool:
    """Whether another package raised the error, so that its message may not tell what is wrong."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__", "").partition(".")[0] != "sikff"
