"""The ``sikff shapes`` command: one training, or with ``table`` many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DEFAULT = "(default: %(default)s)"
GROUPS = (
    *("SO(2)", "C_inf_v", "D_inf", "C_inf_h", "D_inf_h"),
    *("SO(3)", "O(3)", "Cs", "Ci", "C1"),
)
KERNELS = ("implicit", "analytic", "escnn")


def add_parser(commands: Any) -> None:
    """Adds ``shapes`` to the subcommands of a parser; :func:`run` runs it."""
    words = "shapes that stand upright: which symmetry tells them apart"
    command = commands.add_parser(
        "shapes", help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    command.set_defaults(run=run_one)
    command.add_argument(
        "--group", default="SO(2)", metavar="G", help=f"of the network, about z {DEFAULT}"
    )
    command.add_argument(
        "--kernel",
        choices=KERNELS,
        default="implicit",
        help=f"of two layers, of one, or escnn's (extra escnn) {DEFAULT}",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help=f"{DEFAULT}")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    _shared(command)
    table = command.add_subparsers(metavar="[table]").add_parser(
        "table",
        help="groups x kernels x seeds: one file each, a figure and a table; goes on where it was",
        description="Groups x kernels x seeds: one file each, a figure and a table.",
    )
    table.set_defaults(run=run_table)
    table.add_argument("--groups", nargs="+", default=GROUPS, metavar="G", help=f"{DEFAULT}")
    table.add_argument(
        "--kernels", nargs="+", choices=KERNELS, default=KERNELS[:2], help=f"{DEFAULT}"
    )
    table.add_argument(
        "--seeds", type=int, nargs="+", default=(0, 1, 2), metavar="N", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--output", type=Path, default=Path("shapes"), metavar="FOLDER", help=f"{DEFAULT}"
    )
    _shared(table)


def run(options: argparse.Namespace) -> None:
    """Runs what was asked for.

    Raises:
        OSError: the data cannot be read.
        ValueError: settings or data that cannot be used.
    """
    options.run(options)


def run_one(options: argparse.Namespace) -> None:
    """One training."""
    from ..evaluation.evaluate import write_json
    from ..studies.shapes.shapes_study import run

    study = study_of(options, group=options.group, kernel=options.kernel, seed=options.seed)
    result = run(study, device=options.device, progress=not options.quiet).result
    for name in (
        *("label", "test_accuracy", "bound", "n_classes", "n_parameters", "seconds"),
        *("invariance_group", "invariance_error"),
    ):
        value = result[name]
        shown = format(value, ".4g") if isinstance(value, float) else value
        if value is not None:
            print(f"{name:28s} {shown}")
    if options.json is not None:
        write_json(options.json, result)
        print(f"wrote {options.json}")


def run_table(options: argparse.Namespace) -> None:
    """Many trainings, a figure and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.shapes import shapes_table as table
    from ..studies.table import write_text

    studies = table.grid(study_of(options), options.groups, options.kernels, options.seeds)
    folder = options.output
    results = table.run_all(
        studies, folder / "cells", device=options.device, progress=not options.quiet
    )
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.accuracy_figure(results), folder / "accuracy.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def study_of(options: argparse.Namespace, **settings: Any) -> Any:
    """The settings that both commands have, and others."""
    from ..studies.shapes.shapes_study import Study

    return Study(
        data=options.data,
        n_train=options.train,
        n_valid=options.valid,
        n_test=options.test,
        n_points=options.points,
        n_neighbours=options.neighbours,
        layers=options.layers,
        epochs=options.epochs,
        weights=options.weights,
        **settings,
    )


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        metavar="FOLDER",
        help="of ModelNet-40, aligned: CLASS/train/*.off and CLASS/test/*.off (default: "
        "procedural shapes)",
    )
    for name, number, words in (
        ("train", 40, "training clouds of each class, of a folder at most"),
        ("valid", 10, "validation clouds of each class"),
        ("test", 40, "test clouds of each class, of a folder at most"),
        ("points", 96, "of each cloud"),
        ("neighbours", 16, "points that a point gathers from, itself included"),
        ("layers", 3, "convolutions, of which each halves the points"),
        ("epochs", 30, "passes over the training clouds"),
        ("weights", 20_000, "that a network has, about"),
    ):
        command.add_argument(
            f"--{name}", type=int, default=number, metavar="N", help=f"{words} {DEFAULT}"
        )
    command.add_argument("--device", default="cpu", help=f"cpu or cuda {DEFAULT}")
    command.add_argument("--quiet", action="store_true", help="show no progress")
