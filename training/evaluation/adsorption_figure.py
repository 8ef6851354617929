"""Figures of one molecule above a surface: map of its sites, paths between them, vibrations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .adsorption import MEV, Adsorption
from .hops import Hop
from .place_grid import PlaceGrid
from .plots import BLUE, ORANGE, new_figure, plane_directions
from .site_map import Stationary

Array = np.ndarray

COLOURS = (BLUE, ORANGE, "#4a9a5b", "#8a5aa8")


def draw_adsorption(found: Adsorption, known: dict[str, float] | None = None) -> Figure:
    """The map of the cell with the minima, the paths, and the vibrations of the minima.

    Args:
        known: barriers (meV) to be drawn beside those of the paths, by their names.
    """
    panels = 2 if found.site_map is None or not found.hops else 3
    figure, axes = new_figure(panels if found.site_map is not None else 1)
    if found.site_map is not None:
        draw_map(
            axes[0],
            found.site_map.grid,
            found.adsorbate.surface.normal,
            MEV * found.site_map.energies,
            "lowest energy (meV)",
        )
        for minimum in found.minima[:1]:
            _draw_images(axes[0], found, minimum)
        if found.hops:
            draw_hops(axes[1], found.hops, known or {})
    ax = axes[-1]
    for minimum, colour in zip(found.minima, COLOURS, strict=False):
        assert minimum.vibrations is not None
        label = f"{MEV * minimum.energy:.0f} meV"
        ax.vlines(minimum.vibrations.wavenumbers, 0, 1, color=colour, label=label)
    ax.set(xlabel="wavenumber (cm$^{-1}$)", yticks=[], title="vibrations of the minima")
    ax.legend(frameon=False)
    return figure


def draw_map(ax: Axes, grid: PlaceGrid, normal: Array, values: Array, label: str) -> None:
    """Contours of values [n, n] over two cells, each way, and the lattice vectors."""
    n, lattice = grid.n, grid.wallpaper.lattice
    plane = lattice @ plane_directions(normal)
    index = np.arange(-n // 2, n + n // 2 + 1)
    a, b = np.meshgrid(index, index, indexing="ij")
    x, y = np.moveaxis(np.stack([a, b], axis=-1) / n @ plane, -1, 0)
    filled = ax.contourf(x, y, values[a % n, b % n], levels=24, cmap="viridis")
    ax.figure.colorbar(filled, ax=ax, label=label)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) @ plane
    ax.plot(*corners.T, color="white", linewidth=1)
    ax.set(xlabel="from the origin (Å)", ylabel="from the origin (Å)", aspect="equal")
    ax.grid(visible=False)


def draw_hops(ax: Axes, hops: Sequence[Hop], known: dict[str, float]) -> None:
    """Energies along paths, and known barriers as lines."""
    for number, (hop, colour) in enumerate(zip(hops, COLOURS, strict=False), start=1):
        share = np.linspace(0, 1, len(hop.energies))
        label = f"path {number}, {hop.distance:.2f} Å"
        ax.plot(share, MEV * (hop.energies - hop.energies[0]), "o-", color=colour, label=label)
    for (name, barrier), colour in zip(known.items(), COLOURS, strict=False):
        ax.axhline(barrier, color=colour, linestyle="--", label=name)
    ax.set(xlabel="path to the next minimum", ylabel="energy (meV)", title="hops")
    ax.legend(frameon=False)


def _draw_images(ax: Axes, found: Adsorption, minimum: Stationary) -> None:
    """Marks a minimum and its images within the picture."""
    assert found.site_map is not None
    assert minimum.place is not None
    wallpaper = found.site_map.grid.wallpaper
    plane = wallpaper.lattice @ plane_directions(found.adsorbate.surface.normal)
    images = [o.matrix @ minimum.place + o.shift for o in wallpaper.operations]
    steps = np.stack(np.meshgrid(*[np.arange(-1, 2)] * 2), axis=-1).reshape(-1, 2)
    points = ((np.array(images) % 1)[:, None] + steps).reshape(-1, 2)
    points = points[((points > -0.5) & (points < 1.5)).all(axis=1)] @ plane
    ax.plot(*points.T, ".", color="white", ms=4)
