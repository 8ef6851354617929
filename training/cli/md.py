"""``sikff md``: molecular dynamics of a structure."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from ..console import check_output_paths, print_table, progress_bar
from ..simulation.settings import MDSettings
from .simulated_structure import SimulatedStructure


class MDArguments(SimulatedStructure, MDSettings):
    """Arguments of ``sikff md``."""

    new_momenta: bool = False
    """draw momenta, also if START has some"""
    trajectory: Path | None = None
    """a frame for each log row: .traj, .xyz or .extxyz (default: none)"""
    log: Path = Path("md.csv")
    """energies and temperature, CSV; a plot of them goes beside it, and the restart file"""
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
    with picture_may_fail(picture):
        save_figure(energy_drift(read_log(log), len(atoms)), picture)
        written.insert(1, picture)
    print_table(summary)
    print(f"wrote {', '.join(map(str, written))}")
