"""The ``sikff symmetry`` command."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DEFAULT = "(default: %(default)s)"
VECTOR = ("X", "Y", "Z")


def add_parser(commands: Any) -> None:
    """Adds ``symmetry`` to the subcommands of a parser; :func:`run` runs it."""
    words = "which symmetry group, about which axis, a dataset or a force field has"
    command = commands.add_parser(
        "symmetry", help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    command.add_argument(
        "source",
        type=Path,
        metavar="DATA_OR_MODEL",
        help="labelled structures, moving particles (as sikff nbody data writes them), or a .sikff "
        "file",
    )
    command.add_argument(
        "--structures", type=Path, metavar="FILE", help="on which a force field is measured"
    )
    command.add_argument(
        "--groups", nargs="+", metavar="G", help="candidates (default: the usual ones)"
    )
    command.add_argument(
        "--axis", type=float, nargs=3, metavar=VECTOR, help="of the groups (default: to be found)"
    )
    command.add_argument(
        "--plane-origin",
        type=float,
        nargs=3,
        metavar=VECTOR,
        help="a point of a plane across the axis that holds the structures, Å (default: no plane)",
    )
    command.add_argument(
        "--minutes",
        type=float,
        default=1.0,
        metavar="M",
        help=f"of each training on structures; 0: no trainings {DEFAULT}",
    )
    command.add_argument(
        "--epochs",
        type=int,
        default=8,
        metavar="N",
        help=f"of each training on moving particles; 0: no trainings {DEFAULT}",
    )
    command.add_argument(
        "--threshold",
        type=float,
        default=2e-3,
        metavar="T",
        help=f"relative change that counts as none, for labels are not exact {DEFAULT}",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help=f"{DEFAULT}")
    for name in ("energy", "forces"):
        command.add_argument(
            f"--{name}-key",
            metavar="KEY",
            help=f"name of the label (default: REF_{name} or {name})",
        )
    command.add_argument(
        "--output",
        type=Path,
        default=Path("."),
        metavar="FOLDER",
        help=f"where symmetry.png goes {DEFAULT}",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    command.add_argument("--quiet", action="store_true", help="show no progress")


def run(options: argparse.Namespace) -> None:
    """Finds the symmetry, prints it and draws it.

    Raises:
        FileNotFoundError, ValueError: for what cannot be used.
    """
    import logging

    from ..data.labels import LabelKeys
    from ..evaluation.evaluate import write_json
    from ..evaluation.plots import save_figure
    from ..symmetry.find import find_symmetry
    from ..symmetry.findings import draw
    from ..symmetry.settings import Search

    search = Search(
        groups=tuple(options.groups) if options.groups else None,
        axis=tuple(options.axis) if options.axis else None,
        plane_origin=tuple(options.plane_origin) if options.plane_origin else None,
        minutes=options.minutes,
        epochs=options.epochs,
        threshold=options.threshold,
        seed=options.seed,
    )
    keys = LabelKeys(options.energy_key, options.forces_key)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)

    def report(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    found = find_symmetry(options.source, options.structures, search, keys, report)
    picture = options.output / "symmetry.png"
    save_figure(draw(found), picture)
    if options.json is not None:
        write_json(options.json, found.result)
    print(*found.lines, sep="\n")
    print(f"wrote {', '.join(map(str, filter(None, [picture, options.json])))}")
