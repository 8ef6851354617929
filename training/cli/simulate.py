"""The subcommands that move atoms: ``sikff md`` and ``sikff relax``."""

from __future__ import annotations

import math
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..console import print_table, progress_bar, refuse_to_replace

if TYPE_CHECKING:
    import ase

    from sikff.forcefield import ForceFieldConfig

RELAXATION = ("fmax", "steps", "optimiser", "cell", "pressure")


def md(options: Namespace) -> None:
    """``sikff md``: writes a log, its plot and a trajectory."""
    from ..evaluation.plots import energy_drift, read_log, save_figure
    from ..simulation.md import MDSettings, run_md

    settings = MDSettings(**{name: getattr(options, name) for name in MDSettings.model_fields})
    log = options.log
    picture = log.parent / f"{log.stem}.png"
    written = [log, picture, *filter(None, [options.trajectory])]
    if len({path.resolve() for path in written}) < len(written):
        raise ValueError(
            f"two of log, its plot and trajectory have one name: {', '.join(map(str, written))}"
        )
    models = [options.model, *options.committee]
    refuse_to_replace(written, options.overwrite, read=[*models, options.structure])
    atoms = _start(options, models)
    if settings.ensemble == "npt":
        _refuse_to_strain(atoms)
    if options.new_momenta:
        atoms.set_array("momenta", None)
    atoms.get_forces()  # what is refused is refused before a bar begins
    if atoms.has("momenta") and not options.quiet:
        print(f"starts with the momenta of {options.structure}: {atoms.get_temperature():.4g} K")
    with progress_bar(total=settings.steps, unit="step", disable=options.quiet) as bar:
        summary = run_md(
            atoms,
            settings,
            log,
            options.trajectory,
            on_step=lambda step: bar.update(step - bar.n),
        )
    save_figure(energy_drift(read_log(log), len(atoms)), picture)
    print_table(summary)
    print(f"wrote {', '.join(map(str, written))}")


def relax(options: Namespace) -> None:
    """``sikff relax``: writes the structure, reached or not."""
    from ..simulation import md as dynamics
    from ..simulation.structure_files import check_format, write_structures

    models = [options.model, *options.committee]
    refuse_to_replace([options.output], options.overwrite, read=models)
    check_format(options.output)
    atoms = _start(options, models)
    atoms.set_array("momenta", None)
    if options.cell:
        _refuse_to_strain(atoms)
    settings = {name: getattr(options, name) for name in RELAXATION}
    try:
        done = dynamics.relax(atoms, **settings, report=None if options.quiet else "-")
    except KeyboardInterrupt:
        write_structures(options.output, atoms)
        raise
    write_structures(options.output, atoms)
    if not done:
        raise ValueError(
            f"not below {options.fmax:g} eV/Å after {options.steps} steps; wrote the structure "
            f"reached to {str(options.output)!r}"
        )
    largest = (atoms.get_forces() ** 2).sum(axis=1).max() ** 0.5
    energy = f"{atoms.get_potential_energy():.6f}"
    print_table({"energy_eV": energy, "largest_force_eV_per_A": float(largest)})
    print(f"wrote {options.output}")


def _start(options: Namespace, models: list[Path]) -> ase.Atoms:
    """The structure to move, with its constraints, what acts on it and the calculator."""
    from sikff.calculators import SIKFFCalculator

    from ..data.labels import without_labels
    from ..simulation.constraints import constrain
    from ..simulation.structure_files import read_structure

    atoms = without_labels(read_structure(options.structure))  # atoms move, labels would not
    constrain(atoms, options.constraints)
    skin = {} if options.skin is None else {"skin": options.skin}
    where = {"device": options.device, "dtype": options.dtype}
    atoms.calc = SIKFFCalculator(models, compile=options.compile, **where, **skin)
    axis = _axis(options, atoms.calc.models[0].config)
    given = {"surface_origin": options.surface_origin, "surface": options.surface}
    given["electric_field"] = None if options.field is None else _field(options.field, axis)
    atoms.info |= {key: value for key, value in given.items() if value is not None}
    return atoms


def _refuse_to_strain(atoms: ase.Atoms) -> None:
    """Refuses to strain a cell across a plane, which would stay where it is."""
    from sikff.forcefield.environment import is_periodic_along

    for config in (model.config for model in atoms.calc.models):
        if config.environment.plane_origin is not None and is_periodic_along(atoms, config.axis):
            raise ValueError(
                "the model sees a plane, which no pressure moves; expected a structure that is not "
                "periodic across it, or a cell that stays as it is"
            )


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
