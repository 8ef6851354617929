"""``sikff adsorption``: where a molecule sits on a surface, how it vibrates there and hops."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from ..console import check_output_paths, progress_bar
from ..section import Count
from .arguments import Metavar
from .surface_molecule import SurfaceMolecule

FILES = ("sites.json", "structures.xyz", "map.csv", "paths.csv", "adsorption.png")


class AdsorptionSettings(SurfaceMolecule):
    """Arguments of ``sikff adsorption``."""

    starts: Count = 6
    """orientations from which the molecule is relaxed at each place"""
    paths: Annotated[int, Field(ge=0)] = 2
    """number of paths from the lowest minimum to its images, the shortest first"""
    images: Count = 7
    """structures between the ends of a path"""
    output: Annotated[Path, Metavar("FOLDER")] = Path("adsorption")
    """folder of tables, structures and a figure"""


def run(settings: AdsorptionSettings) -> None:
    """Maps sites, finds minima, vibrations and paths; prints, draws and writes them."""
    from ..evaluation.adsorption import study
    from ..evaluation.adsorption_figure import draw_adsorption
    from ..evaluation.plots import picture_may_fail, save_figure

    output, inputs = settings.output, [*settings.models, settings.molecule]
    check_output_paths([output / name for name in FILES], settings.overwrite, inputs)
    adsorbate = settings.read()
    with progress_bar(unit="place", disable=settings.quiet) as bar:
        found = study(
            adsorbate,
            settings.grid,
            settings.starts,
            settings.paths,
            settings.images,
            on_place=bar.update,
        )
    print(*found.lines, sep="\n")
    written = found.save(output)
    picture = output / "adsorption.png"
    with picture_may_fail(picture):
        save_figure(draw_adsorption(found), picture)
        written.append(picture)
    print(f"wrote {', '.join(map(str, written))}")
