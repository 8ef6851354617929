"""The surface of a slab, as lines for the user and as a picture."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import yaml
from ase.data import atomic_numbers, covalent_radii
from ase.data.colors import jmol_colors
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from sikff.surface import SlabSurface, find_lines, find_sites, site_symmetry
from sikff.surface.lattice import describe
from sikff.surface.layers import Layer, describe_place, find_layers
from sikff.surface.names import other_names
from sikff.surface.sites import Line, format_coordinate

from ..data.slab import Findings, outermost, surface_settings
from .plots import new_figure, plane_directions

Array = np.ndarray

LAYERS = 4  # listed and drawn
AT_SITE = 0.15  # Å, between an atom and its site
MARKERS = {"2": "d", "3": "^", "4": "s", "6": "H"}  # of rotations, as in the International Tables
MIRROR, GLIDE = "#b03030", "#3060b0"


class Row(NamedTuple):
    """A kind of place in the cell.

    Attributes:
        label: a letter; those of the largest site groups come first.
        symmetry: site group; multiplicity: equivalent places in a primitive cell.
        coordinates: of one of them, in lattice vectors.
        place: what is there.
    """

    label: str
    symmetry: str
    multiplicity: int
    coordinates: str
    place: str


class SurfaceReport:
    """What was found in a slab.

    Attributes:
        rows: kinds of places: sites, mirror lines, all others.
        layers: from the surface down.
        settings: as under ``model`` of a training configuration.
    """

    def __init__(self, findings: Findings, side: str, tolerance: float) -> None:
        self.findings, self.side, self.tolerance = findings, side, tolerance
        self.found: SlabSurface = findings.found
        self.wallpaper = self.found.wallpaper
        self.settings = surface_settings(self.found)
        self.layers = find_layers(self.found)
        self.sites = find_sites(self.wallpaper)
        orbits = find_lines(self.wallpaper)
        self.mirrors = [orbit for orbit in orbits if not orbit[0].glide]
        self.glides = [orbit for orbit in orbits if orbit[0].glide]
        self.rows = self._rows()

    def _rows(self) -> list[Row]:
        order = len(self.wallpaper.operations)
        places = []
        for site in self.sites:
            point = site.positions[0]
            words = describe_place(self.found, self.layers, point)
            text = ", ".join(map(format_coordinate, point))
            places.append((site.symmetry, len(site.positions), text, words))
        for orbit in self.mirrors:
            places.append(("m", order // 2, orbit[0].text, ""))
        places.append(("1", order, "x, y", ""))
        return [Row(chr(ord("A") + i), *place) for i, place in enumerate(places)]

    @property
    def lines(self) -> list[str]:
        """All of it for the user."""
        w, found = self.wallpaper, self.found
        others = f" (also {', '.join(other_names(w.name))})" if other_names(w.name) else ""
        origin, normal = (_vector(v, 4) for v in (found.origin, found.normal))
        lines = [
            f"{len(self.findings.slab)} atoms, {self.findings.slab.get_chemical_formula()}",
            f"wallpaper group {w.name}{others}, point group {w.point_group.name}",
            f"operations {'; '.join(map(str, w.operations))}",
            f"primitive cell {describe(w.lattice)}: a {_vector(w.lattice[0], 4)}, b "
            f"{_vector(w.lattice[1], 4)} Å",
            f"normal {normal}, origin {origin} Å, at the height of the {outermost(self.side)} atom",
            f"atoms are up to {round(found.misfit, 6):.2g} Å off this symmetry (tolerance "
            f"{self.tolerance:g} Å)",
            "",
            f"{'site':5s} {'group':6s} {'per cell':>8s}  {'a, b':12s} what is there",
        ]
        for row in self.rows:
            text = f"{row.label:5s} {row.symmetry:6s} {row.multiplicity:8d}  {row.coordinates:12s}"
            lines.append(f"{text} {row.place}".rstrip())
        if self.glides:
            lines.append("glide lines " + "; ".join(o.text for orbit in self.glides for o in orbit))
        lines += ["", f"{'layer':5s} {'height (Å)':>10s}  atoms in the cell and their sites"]
        for number, layer in enumerate(self.layers[:LAYERS], start=1):
            lines.append(f"{number:<5d} {layer.height:10.3f}  {self._members(layer)}")
        if len(self.layers) > LAYERS:
            lines.append(f"... {len(self.layers) - LAYERS} more")
        text = yaml.safe_dump({"model": self.settings}, sort_keys=False, default_flow_style=None)
        return [*lines, "", *self.findings.lines, "use", text.rstrip()]

    def _members(self, layer: Layer) -> str:
        pairs = zip(layer.symbols, map(self.label_at, layer.coordinates), strict=True)
        counts = Counter(f"{symbol} {label}" for symbol, label in pairs)
        return ", ".join(f"{n} {name}" if n > 1 else name for name, n in counts.items())

    def label_at(self, point: Array) -> str:
        """Label of the site, mirror line or general place of a point [2]."""
        symmetry = site_symmetry(self.wallpaper, point, AT_SITE)
        for row, site in zip(self.rows, self.sites, strict=False):
            rest = site.positions - point
            rest = (rest - np.round(rest)) @ self.wallpaper.lattice
            if np.linalg.norm(rest, axis=1).min() < AT_SITE:
                return row.label
        if symmetry == "1":
            return self.rows[-1].label
        lattice = self.wallpaper.lattice
        distances = [min(m.distance(point, lattice) for m in orbit) for orbit in self.mirrors]
        return self.rows[len(self.sites) + int(np.argmin(distances))].label


def draw_surface(report: SurfaceReport) -> Figure:
    """Draws a primitive cell seen from above: atoms, sites, mirror lines, glide lines."""
    figure, (ax,) = new_figure(1, 6.0, 6.0)
    to_plane = plane_directions(report.found.normal)
    cell = report.wallpaper.lattice @ to_plane
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1), (0, 0)]) @ cell
    margin = 0.3 * np.linalg.norm(cell, axis=1).max()
    low, high = corners.min(axis=0) - margin, corners.max(axis=0) + margin
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.grid(visible=False)
    ax.set(xlabel="from the origin (Å)", ylabel="from the origin (Å)")
    steps = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
    _draw_atoms(ax, report.layers, steps, cell)
    for orbits, style in ((report.mirrors, "-"), (report.glides, "--")):
        for line in (line for orbit in orbits for line in orbit):
            _draw_line(ax, line, cell, style)
    ax.plot(*corners.T, color="black", linewidth=1.5, zorder=20)
    for row, site in zip(report.rows, report.sites, strict=False):
        points = (site.positions[:, None] + steps).reshape(-1, 2)
        ax.plot(*(points @ cell).T, MARKERS[site.symmetry[0]], color="black", ms=6, zorder=30)
        for point in points[((points > -1e-6) & (points < 1 + 1e-6)).all(axis=1)] @ cell:
            ax.annotate(
                row.label, point, (5, 4), textcoords="offset points", fontweight="bold", zorder=40
            )
    _add_legend(ax, report)
    ax.set_title(f"{report.wallpaper.name}: {describe(report.wallpaper.lattice)}", fontsize=10)
    return figure


def _draw_atoms(ax: Axes, layers: tuple[Layer, ...], steps: Array, cell: Array) -> None:
    """Circles, higher layers above and stronger than lower ones."""
    for depth, layer in enumerate(layers[:LAYERS]):
        for symbol, point in zip(layer.symbols, layer.coordinates, strict=True):
            number = atomic_numbers[symbol]
            for centre in (point + steps) @ cell:
                ax.add_patch(
                    Circle(
                        tuple(centre),
                        0.6 * covalent_radii[number],
                        facecolor=jmol_colors[number],
                        edgecolor="#444444",
                        linewidth=0.8,
                        alpha=(1.0, 0.5, 0.3, 0.15)[depth],
                        zorder=10 - depth,
                    )
                )


def _draw_line(ax: Axes, line: Line, cell: Array, style: str) -> None:
    """A line with those of its translates that cross the picture."""
    colour = MIRROR if style == "-" else GLIDE
    across = line._replace(offset=1.0).point
    for step in range(-6, 7):
        start = (line.point + step * across) @ cell
        end = start + line.direction @ cell
        ax.axline(tuple(start), tuple(end), color=colour, linestyle=style, linewidth=1, zorder=15)


def _add_legend(ax: Axes, report: SurfaceReport) -> None:
    """What symbols and colours stand for, below the axes."""
    handles = []
    for symbol in dict.fromkeys(s for layer in report.layers[:LAYERS] for s in layer.symbols):
        style = {"color": jmol_colors[atomic_numbers[symbol]], "markeredgecolor": "#444444"}
        handles.append(Line2D([], [], marker="o", linestyle="", label=symbol, **style))
    for order in sorted({site.symmetry[0] for site in report.sites}):
        style = {"color": "black", "label": f"rotation of order {order}"}
        handles.append(Line2D([], [], marker=MARKERS[order], linestyle="", **style))
    if report.mirrors:
        handles.append(Line2D([], [], color=MIRROR, label="mirror line"))
    if report.glides:
        handles.append(Line2D([], [], color=GLIDE, linestyle="--", label="glide line"))
    ax.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=4, frameon=False
    )


def _vector(vector: Array, digits: int) -> list[float]:
    return [round(float(x), digits) + 0.0 for x in vector]
