"""What the ``sikff`` command takes: its subcommands, their arguments and the words of --help."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from sikff import __version__

from . import molecules, nbody, shapes, symmetry

DESCRIPTION = """\
Molecular-dynamics force fields, equivariant under any compact group G <= O(3).

A run from data to dynamics:
  sikff train config.yaml              writes run/model.sikff
  sikff evaluate run/model.sikff test.xyz
  sikff md run/model.sikff start.xyz --temperature 300 --trajectory md.traj
"""
KEYS = ("energy", "forces", "stress")  # of labels, in --energy-key and so on
DEFAULT = "(default: %(default)s)"
CONSTRAINTS = (
    "fix=0-3,7 or fix=Pt: atoms that do not move, counted from 0; bonds=4-5,6-7: pairs that keep "
    "their distance; com: the centre of mass does not move. Those of START stay in force"
)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"sikff: {' '.join(message.split())}; see {self.prog} --help\n")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What was asked for; ``command`` names the subcommand.

    Raises:
        SystemExit: with code 2 for arguments that are not understood, with 0 after --help.
    """
    top = _parser()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments.count("--") > 1:  # of which argparse makes an empty list
        top.error("-- may come once only")
    options, rest = top.parse_known_args(arguments)
    if options.command == "train":  # argparse takes none of these after an option
        options.overrides += [each for each in rest if "=" in each and each[0] != "-"]
        rest = [each for each in rest if each not in options.overrides]
    if rest:
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def _parser() -> Parser:
    top = Parser(
        "sikff", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"sikff {__version__}")
    commands = top.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for add, name, words in (
        (_train, "train", "fit a force field to labelled structures"),
        (_data, "data", "what is in files of labelled structures, and whether it makes sense"),
        (_evaluate, "evaluate", "compare a force field with labels"),
        (_predict, "predict", "label structures with a force field or the mean of several"),
        (_info, "info", "what is in a model file"),
        (_md, "md", "molecular dynamics of a structure"),
        (_relax, "relax", "minimise the energy of a structure"),
    ):
        add(commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}."))
    for module in (symmetry, nbody, molecules, shapes):
        module.add_parser(commands)
    return top


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "config",
        type=Path,
        metavar="CONFIG",
        help="YAML file; its keys: sikff.training.config.TrainConfig",
    )
    command.epilog = "The smallest CONFIG: {data: {train: train.xyz}, max_minutes: 20}"
    command.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="instead of what CONFIG says, such as model.group=SO(2)",
    )
    command.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="MODEL",
        help="a trained model to start from; elements, E0s and sizes are those of its file",
    )
    command.add_argument(
        "--restrict",
        metavar="GROUP",
        help="make it a model of this subgroup first, which predicts the same and may then learn "
        "what breaks the symmetry, such as C_inf_v",
    )
    command.add_argument(
        "--freeze-vacuum",
        action="store_true",
        help="with model.vacuum_group: keep the weights of the vacuum network",
    )
    command.add_argument(
        "--resume", action="store_true", help="go on with the run in the output folder, if any"
    )
    command.add_argument("--quiet", action="store_true", help="say nothing but errors")


def _evaluate(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help="model file")
    _labelled(command)
    _committee(command, "what is compared is the mean over all")
    command.add_argument("--json", type=Path, metavar="FILE", help="write the errors there as well")
    command.add_argument(
        "--plots",
        type=Path,
        metavar="FOLDER",
        help="where the parity plot, parity_DATA.png, goes (default: beside the --json file, or "
        "else here)",
    )
    _batches(command)
    _where(command)


def _predict(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help="model file")
    command.add_argument(
        "data", type=Path, nargs="+", metavar="DATA", help="structures, as ASE reads them"
    )
    command.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="the structures with energy, forces and, of crystals, stress, in extended XYZ; labels "
        "of DATA are left out",
    )
    for name in KEYS:
        command.add_argument(
            f"--{name}-key", metavar="KEY", help=f"write the {name} under this name as well"
        )
    _committee(
        command, "labels are the mean over all, energy_std and forces_std say how they differ"
    )
    _batches(command)
    _overwrite(command)
    _where(command)


def _batches(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--batch-size", type=_count, default=16, metavar="N", help=f"structures at a time {DEFAULT}"
    )


def _data(command: argparse.ArgumentParser) -> None:
    _labelled(command)


def _committee(command: argparse.ArgumentParser, effect: str) -> None:
    command.add_argument(
        "--committee",
        type=Path,
        nargs="+",
        default=[],
        metavar="MODEL",
        help=f"more models: {effect}",
    )


def _labelled(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "data", type=Path, nargs="+", metavar="DATA", help="labelled structures, as ASE reads them"
    )
    for name in KEYS:
        command.add_argument(
            f"--{name}-key",
            metavar="KEY",
            help=f"name of the label (default: REF_{name}, or else what ASE reads as {name})",
        )


def _info(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help="model file")


def _md(command: argparse.ArgumentParser) -> None:
    _simulated(command)
    command.add_argument(
        "--ensemble",
        choices=("nve", "nvt", "npt"),
        default="nve",
        help=f"nve: velocity Verlet, nvt: Langevin, npt: Langevin also of the volume {DEFAULT}",
    )
    command.add_argument(
        "--steps", type=int, default=1000, metavar="N", help=f"time steps {DEFAULT}"
    )
    command.add_argument(
        "--timestep", type=float, default=0.5, metavar="FS", help=f"length of a step, fs {DEFAULT}"
    )
    command.add_argument(
        "--temperature",
        type=float,
        default=300.0,
        metavar="K",
        help=f"of the thermostat and, if START has no momenta, of those drawn for it, K {DEFAULT}",
    )
    command.add_argument(
        "--new-momenta", action="store_true", help="draw momenta, also if START has some"
    )
    command.add_argument(
        "--friction",
        type=float,
        default=0.01,
        metavar="F",
        help=f"of the thermostat, 1/fs; the barostat is ten times slower {DEFAULT}",
    )
    command.add_argument(
        "--pressure", type=float, default=0.0, metavar="P", help=f"of npt, GPa {DEFAULT}"
    )
    command.add_argument(
        "--every", type=int, default=10, metavar="N", help=f"steps between log rows {DEFAULT}"
    )
    command.add_argument(
        "--seed", type=int, default=0, metavar="N", help=f"of momenta and thermostat {DEFAULT}"
    )
    command.add_argument(
        "--trajectory",
        type=Path,
        metavar="FILE",
        help="a frame for each log row: .traj, .xyz or .extxyz (default: none)",
    )
    command.add_argument(
        "--log",
        type=Path,
        default=Path("md.csv"),
        metavar="FILE",
        help=f"energies and temperature, CSV; a plot of them goes beside it {DEFAULT}",
    )
    _committee(command, "forces are the mean over all, their standard deviation is logged")


def _relax(command: argparse.ArgumentParser) -> None:
    _simulated(command)
    command.add_argument(
        "--output",
        type=Path,
        default=Path("relaxed.extxyz"),
        metavar="FILE",
        help=f"the relaxed structure, in a format that ASE writes {DEFAULT}",
    )
    command.add_argument(
        "--fmax", type=float, default=0.01, metavar="F", help=f"largest force left, eV/Å {DEFAULT}"
    )
    command.add_argument(
        "--steps", type=_count, default=500, metavar="N", help=f"most steps {DEFAULT}"
    )
    command.add_argument(
        "--optimiser", choices=("bfgs", "fire"), default="bfgs", help=f"method {DEFAULT}"
    )
    command.add_argument("--cell", action="store_true", help="relax the cell too")
    command.add_argument(
        "--pressure", type=float, default=0.0, metavar="P", help=f"with --cell, GPa {DEFAULT}"
    )
    _committee(command, "energies, forces and stress are the mean over all")


def _simulated(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path, metavar="MODEL", help="model file")
    command.add_argument(
        "structure",
        type=Path,
        metavar="START",
        help="a file; its last structure, with its momenta, is the start",
    )
    command.add_argument("--constraints", nargs="+", default=[], metavar="SPEC", help=CONSTRAINTS)
    command.add_argument(
        "--field",
        type=float,
        nargs="+",
        metavar="E",
        help="uniform electric field, V/Å: three components, or one along the axis "
        "(default: the electric_field of START, or none)",
    )
    command.add_argument(
        "--axis",
        type=_direction,
        metavar="AXIS",
        help="direction of --field E: x, y, z or three numbers such as 1,2,2; a model with an axis "
        "of its own knows no other (default: that axis)",
    )
    command.add_argument(
        "--surface-origin",
        type=float,
        nargs=3,
        metavar=("X", "Y", "Z"),
        help="a point of the surface, Å (default: the surface_origin of START, or that of MODEL)",
    )
    command.add_argument(
        "--surface",
        metavar="NAME",
        help="which of the surfaces that MODEL knows, or vacuum (default: the surface of START)",
    )
    command.add_argument(
        "--skin",
        type=float,
        metavar="A",
        help="neighbours are searched so far beyond the cutoff, Å; changes the speed only "
        "(default: the calculator's)",
    )
    command.add_argument(
        "--compile",
        action="store_true",
        help="use torch.compile: minutes at the start, then faster steps; needs a C++ compiler",
    )
    _overwrite(command)
    _where(command)


def _overwrite(command: argparse.ArgumentParser) -> None:
    command.add_argument("--overwrite", action="store_true", help="replace files that exist")
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _where(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help=f"auto, cpu or cuda {DEFAULT}")
    command.add_argument(
        "--dtype",
        choices=("float32", "float64"),
        help="of the weights (default: as stored in MODEL)",
    )


def _direction(text: str) -> tuple[float, ...]:
    if text in ("x", "y", "z"):
        return tuple(float(text == axis) for axis in "xyz")
    try:
        direction = tuple(float(number) for number in text.split(","))
    except ValueError:
        direction = ()
    if len(direction) != 3 or not 0 < math.hypot(*direction) < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not x, y, z or three numbers such as 1,2,2")
    return direction


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) < 10**9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
