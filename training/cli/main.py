"""The ``sikff`` command. Each subcommand imports what it needs when it runs."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import (
    plain_warnings,
    print_table,
    progress_bar,
    refuse_to_replace,
)
from . import molecules, nbody, shapes, simulate, symmetry
from .arguments import parse

if TYPE_CHECKING:
    from ..data.labels import LabelKeys

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
        "predict": _predict,
        "info": _info,
        "md": simulate.md,
        "relax": simulate.relax,
        "symmetry": symmetry.run,
        "nbody": nbody.run,
        "qm9": molecules.run,
        "shapes": shapes.run,
    }
    try:
        with plain_warnings():
            commands[options.command](options)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is left in it
        return UNREAD
    except ValidationError as error:
        from ..config import sentence

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
    from ..config import read_config

    config = read_config(options.config, [*options.overrides, *_start_overrides(options)])
    if options.restrict is not None and config.start is None:
        raise ValueError("--restrict needs a trained model; name it with --from MODEL")

    import torch

    from sikff.forcefield.model_file import read_header

    from ..fitting.fit import fit

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    quiet = options.quiet
    report = (lambda line: None) if quiet else print
    try:
        model = fit(config, resume=options.resume, progress=not quiet, report=report)
    except SystemExit as end:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt("--resume goes on after the last whole epoch") from end
    found = read_header(model)["provenance"]["validation"]
    for key in ("energy_mae_mev_per_atom", "force_mae_mev_per_a"):
        if key in found:
            report(f"{key} {found[key]:.4g} (validation, epoch {found['epoch']})")
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
    from ..data.baselines import isolated_energies
    from ..data.check_labels import check_labels
    from ..data.check_units import check_units
    from ..data.reading import read_structures
    from ..data.report import describe
    from ..data.structures import split_isolated

    keys = _label_keys(options)
    structures, isolated = split_isolated(read_structures(options.data))
    structures = structures.with_labels(keys)
    print(f"{len(structures)} structures, {len(isolated)} isolated atoms")
    print(*describe(structures).lines, sep="\n")
    names = structures.label_names
    structures.check_labels_complete(names, partial=names)
    if len(structures.having("energy")) < len(structures):
        print("units and labels are not checked: that takes energies of all structures")
        return
    check_labels(structures)
    check_units(structures, isolated_energies([isolated], keys))


def _label_keys(options: Namespace) -> LabelKeys:
    from ..data.labels import LabelKeys

    return LabelKeys(options.energy_key, options.forces_key, options.stress_key)


def _evaluate(options: Namespace) -> None:
    from sikff.calculators.models import chosen_device
    from sikff.forcefield import load

    from ..data.reading import read_structures
    from ..evaluation.evaluate import evaluate, write_json
    from ..evaluation.plots import parity, save_figure

    device, keys = chosen_device(options.device), _label_keys(options)
    paths = [options.model, *options.committee]
    models = [load(path, device, options.dtype) for path in paths]
    evaluation = evaluate(models, read_structures(options.data), keys, options.batch_size)
    print(*evaluation.lines, sep="\n")
    if options.json is not None:
        write_json(options.json, evaluation.metrics)
    folder = options.plots or Path(options.json or ".").parent
    title = ", ".join(path.name for path in paths)
    picture = folder / f"parity_{options.data[0].stem}.png"  # beside that of the validation
    save_figure(parity(evaluation, title), picture)
    print(f"wrote {picture}")


def _predict(options: Namespace) -> None:
    from sikff.calculators.models import chosen_device
    from sikff.forcefield import load

    from ..data.labels import copy_results
    from ..data.reading import read_structures
    from ..evaluation.predict import predict, spread
    from ..simulation.structure_files import write_structures

    if options.output.suffix not in (".xyz", ".extxyz"):  # others drop what belongs to atoms
        raise ValueError(f"{str(options.output)!r}: expected a name in .xyz or .extxyz")
    paths = [options.model, *options.committee]
    refuse_to_replace([options.output], options.overwrite, read=paths)
    device, structures = chosen_device(options.device), read_structures(options.data)
    models = [load(path, device, options.dtype) for path in paths]
    total = len(structures)
    with progress_bar(total=total, unit="structure", disable=options.quiet) as bar:
        try:
            found = predict(models, structures, options.batch_size, on_batch=bar.update)
        except KeyboardInterrupt as interrupt:
            raise KeyboardInterrupt("nothing was written") from interrupt
    for atoms in found:
        copy_results(atoms, _label_keys(options))
    write_structures(options.output, found)
    if len(models) > 1:
        print_table(spread(found))
    print(f"wrote {options.output}, {total} structure{'s'[: total != 1]}")


def _info(options: Namespace) -> None:
    import yaml

    from sikff.forcefield import load
    from sikff.forcefield.model_file import read_header

    model = load(options.model)
    config, weights = model.config, sum(weight.numel() for weight in model.parameters())
    origin = config.environment.plane_origin
    plane = "plane" if config.environment.slit_width is None else "slit"
    surfaces = f" ({', '.join(config.environment.surfaces)})" if config.environment.surfaces else ""
    frame = [
        "a uniform electric field" if config.environment.field else "",
        f"a {plane} through {list(origin)} Å{surfaces}" if origin else "",
    ]
    types = f", restricted from {config.type_group}" if config.type_group else ""
    vacuum = f", {config.vacuum_group} without the frame" if config.vacuum_group else ""
    print(f"{options.model}: {config.group} force field for {', '.join(config.elements)}")
    print_table(
        {
            "group": f"{config.group} about {list(config.axis)}{types}{vacuum}",
            "environment": " and ".join(filter(None, frame)) or "none",
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
