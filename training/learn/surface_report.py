"""The part of the report of a learning run that is of molecules on a surface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from sikff.forcefield import load

from ..evaluation.adsorption_figure import draw_map
from ..evaluation.place_grid import PlaceGrid
from .html_parts import make_image, make_table
from .state import State

TOLERATED = 0.010  # eV, error of an adsorption energy
NOT_IN_MODEL = """
<h2>What is not in the model</h2><p>Atoms of the slab do not move and take no energy; steps, defects
and other terminations of the surface, more molecules than structures had, and energies further up
the wall than surface.wall are not in the data.</p>
"""


def describe_surface(state: State, model: Path) -> str:
    """Sites, the map of places with the committee's deviations, the floor of a model without
    places, and what is not in the model, as HTML.

    Args:
        state: at the end of a run.
        model: path of the force field.
    """
    result = state.result
    parts = ["<h2>Places on the surface</h2>"]
    floor = result.get("flat_floor")
    if floor is not None:
        parts.append(
            f"<p>A model that sees heights alone would have an error of at least {floor:.3g} meV/Å "
            "in the structures of the last measure: the spread of this model's forces over places "
            "of the same height and orientation, weighted by exp(-E/kT).</p>"
        )
    parts.append(make_table(("site", "adsorption energy"), result.get("more", [])))
    if "map" in result:
        parts.append(
            "<p>The lowest energy with the centre of the molecule at each place, over heights, the "
            "molecule rigid as relaxed at the sites; and how far the committee deviates there.</p>"
        )
        parts.append(make_image(_draw_maps(result["map"], model)))
    return "".join(parts) + NOT_IN_MODEL


def warn_of_places(result: dict[str, Any]) -> list[str]:
    """Warnings of adsorption energies that are off, and of molecules that fall apart, in words."""
    found = []
    error = result.get("site_error")
    if error is not None and error > TOLERATED:
        found.append(
            f"adsorption energies at sites are up to {1000 * error:.0f} meV off the reference: "
            "resume with a lower target, which trains on these structures as well"
        )
    broken, total = result.get("broken", (0, 0))
    if broken:
        found.append(_describe_breaking(broken, total))
    return found


def _describe_breaking(broken: int, total: int) -> str:
    return (
        f"in {broken} of {total} labelled structures above the surface a bond is broken: with this "
        "reference the molecule dissociates. The dynamics end where an atom has left the others, "
        "so the model is of the molecule and of the way there, not of its parts far apart"
    )


def _draw_maps(maps: dict[str, Any], path: Path) -> Figure:
    model = load(path)
    (wallpaper,) = model.environment.config.wallpapers
    normal = model.environment.constants["normal"]
    figure = Figure((9, 3.6))
    axes = figure.subplots(1, 2)
    grid = PlaceGrid(wallpaper, len(maps["energies"]))
    for each, name, label in (
        (axes[0], "energies", "lowest energy (meV)"),
        (axes[1], "deviations", "deviation of the committee (meV)"),
    ):
        draw_map(each, grid, normal, 1000 * np.array(maps[name]), label)
    figure.tight_layout()
    return figure
