"""The ``sikff nbody`` command: one training; with ``table`` many; with ``data`` only the data."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

DEFAULT = "(default: %(default)s)"
FIELDS = (0.0, 0.5, 1.0, 2.0, 4.0)
STIFFNESS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 1000.0)
MODELS = (
    *("sik:SO(2)", "sik:C_inf_v", "sik:O(3)", "o3-field", "segnn", "tfn", "egnn", "mpnn"),
    *("linear:SO(2)", "linear:O(3)"),
)


def add_parser(commands: Any) -> None:
    """Adds ``nbody`` to the subcommands of a parser; :func:`run` runs it."""
    words = "particles above a plane or in a field: which symmetry learns their motion"
    command = commands.add_parser(
        "nbody", help=words, description=f"{words[0].upper()}{words[1:]}."
    )
    command.set_defaults(run=run_one)
    command.add_argument("--model", default="sik", metavar="NAME", help=f"kind of model {DEFAULT}")
    command.add_argument(
        "--group", default="SO(2)", metavar="G", help=f"of the models sik and linear {DEFAULT}"
    )
    command.add_argument(
        "--stiffness", type=float, default=10.0, metavar="K", help=f"of the plane {DEFAULT}"
    )
    command.add_argument(
        "--field", type=float, default=1.0, metavar="E", help=f"on charged particles {DEFAULT}"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help=f"{DEFAULT}")
    command.add_argument(
        "--train", type=int, default=3000, metavar="N", help=f"training trajectories {DEFAULT}"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there")
    _shared(command)
    others = command.add_subparsers(metavar="[table | data]")
    _add_data(others)
    table = others.add_parser(
        "table",
        help="models x stiffness x seeds: one file each, goes on where it was, draws the folder",
        description="Models x stiffness x seeds: one file each, goes on where it was. Figures and "
        "table are of all such results in the folder.",
    )
    table.set_defaults(run=run_table)
    table.add_argument("--models", nargs="+", default=MODELS, metavar="NAME[:G]", help=f"{DEFAULT}")
    table.add_argument(
        "--stiffness", type=float, nargs="+", default=STIFFNESS, metavar="K", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--field", type=float, nargs="+", default=FIELDS, metavar="E", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--seeds", type=int, nargs="+", default=(0, 1, 2), metavar="N", help=f"{DEFAULT}"
    )
    table.add_argument(
        "--train",
        type=int,
        nargs="+",
        default=(3000,),
        metavar="N",
        help=f"training trajectories; several numbers draw errors against them {DEFAULT}",
    )
    table.add_argument(
        "--output", type=Path, default=Path("nbody"), metavar="FOLDER", help=f"{DEFAULT}"
    )
    _shared(table)


def _add_data(others: Any) -> None:
    words = "trajectories as a file, for sikff symmetry and for other programs"
    data = others.add_parser("data", help=words, description=f"{words[0].upper()}{words[1:]}.")
    data.set_defaults(run=run_data)
    for name, number, sign, what in (
        ("stiffness", 10.0, "K", "of the plane"),
        ("field", 1.0, "E", "on charged particles"),
    ):
        data.add_argument(
            f"--{name}", type=float, default=number, metavar=sign, help=f"{what} {DEFAULT}"
        )
    data.add_argument("--seed", type=int, default=0, metavar="N", help=f"{DEFAULT}")
    data.add_argument(
        "--train", type=int, default=3000, metavar="N", help=f"number of trajectories {DEFAULT}"
    )
    data.add_argument(
        "--output", type=Path, default=Path("particles.xyz"), metavar="FILE", help=f"{DEFAULT}"
    )
    _of_the_particles(data)


def run(options: argparse.Namespace) -> None:
    """Runs what was asked for.

    Raises:
        ValueError: settings that cannot be used.
    """
    options.run(options)


def run_one(options: argparse.Namespace) -> None:
    """One training."""
    from ..evaluation.evaluate import write_json
    from ..studies.nbody.nbody_study import run

    study = _study(
        options,
        model=options.model,
        group=options.group,
        stiffness=options.stiffness,
        field=options.field,
        seed=options.seed,
        n_train=options.train,
    )
    result = run(study, device=options.device, progress=not options.quiet).result
    for name in ("label", "test_mse", "floor", "n_parameters", "seconds", "equivariance_error"):
        value = result[name]
        shown = format(value, ".4g") if isinstance(value, float) else value
        if value is not None:
            print(f"{name:28s} {shown}")
    if options.json is not None:
        write_json(options.json, result)
        print(f"wrote {options.json}")


def run_table(options: argparse.Namespace) -> None:
    """Many trainings, figures and a table."""
    from ..evaluation.plots import save_figure
    from ..studies.nbody import nbody_table as table
    from ..studies.nbody.nbody_study import STRENGTH
    from ..studies.table import write_text

    base = _study(options)
    strengths = options.stiffness if options.system == "springs" else options.field
    studies = table.grid(base, options.models, strengths, options.seeds, options.train)
    folder = options.output
    cells = folder / "cells"
    table.run_all(studies, cells, device=options.device, progress=not options.quiet)
    results = table.collected(base, cells)
    write_text(folder / "table.md", table.markdown(results))
    save_figure(table.strength_figure(results), folder / f"{STRENGTH[options.system]}.png")
    if len(options.train) > 1:
        save_figure(table.sample_figure(results), folder / "samples.png")
    print(table.markdown(results), end="")
    print(f"wrote {folder}")


def run_data(options: argparse.Namespace) -> None:
    """Trajectories as a file."""
    from ..studies.nbody.nbody_study import trajectories
    from ..studies.nbody.particle_files import write_particles

    study = _study(options, stiffness=options.stiffness, field=options.field, seed=options.seed)
    drawn = trajectories(study, options.train, options.seed)
    write_particles(options.output, drawn, hidden=options.springs == "hidden")
    print(f"wrote {options.output}: {len(drawn)} trajectories")


def _study(options: argparse.Namespace, **settings: Any) -> Any:
    """The settings that all commands have, and others."""
    from ..studies.nbody.nbody_study import Study

    return Study(
        system=options.system,
        springs=options.springs,
        height=not options.no_height,
        epochs=options.epochs,
        n_valid=options.valid,
        n_test=options.test,
        n_particles=options.particles,
        axis=tuple(options.axis),
        weights=options.weights,
        **settings,
    )


def _of_the_particles(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--system",
        choices=("springs", "charged"),
        default="springs",
        help=f"particles between springs above a plane, or charged particles in a field {DEFAULT}",
    )
    command.add_argument(
        "--springs",
        choices=("hidden", "given"),
        default="hidden",
        help=f"whether it is told which particles are joined {DEFAULT}",
    )
    command.add_argument(
        "--particles", type=int, default=5, metavar="N", help=f"in each trajectory {DEFAULT}"
    )
    command.add_argument(
        "--axis",
        type=float,
        nargs=3,
        default=(0.0, 0.0, 1.0),
        metavar=("X", "Y", "Z"),
        help=f"normal of the plane, or direction of the field {DEFAULT}",
    )


def _shared(command: argparse.ArgumentParser) -> None:
    _of_the_particles(command)
    command.add_argument(
        "--no-height", action="store_true", help="do not tell the height above the plane"
    )
    for name, number, words in (
        ("epochs", 200, "passes over the training trajectories, at most, for each of two parts"),
        ("valid", 128, "validation trajectories"),
        ("test", 2000, "test trajectories"),
        ("weights", 60_000, "that a model has, about"),
    ):
        command.add_argument(
            f"--{name}", type=int, default=number, metavar="N", help=f"{words} {DEFAULT}"
        )
    command.add_argument("--device", default="cpu", help=f"cpu or cuda {DEFAULT}")
    command.add_argument("--quiet", action="store_true", help="show no progress")
