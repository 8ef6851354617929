"""``sikff md``: molecular dynamics of a structure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from ..console import check_output_paths, counted, print_table, progress_bar
from ..simulation.settings import MDSettings
from .simulated_structure import SimulatedStructures

if TYPE_CHECKING:
    import numpy as np

AVERAGED = ("temperature_K", "epot_eV", "volume_A3", "pressure_GPa")  # columns of the log


class MDArguments(SimulatedStructures, MDSettings):
    """Arguments of ``sikff md``."""

    new_momenta: bool = False
    """draw momenta, also if START has some"""
    trajectory: Path | None = None
    """a frame for each log row: .traj, .xyz or .extxyz (default: none)"""
    log: Path = Path("md.csv")
    """energies and temperature, CSV; a plot of them goes beside it, and the restart file. With
    --all the files of a structure have its number in their names, md-0.csv, and there is no plot"""
    go_on: bool = Field(False, alias="continue")
    """go on from the restart file beside the log: repeat the command that was interrupted with this
    option, or with more --steps. The result is that of a run that was not interrupted"""

    @property
    def restart(self) -> Path:
        """The restart file, beside the log."""
        return self.log.parent / f"{self.log.stem}.restart"


def run(settings: MDArguments) -> None:
    """Runs molecular dynamics; writes a log, its plot and a trajectory."""
    from ..evaluation.plots import energy_drift, picture_may_fail, read_log, save_figure
    from ..simulation.md import run_md

    if settings.every_structure:
        return _run_all(settings)
    log, restart = settings.log, settings.restart
    picture = log.parent / f"{log.stem}.png"
    written = [log, picture, restart, *filter(None, [settings.trajectory])]
    if len({path.resolve() for path in written}) < len(written):
        raise ValueError(
            "two of log, its plot, restart file and trajectory have one name: "
            f"{', '.join(map(str, written))}"
        )
    overwrite = settings.overwrite or settings.go_on
    check_output_paths(written, overwrite, inputs=[*settings.models, settings.structure])
    atoms = settings.read()
    if settings.new_momenta:
        atoms.set_array("momenta", None)
    atoms.get_forces()  # errors of the calculator come before the progress bar
    if atoms.has("momenta") and not (settings.quiet or settings.go_on):
        print(f"starts with the momenta of {settings.structure}: {atoms.get_temperature():.4g} K")
    with progress_bar(total=settings.steps, unit="step", disable=settings.quiet) as bar:
        summary = run_md(
            atoms,
            settings,
            log,
            settings.trajectory,
            on_step=lambda step: bar.update(step - bar.n),
            restart=restart,
            go_on=settings.go_on,
        )
    written.remove(picture)  # until it is there
    table = read_log(log)
    with picture_may_fail(picture):
        save_figure(energy_drift(table, len(atoms)), picture)
        written.insert(1, picture)
    print_table(summary)
    _print_averages(table, settings)
    print(f"wrote {', '.join(map(str, written))}")


def _print_averages(table: Mapping[str, np.ndarray], settings: MDSettings) -> None:
    """Prints means and their errors, without what the log shows of the equilibration."""
    from ..simulation.averages import average

    spaced = table["step"] % settings.every == 0  # all but perhaps the last row
    interval = settings.every * settings.timestep / 1000
    print("without equilibration:")
    for name in AVERAGED:
        if name not in table:
            continue
        series = table[name][spaced]
        found = average(series)
        text = f"{found.mean:.6g}"
        if found.is_short:
            text += ", too few independent samples for an error"
        else:
            count = (len(series) - found.start) / found.inefficiency
            text += f" ± {found.error:.2g} ({count:.0f} independent samples"
            text += f" after {found.start * interval:.3g} ps)"
        print(f"  {name:26s} {text}")


def _run_all(settings: MDArguments) -> None:
    """Moves all structures of the file in batches."""
    from ..simulation.together import numbered, run_md_together

    evaluator, structures = settings.read_all()
    files = [settings.log, settings.restart, *filter(None, [settings.trajectory])]
    count = len(structures)
    written = [numbered(path, n, count) for n in range(count) for path in files]
    overwrite = settings.overwrite or settings.go_on
    check_output_paths(written, overwrite, inputs=[*settings.models, settings.structure])
    if settings.new_momenta:
        for atoms in structures:
            atoms.set_array("momenta", None)
    total = settings.steps * count
    with progress_bar(total=total, unit="step", disable=settings.quiet) as bar:
        done = [0] * count

        def show(n: int, step: int) -> None:
            bar.update(step - done[n])
            done[n] = step

        outcomes = run_md_together(
            evaluator,
            structures,
            settings,
            settings.batch_size,
            settings.log,
            settings.trajectory,
            settings.restart,
            settings.go_on,
            show,
        )
    summaries = {n: each for n, each in enumerate(outcomes) if isinstance(each, dict)}
    names = list(next(iter(summaries.values()), {}))
    print("  ".join(["structure", *names]))
    for n, summary in summaries.items():
        print("  ".join([f"{n:9d}", *(f"{summary[name]:{len(name)}.6g}" for name in names)]))
    print(f"wrote {written[0]} ... {written[-1]}")
    failed = [f"structure {n}: {each}" for n, each in enumerate(outcomes) if n not in summaries]
    if failed:
        raise ValueError(f"{len(failed)} of {counted(count, 'structure')} failed; {failed[0]}")
