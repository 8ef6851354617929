"""The ``sikff`` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sikff.training.arguments import parse
from sikff.training.studies.molecules import command as molecules
from sikff.training.studies.nbody import command as nbody
from sikff.training.studies.shapes import command as shapes
from sikff.training.symmetry import command as symmetry

if TYPE_CHECKING:
    import ase

    from sikff.forcefield import ForceFieldConfig
    from sikff.training.config import DataConfig

INTERRUPTED = 130  # as shells count Ctrl-C
UNREAD = 141  # as shells count a reader that went away: sikff info model.sikff | head -1


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a subcommand.

    Returns:
        0; 2 after input that could not be used, said in one sentence on stderr; 130 after Ctrl-C.
    """
    options = parse(arguments)
    try:
        return _run(options)
    except KeyboardInterrupt as interrupt:
        why = str(interrupt) or "what was written so far is kept"
        print(f"sikff: interrupted; {why}", file=sys.stderr)
        return INTERRUPTED


def _run(options: Namespace) -> int:
    from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError
    from pydantic import ValidationError
    from torch import OutOfMemoryError

    commands = {
        "train": _train,
        "data": _data,
        "evaluate": _evaluate,
        "info": _info,
        "md": _md,
        "relax": _relax,
        "symmetry": symmetry.run,
        "nbody": nbody.run,
        "qm9": molecules.run,
        "shapes": shapes.run,
    }
    try:
        commands[options.command](options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in it
        return UNREAD
    except ValidationError as error:
        from sikff.training.config import sentence

        problem = sentence(error)
    except (
        ValueError,
        OSError,
        FloatingPointError,
        CalculatorError,
        PropertyNotImplementedError,
    ) as error:
        problem = str(error)
    except (MemoryError, OutOfMemoryError) as error:
        problem = f"out of memory, take smaller batches or structures: {error}"
    print(f"sikff: {' '.join(problem.split())}", file=sys.stderr)
    return 2


def _train(options: Namespace) -> None:
    from sikff.training.config import read_config

    config = read_config(options.config, [*options.overrides, *_start_overrides(options)])
    if options.restrict is not None and config.start is None:
        raise ValueError("--restrict needs a trained model; name it with --from MODEL")

    import torch

    from sikff.training.fit import fit
    from sikff.training.plots import read_log

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet = options.quiet
    report = (lambda line: None) if quiet else print
    try:
        model = fit(config, resume=options.resume, progress=not quiet, report=report)
    except SystemExit as end:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt("--resume goes on after the last whole epoch") from end
    log = read_log(config.output / "log.csv")
    best = log["valid_loss"].argmin()
    for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_a"):
        if key in log:
            report(f"{key} {log[key][best]:.4g} (validation, epoch {int(log['epoch'][best])})")
    report(f"wrote {model}")


def _start_overrides(options: Namespace) -> list[str]:
    """What --from and the options that go with it say, as overrides of the configuration."""
    given = {
        "start.model": None if options.start is None else str(options.start),
        "start.freeze_vacuum": options.freeze_vacuum or None,
        "model.group": options.restrict,
    }
    return [f"{key}={json.dumps(value)}" for key, value in given.items() if value is not None]


def _data(options: Namespace) -> None:
    from sikff.training.checks import check_labels, check_units
    from sikff.training.data import read_labels
    from sikff.training.dataset import read_structures
    from sikff.training.report import describe
    from sikff.training.statistics import isolated_energies

    data = _data_config(options)
    structures, isolated = read_structures(options.data)
    report = describe(structures, data)
    print(f"{len(structures.atoms)} structures, {len(isolated.atoms)} isolated atoms")
    print(*report.lines, sep="\n")
    labels = read_labels(structures, data, list(report.labels))
    check_labels(structures, labels)
    check_units(structures, labels, isolated_energies([isolated], data))


def _data_config(options: Namespace) -> DataConfig:
    from sikff.training.config import DataConfig

    return DataConfig(
        train=tuple(options.data),
        energy_key=options.energy_key,
        forces_key=options.forces_key,
        stress_key=options.stress_key,
    )


def _evaluate(options: Namespace) -> None:
    from sikff.calculators.models import chosen_device
    from sikff.forcefield import load
    from sikff.training.data import read_frames
    from sikff.training.evaluate import evaluate, write_json
    from sikff.training.plots import parity, save_figure

    device, data = chosen_device(options.device), _data_config(options)
    paths = [options.model, *options.committee]
    models = [load(path, device, options.dtype) for path in paths]
    evaluation = evaluate(models, read_frames(options.data), data, options.batch_size)
    print(*evaluation.lines, sep="\n")
    if options.json is not None:
        write_json(options.json, evaluation.metrics)
    folder = options.plots or Path(options.json or ".").parent
    title = ", ".join(path.name for path in paths)
    save_figure(parity(evaluation, title), folder / "parity.png")
    print(f"wrote {folder / 'parity.png'}")


def _info(options: Namespace) -> None:
    import yaml

    from sikff.forcefield import load
    from sikff.forcefield.files import read_header

    model = load(options.model)
    config, weights = model.config, sum(weight.numel() for weight in model.parameters())
    origin = config.frame.plane_origin
    plane = "plane" if config.frame.slit_width is None else "slit"
    surfaces = f" ({', '.join(config.frame.surfaces)})" if config.frame.surfaces else ""
    frame = [
        "a uniform electric field" if config.frame.field else "",
        f"a {plane} through {list(origin)} Å{surfaces}" if origin else "",
    ]
    types = f", restricted from {config.type_group}" if config.type_group else ""
    vacuum = f", {config.vacuum_group} without the frame" if config.vacuum_group else ""
    print(f"{options.model}: {config.group} force field for {', '.join(config.elements)}")
    _print_table(
        {
            "group": f"{config.group} about {list(config.axis)}{types}{vacuum}",
            "frame": " and ".join(filter(None, frame)) or "none",
            "cutoff": f"{config.cutoff:g} Å",
            "weights": f"{weights} in {str(model.dtype).removeprefix('torch.')}",
            "file format": f"version {read_header(options.model)['format_version']}",
        }
    )
    for title, section in (
        ("model", config.model_dump(mode="json")),
        ("provenance", model.provenance),
    ):
        print()
        print(
            yaml.safe_dump(
                {title: section}, sort_keys=False, allow_unicode=True, default_flow_style=None
            ),
            end="",
        )


def _md(options: Namespace) -> None:
    from tqdm import tqdm

    from sikff.training.md import MDSettings, run_md
    from sikff.training.plots import energy_drift, read_log, save_figure

    settings = MDSettings(**{name: getattr(options, name) for name in MDSettings.model_fields})
    log = options.log
    picture = log.parent / f"{log.stem}.png"
    written = [log, picture, *filter(None, [options.trajectory])]
    if len({path.resolve() for path in written}) < len(written):
        raise ValueError(
            f"two of log, its plot and trajectory have one name: {', '.join(map(str, written))}"
        )
    _refuse_to_replace(written, options.overwrite)
    atoms = _start(options, [options.model, *options.committee])
    with _plain_warnings(), tqdm(total=settings.steps, unit="step", disable=options.quiet) as bar:
        summary = run_md(
            atoms,
            settings,
            log,
            options.trajectory,
            on_step=lambda step: bar.update(step - bar.n),
        )
    save_figure(energy_drift(read_log(log), len(atoms)), picture)
    _print_table(summary)
    print(f"wrote {', '.join(map(str, written))}")


def _relax(options: Namespace) -> None:
    from sikff.training.md import relax, write_structure

    _refuse_to_replace([options.output], options.overwrite)
    atoms = _start(options, options.model)
    report = None if options.quiet else "-"
    try:
        with _plain_warnings():
            done = relax(
                atoms, options.fmax, options.steps, options.optimiser, options.cell, report
            )
    except KeyboardInterrupt:
        write_structure(options.output, atoms)
        raise
    write_structure(options.output, atoms)
    if not done:
        raise ValueError(
            f"not below {options.fmax:g} eV/Å after {options.steps} steps; wrote the structure "
            f"reached to {str(options.output)!r}"
        )


def _start(options: Namespace, model: Path | list[Path]) -> ase.Atoms:
    """The structure to move, with its constraints, what acts on it and the calculator."""
    from sikff.calculators import SIKFFCalculator
    from sikff.training.constraints import constrain
    from sikff.training.md import read_structure

    atoms = read_structure(options.structure)
    constrain(atoms, options.constraints)
    skin = {} if options.skin is None else {"skin": options.skin}
    where = {"device": options.device, "dtype": options.dtype}
    atoms.calc = SIKFFCalculator(model, compile=options.compile, **where, **skin)
    axis = _axis(options, atoms.calc.models[0].config)
    given = {"surface_origin": options.surface_origin, "surface": options.surface}
    given["electric_field"] = None if options.field is None else _field(options.field, axis)
    atoms.info |= {key: value for key, value in given.items() if value is not None}
    return atoms


def _axis(options: Namespace, config: ForceFieldConfig) -> Sequence[float] | None:
    """The direction of a field given as one number: the model's axis, where it has one."""
    import numpy as np

    own = config.axis if config.symmetry_group.lie_dimension < 3 else None
    if own is None or options.axis is None:
        return options.axis or own
    sizes = np.linalg.norm(own) * np.linalg.norm(options.axis)
    if np.linalg.norm(np.cross(own, options.axis)) > 1e-6 * sizes:
        raise ValueError(
            f"--axis is {list(options.axis)}, but the axis of the model is {list(own)}; turn the "
            "structure, or take a model with this axis or of O(3)"
        )
    return options.axis


def _field(field: Sequence[float], axis: Sequence[float] | None) -> Sequence[float]:
    if len(field) == 3:
        return field
    if len(field) != 1 or axis is None:
        raise ValueError(
            f"--field is {' '.join(map(str, field))}; expected three components, or one number "
            "with --axis, which only models with an axis of their own can do without"
        )
    size = math.hypot(*axis)
    return [field[0] * component / size for component in axis]


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings on one line each, without the line of code."""

    def show(message: Warning | str, *_: object, **__: object) -> None:
        print(f"sikff: warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def _refuse_to_replace(paths: Sequence[Path], overwrite: bool) -> None:
    there = [str(path) for path in paths if path.exists()]
    if there and not overwrite:
        raise ValueError(f"{', '.join(there)} exists; choose another name or add --overwrite")


def _print_table(values: Mapping[str, object]) -> None:
    for key, value in values.items():
        print(f"{key:28s} {format(value, '.4g') if isinstance(value, float) else value}")
