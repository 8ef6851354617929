"""The ``sikff`` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = """\
Molecular-dynamics force fields, equivariant under any compact group G <= O(3).

A run from data to dynamics:
  sikff train config.yaml              writes run/model.sikff
  sikff evaluate run/model.sikff test.xyz
  sikff md run/model.sikff start.xyz --temperature 300 --trajectory md.traj
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Returns:
        0, or 2 after input that could not be used, said in one sentence on stderr.
    """
    from ase.calculators.calculator import CalculatorError
    from pydantic import ValidationError

    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except ValidationError as error:
        from sikff.training.config import sentence

        print(f"sikff: {sentence(error)}", file=sys.stderr)
    except (ValueError, OSError, FloatingPointError, CalculatorError) as error:
        print(f"sikff: {error}", file=sys.stderr)
    else:
        return 0
    return 2


def _train(options: argparse.Namespace) -> None:
    from sikff.training.config import read_config

    config = read_config(options.config, options.overrides)

    import torch

    from sikff.training.fit import fit
    from sikff.training.plots import learning_curves, read_log, save_figure

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet = options.quiet
    report = (lambda line: None) if quiet else print
    model = fit(config, resume=options.resume, progress=not quiet, report=report)
    log = read_log(config.output / "log.csv")
    save_figure(learning_curves(log), config.output / "learning_curves.png")
    best = log["valid_loss"].argmin()
    for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_a"):
        if key in log:
            report(f"{key} {log[key][best]:.4g} (validation, epoch {int(log['epoch'][best])})")
    report(f"wrote {model}")


def _evaluate(options: argparse.Namespace) -> None:
    from sikff.forcefield import load
    from sikff.training.config import DataConfig
    from sikff.training.data import read_frames
    from sikff.training.evaluate import evaluate, write_json

    model = load(options.model, _device(options.device), options.dtype)
    data = DataConfig(
        train=tuple(options.data),
        energy_key=options.energy_key,
        forces_key=options.forces_key,
        stress_key=options.stress_key,
    )
    evaluation = evaluate(model, read_frames(options.data), data, options.batch_size)
    for key, value in evaluation.metrics.items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {number:.4g}" for name, number in value.items())
        print(f"{key:28s} {value if isinstance(value, str | int) else format(value, '.4g')}")
    if options.json is not None:
        write_json(options.json, evaluation.metrics)
    if options.plots is not None:
        from sikff.training.plots import parity, save_figure

        save_figure(parity(evaluation, options.model.name), options.plots / "parity.png")


def _info(options: argparse.Namespace) -> None:
    import yaml

    from sikff.forcefield import load

    model = load(options.model)
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{options.model}: {weights} weights in {str(model.dtype).removeprefix('torch.')}")
    for title, section in (
        ("model", model.config.model_dump(mode="json")),
        ("provenance", model.provenance),
    ):
        print(yaml.safe_dump({title: section}, sort_keys=False, allow_unicode=True), end="")


def _md(options: argparse.Namespace) -> None:
    from tqdm import tqdm

    from sikff.calculators import SIKFFCalculator
    from sikff.training.md import MDSettings, read_structure, run_md
    from sikff.training.plots import energy_drift, read_log, save_figure

    names = MDSettings.model_fields
    settings = MDSettings(**{name: getattr(options, name) for name in names})
    atoms = read_structure(options.structure)
    atoms.calc = SIKFFCalculator(options.model, device=options.device, dtype=options.dtype)
    with tqdm(total=settings.steps, unit="step", disable=options.quiet) as bar:
        summary = run_md(
            atoms,
            settings,
            options.log,
            options.trajectory,
            on_step=lambda step: bar.update(step - bar.n),
        )
    save_figure(energy_drift(read_log(options.log), len(atoms)), options.log.with_suffix(".png"))
    for key, value in summary.items():
        print(f"{key:28s} {value:.4g}")


def _relax(options: argparse.Namespace) -> None:
    from sikff.calculators import SIKFFCalculator
    from sikff.training.md import read_structure, relax, write_structure

    atoms = read_structure(options.structure)
    atoms.calc = SIKFFCalculator(options.model, device=options.device, dtype=options.dtype)
    report = None if options.quiet else "-"
    done = relax(atoms, options.fmax, options.steps, options.optimiser, options.cell, report)
    write_structure(options.output, atoms)
    if not done:
        raise ValueError(
            f"not below {options.fmax:g} eV/Å after {options.steps} steps; wrote the structure "
            f"reached to {str(options.output)!r}"
        )


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("sikff", description=DESCRIPTION, formatter_class=plain)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="fit a force field to labelled structures")
    train.set_defaults(run=_train)
    train.add_argument("config", type=Path, help="YAML file, see TrainConfig")
    train.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="such as model.group=SO(2)"
    )
    train.add_argument("--resume", action="store_true", help="go on from last.ckpt")
    train.add_argument("--quiet", action="store_true", help="say nothing but errors")

    evaluate = commands.add_parser("evaluate", help="compare a force field with labels")
    evaluate.set_defaults(run=_evaluate)
    evaluate.add_argument("model", type=Path)
    evaluate.add_argument("data", type=Path, nargs="+", help="files that ASE reads")
    evaluate.add_argument("--json", type=Path, help="write the errors there as well")
    evaluate.add_argument("--plots", type=Path, metavar="FOLDER", help="write parity plots there")
    evaluate.add_argument("--batch-size", type=int, default=16)
    for name in ("energy", "forces", "stress"):
        evaluate.add_argument(f"--{name}-key", metavar="KEY", help=f"name of the label {name}")
    _where(evaluate)

    info = commands.add_parser("info", help="what is in a model file")
    info.set_defaults(run=_info)
    info.add_argument("model", type=Path)

    md = commands.add_parser("md", help="molecular dynamics of a structure")
    md.set_defaults(run=_md)
    _simulated(md)
    md.add_argument("--ensemble", choices=("nve", "nvt"), default="nve")
    md.add_argument("--steps", type=int, default=1000)
    md.add_argument("--timestep", type=float, default=0.5, help="fs (0.5)")
    md.add_argument("--temperature", type=float, default=300.0, help="K (300)")
    md.add_argument("--friction", type=float, default=0.01, help="of Langevin, 1/fs (0.01)")
    md.add_argument("--every", type=int, default=10, help="steps between log rows and frames")
    md.add_argument("--seed", type=int, default=0)
    md.add_argument("--trajectory", type=Path, help="frames: .traj, .xyz or .extxyz")
    md.add_argument("--log", type=Path, default=Path("md.csv"), help="energies; a plot goes beside")

    relax = commands.add_parser("relax", help="minimise the energy of a structure")
    relax.set_defaults(run=_relax)
    _simulated(relax)
    relax.add_argument("--output", type=Path, default=Path("relaxed.extxyz"))
    relax.add_argument("--fmax", type=float, default=0.01, help="eV/Å (0.01)")
    relax.add_argument("--steps", type=int, default=500)
    relax.add_argument("--optimiser", choices=("bfgs", "fire"), default="bfgs")
    relax.add_argument("--cell", action="store_true", help="relax the cell too")
    return parser


def _simulated(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path)
    command.add_argument("structure", type=Path, help="the last structure of this file")
    command.add_argument("--quiet", action="store_true", help="show no progress")
    _where(command)


def _where(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto, cpu or cuda")
    command.add_argument("--dtype", choices=("float32", "float64"), help="of the weights")
