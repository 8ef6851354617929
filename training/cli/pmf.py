"""``sikff pmf``: the potential of mean force of a molecule on a surface."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import check_output_paths, progress_bar
from ..section import Count, Positive
from .arguments import Metavar
from .surface_molecule import SurfaceMolecule


class PMFSettings(SurfaceMolecule):
    """Arguments of ``sikff pmf``."""

    temperature: Annotated[Positive, Metavar("K")]
    """temperature, K"""
    height: Annotated[Positive | None, Metavar("H")] = None
    """a molecule counts up to this height, Å (default: the range of the surface in MODEL)"""
    samples: Count = 2048
    """heights and orientations at each place of the map, not for single atoms"""
    trajectory: tuple[Path, ...] = ()
    """trajectories of MOLECULE, or of several, at this temperature: where they were is compared"""
    discard: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """share of each trajectory that is left out at its start"""
    output: Annotated[Path, Metavar("FOLDER")] = Path("pmf")
    """folder of tables and a figure"""


def run(settings: PMFSettings) -> None:
    """Integrates the potential of mean force of the rigid molecule, compares it with trajectories;
    prints, draws and writes it."""
    from ..evaluation.mean_force import from_trajectory, integrate
    from ..evaluation.mean_force_files import FILES, describe, draw_mean_force, save_tables
    from ..evaluation.plots import picture_may_fail, save_figure
    from ..evaluation.rigid_samples import energies_of
    from ..evaluation.trajectories import read_trajectories

    output = settings.output
    inputs = [*settings.models, settings.molecule, *settings.trajectory]
    check_output_paths([output / name for name in FILES], settings.overwrite, inputs)
    adsorbate = settings.read()
    highest = settings.height or adsorbate.reach
    temperature, observed = settings.temperature, None
    if settings.trajectory:
        frames = read_trajectories(settings.trajectory, settings.discard, temperature)
        observed = from_trajectory(adsorbate, frames, temperature, highest, settings.grid)
    with progress_bar(unit="place", disable=settings.quiet) as bar:
        found = integrate(
            adsorbate,
            energies_of(adsorbate),
            temperature,
            highest,
            settings.grid,
            settings.samples,
            on_place=bar.update,
        )
    print(*describe(found, observed), sep="\n")
    output.mkdir(parents=True, exist_ok=True)
    written = save_tables(output, found, observed)
    picture = output / "pmf.png"
    with picture_may_fail(picture):
        save_figure(draw_mean_force(adsorbate, found, observed), picture)
        written.append(picture)
    print(f"wrote {', '.join(map(str, written))}")
