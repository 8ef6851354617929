"""Potentials of mean force as lines, tables and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import units
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sikff.surface import find_sites

from .adsorbate import Adsorbate
from .adsorption import write_csv
from .adsorption_figure import draw_map
from .mean_force import MeanForce, PlaceMap, largest_difference
from .plots import BLUE, ORANGE, new_figure
from .site_map import describe_point

MEV = 1000.0
WITHIN = 5.0  # kT; places that are higher are seldom visited, and not compared
FILES = ("map.csv", "profile.csv", "pmf.png")


def describe(found: MeanForce, observed: MeanForce | None) -> list[str]:
    """What was found, in words; with what a trajectory shows, if any."""
    lines = [
        f"integrated at {found.temperature:g} K: lowest {MEV * found.vacuum:.1f} meV below vacuum, "
        f"at the height of {found.heights[np.nanargmin(found.profile)]:.2f} Å"
    ]
    if found.places is None:
        return lines
    grid, values, errors = found.places
    lines.append(f"standard error of the map at most {MEV * np.nanmax(errors):.2f} meV")
    for site in find_sites(grid.wallpaper):
        place = site.positions[0]
        index = grid.index(place)
        if index is not None:
            value = f"{MEV * values.flat[index]:.1f} meV above the lowest place"
            lines.append(f"{site.symmetry:5s} {describe_point(place):12s} {value}")
    averaged = found.averaged_places()
    if observed is not None and observed.places is not None and averaged is not None:
        kt = units.kB * found.temperature
        apart, scaled = largest_difference(observed.places, averaged, kt, WITHIN * kt)
        lines.append(
            f"trajectory: up to {WITHIN:g} kT above the lowest place at most {MEV * apart:.1f} meV "
            f"from the integral, {scaled:.1f} standard errors in the mean (root mean square)"
        )
        never = int(np.isnan(observed.places.values).sum())
        if never:
            lines.append(f"{never} of {observed.places.values.size} places were never visited")
    return lines


def save_tables(folder: Path, found: MeanForce, observed: MeanForce | None) -> list[Path]:
    """Writes profile.csv and, of a crystal surface, map.csv; values of a trajectory beside those
    of the integral, whose probabilities are then averaged over the cells of the places too."""
    names = ("F_meV", "error_meV")
    of_md = () if observed is None else ("F_trajectory_meV", "error_trajectory_meV")
    columns = [found.profile, found.errors]
    columns += [] if observed is None else [observed.profile, observed.errors]
    rows = zip(found.heights, *(MEV * each for each in columns), strict=True)
    write_csv(folder / "profile.csv", ("height_A", *names, *of_md), rows)
    written = [folder / "profile.csv"]
    averaged = found.averaged_places()
    if found.places is not None and averaged is not None:
        columns = [found.places.values, found.places.errors]
        if observed is not None and observed.places is not None:
            columns += [averaged.values, observed.places.values, observed.places.errors]
            of_md = ("F_averaged_meV", *of_md)
        rows = zip(*found.places.grid.places.T, *(MEV * c.ravel() for c in columns), strict=True)
        write_csv(folder / "map.csv", ("a", "b", *names, *of_md), rows)
        written.append(folder / "map.csv")
    return written


def draw_mean_force(adsorbate: Adsorbate, found: MeanForce, observed: MeanForce | None) -> Figure:
    """The map of the cell, a line across it, and the profile over the height."""
    figure, axes = new_figure(1 if found.places is None else 3)
    averaged = found.averaged_places()
    if found.places is not None and averaged is not None:
        normal, values = adsorbate.surface.normal, MEV * found.places.values
        draw_map(axes[0], found.places.grid, normal, values, "F (meV)")
        seen = None if observed is None else observed.places
        _draw_lines(axes[1], found.places if seen is None else averaged, seen)
    ax = axes[-1]
    ax.plot(found.heights, MEV * found.profile, color=BLUE, label="integrated, rigid")
    ax.axhline(MEV * found.vacuum, color=BLUE, linestyle=":", linewidth=1, label="vacuum")
    if observed is not None:
        profile, errors = MEV * observed.profile, MEV * observed.errors
        ax.errorbar(observed.heights, profile, errors, fmt=".", color=ORANGE, label="trajectory")
    top = MEV * max(found.vacuum, 5 * units.kB * found.temperature)
    ax.set(xlabel="height (Å)", ylabel="F (meV)", ylim=(-0.05 * top, 1.3 * top))
    ax.set_title(f"{found.temperature:g} K")
    ax.legend(frameon=False)
    return figure


def _draw_lines(ax: Axes, shown: PlaceMap, observed: PlaceMap | None) -> None:
    """F along a and along the diagonal a + b of the cell."""
    n, lattice = shown.grid.n, shown.grid.wallpaper.lattice
    index = np.arange(n + 1) % n
    for name, second, vector, color in (
        ("along a", 0 * index, lattice[0], BLUE),
        ("along a + b", index, lattice.sum(axis=0), ORANGE),
    ):
        along = np.linspace(0, np.linalg.norm(vector), n + 1)
        ax.plot(along, MEV * shown.values[index, second], color=color, label=name)
        if observed is not None:
            values, errors = (MEV * each[index, second] for each in observed[1:])
            ax.errorbar(along, values, errors, fmt=".", color=color)
    points = "" if observed is None else "; points: trajectory"
    ax.set(xlabel="distance (Å)", ylabel="F (meV)", title=f"through the origin{points}")
    ax.legend(frameon=False)
