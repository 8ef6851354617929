"""What implicit kernels look like: one random kernel for each of six groups, drawn on the xy plane.

Colour is a scalar -> scalar kernel, arrows are a scalar -> vector kernel. Every picture has exactly
the symmetry of its group: chiral swirls for C3, C6 and SO(2), mirrors for C4v and C6v.

    python examples/kernels.py [picture.png]
"""

import sys

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sikff import FieldType, SymmetryGroup
from sikff.nn import ImplicitKernel

GROUPS = ("C3", "C4v", "C6", "C6v", "SO(2)", "C_inf_v")
EXTENT, PIXELS, ARROWS = 2.0, 121, 17


def plane(points: int) -> tuple[np.ndarray, torch.Tensor]:
    """Coordinates along an axis, and the points [points^2, 3] of a grid at z = 0."""
    axis = np.linspace(-EXTENT, EXTENT, points)
    x, y = np.meshgrid(axis, axis)
    return axis, torch.from_numpy(np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3))


def draw(path: str) -> None:
    figure = Figure(figsize=(10.5, 7), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, name in zip(figure.subplots(2, 3).ravel(), GROUPS, strict=True):
        group = SymmetryGroup(name)
        scalar, vector = FieldType.scalar(group), FieldType.vector(group)
        torch.manual_seed(3)
        options = {"layers": 3, "max_degree": 6, "hidden_fields": 8}
        colour = ImplicitKernel(scalar, scalar, **options).double()
        arrows = ImplicitKernel(scalar, vector, **options).double()
        with torch.no_grad():
            _, points = plane(PIXELS)
            values = colour(points).reshape(PIXELS, PIXELS).numpy()
            axis, points = plane(ARROWS)
            u, v, _ = np.moveaxis(arrows(points).reshape(ARROWS, ARROWS, 3).numpy(), 2, 0)
        limit = np.abs(values).max()
        box = (-EXTENT, EXTENT, -EXTENT, EXTENT)
        ax.imshow(values, origin="lower", extent=box, cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.quiver(axis, axis, u, v, color="#222222", pivot="mid")
        ax.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else "kernels.png")
