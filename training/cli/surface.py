"""``sikff surface``: the crystal surface of a slab."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from ..section import Positive
from .arguments import CommandSettings, Metavar, Positional


class SurfaceSettings(CommandSettings):
    """Arguments of ``sikff surface``."""

    slab: Annotated[Path, Positional("SLAB")]
    """a file; its last structure is the slab, without molecules, periodic along the surface"""
    side: Literal["top", "bottom"] = "top"
    """the surface that is meant; the third cell vector points to the top"""
    tolerance: Positive = 0.02
    """atoms closer than this to the image of another one are the same, Å"""
    depth: Positive | None = None
    """how far below the outermost atom atoms count for the symmetry, Å (default: all)"""
    output: Annotated[Path, Metavar("PICTURE")] = Path("surface.png")
    """a picture of the cell; its format follows the suffix"""


def run(settings: SurfaceSettings) -> None:
    """Prints what was found, and the settings of a model above this surface, and draws it."""
    from ..console import check_output_paths
    from ..data.slab import find_surface
    from ..evaluation.plots import save_figure
    from ..evaluation.surface_report import SurfaceReport, draw_surface
    from ..slab_settings import SlabConfig

    check_output_paths([settings.output], overwrite=True, inputs=[settings.slab])
    given = SlabConfig(
        slab=settings.slab,
        slab_side=settings.side,
        slab_tolerance=settings.tolerance,
        slab_depth=settings.depth,
    )
    report = SurfaceReport(find_surface(given), settings.side, settings.tolerance)
    print(*report.lines, sep="\n")
    save_figure(draw_surface(report), settings.output)
    print(f"wrote {settings.output}")
