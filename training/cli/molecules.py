"""The ``sikff qm9`` command: one training, or with ``table`` many."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DEFAULT = "(default: %(default)s)"
VARIANTS = ("analytic", "implicit", "bonds", "bonds+atoms", "escnn")


def add_parser(commands: Any) -> None:
    """Adds ``qm9`` to the subcommands of a parser; :func:`run` runs it."""
    words = "properties of molecules: kernels that see bonds and elements"
    command = commands.add_parser("qm9", help=words, description=f"{words[0].upper()}{words[1:]}.")
    command.set_defaults(run=run_one)
    command.add_argument(
        "--target", default="homo", metavar="NAME", help=f"one of QM9's twelve {DEFAULT}"
    )
    command.add_argument(
        "--variant",
        default="bonds+atoms",
        metavar="NAME",
        help=f"{', '.join(VARIANTS)} (extra escnn) {DEFAULT}",
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help=f"{DEFAULT}")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    _shared(command)
    table = command.add_subparsers(metavar="[table]").add_parser(
        "table",
        help="variants x targets x seeds: files, a figure and a table; goes on where it was",
        description="Variants x targets x seeds: one file each, a figure and a table.",
    )
    table.set_defaults(run=run_table)
    table.add_argument("--targets", nargs="+", default=("homo",), metavar="NAME", help=f"{DEFAULT}")
    table.add_argument(
        "--variants", nargs="+", default=VARIANTS[:4], metavar="NAME", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--seeds", type=int, nargs="+", default=(0, 1, 2), metavar="N", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--output", type=Path, default=Path("qm9"), metavar="FOLDER", help=f"{DEFAULT}"
    )
    _shared(table)


def run(options: argparse.Namespace) -> None:
    """Runs what was asked for.

    Raises:
        FileNotFoundError: something of the data is not there.
        ValueError: settings or data that cannot be used.
    """
    options.run(options)


def run_one(options: argparse.Namespace) -> None:
    """One training."""
    from ..evaluation.evaluate import write_json
    from ..studies.molecules.property_study import run

    study = _study(options, target=options.target, variant=options.variant, seed=options.seed)
    outcome = run(study, _dataset(options), device=options.device, progress=not options.quiet)
    result = outcome.result
    for name in ("target", "variant", "unit", "test_mae", "valid_mae", "median_mae", "n_train"):
        _show(name, result[name])
    for name in ("n_test", "n_parameters", "seconds", "invariance_error"):
        _show(name, result[name])
    if options.json is not None:
        write_json(options.json, result)
        print(f"wrote {options.json}")


def run_table(options: argparse.Namespace) -> None:
    """Many trainings, a figure and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.molecules import property_table as table
    from ..studies.table import write_text

    studies = table.grid(_study(options), options.variants, options.targets, options.seeds)
    folder = options.output
    results = table.run_all(
        studies,
        _dataset(options),
        folder / "cells",
        device=options.device,
        progress=not options.quiet,
    )
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.figure(results), folder / "errors.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def _show(name: str, value: Any) -> None:
    print(f"{name:28s} {format(value, '.4g') if isinstance(value, float) else value}")


def _dataset(options: argparse.Namespace) -> Any:
    from ..studies.molecules.qm9_dataset import SOURCE, read_dataset

    if options.data is None:
        raise ValueError(
            "got no molecules; give --data gdb9.sdf, which has bonds, or the XYZ files published "
            f"at {SOURCE}"
        )
    return read_dataset(options.data, keep_uncharacterised=options.keep_uncharacterised)


def _study(options: argparse.Namespace, **settings: Any) -> Any:
    """The settings that both commands have, and others."""
    from ..studies.molecules.property_study import Study

    return Study(
        group=options.group,
        graph=options.graph,
        cutoff=options.cutoff,
        epochs=options.epochs,
        n_train=options.train,
        n_valid=options.valid,
        channels=options.channels,
        order=options.order,
        convolutions=options.convolutions,
        kernel_layers=options.kernel_layers,
        **settings,
    )


def _shared(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="gdb9.sdf, or the XYZ files of QM9 in a folder or a tar file",
    )
    command.add_argument(
        "--keep-uncharacterised",
        action="store_true",
        help="keep the molecules that uncharacterized.txt lists",
    )
    command.add_argument("--group", default="O(3)", metavar="G", help=f"of the network {DEFAULT}")
    command.add_argument(
        "--graph",
        choices=("covalent", "radius"),
        default="covalent",
        help=f"which atoms are neighbours {DEFAULT}",
    )
    command.add_argument(
        "--cutoff", type=float, default=4.0, metavar="R", help=f"of a radius graph, Å {DEFAULT}"
    )
    for name, words in (("train", "training"), ("valid", "validation")):
        command.add_argument(
            f"--{name}",
            type=int,
            metavar="N",
            help=f"molecules for {words} (default: as many as of QM9, or the same part of fewer)",
        )
    for name, number, words in (
        ("epochs", 30, "passes over the training molecules"),
        ("channels", 16, "copies of each irrep in the features"),
        ("order", 1, "highest frequency of the features"),
        ("convolutions", 3, "number of them"),
        ("kernel-layers", 2, "of implicit kernels"),
    ):
        command.add_argument(
            f"--{name}", type=int, default=number, metavar="N", help=f"{words} {DEFAULT}"
        )
    command.add_argument("--device", default="cpu", help=f"cpu or cuda {DEFAULT}")
    command.add_argument("--quiet", action="store_true", help="show no progress")
