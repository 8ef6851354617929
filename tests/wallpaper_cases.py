"""The 17 wallpaper groups on lattices in no special orientation, for the tests of surfaces."""

import numpy as np

from sikff.surface import Wallpaper
from sikff.surface.operations import Operation
from symmetry_cases import turn_about

POINT_GROUPS = {
    "p1": "C1", "p2": "C2", "pm": "Cs", "pg": "Cs", "cm": "Cs", "p2mm": "C2v", "p2mg": "C2v",
    "p2gg": "C2v", "c2mm": "C2v", "p4": "C4", "p4mm": "C4v", "p4gm": "C4v", "p3": "C3",
    "p3m1": "C3v", "p31m": "C3v", "p6": "C6", "p6mm": "C6v",
}  # fmt: skip
NAMES = tuple(POINT_GROUPS)
LARGER = {  # a group with more operations about the same origin, on its more special lattice
    "p1": "p2", "p2": "p2mm", "pm": "p2mm", "pg": "p2gm", "cm": "c2mm", "p2mm": "p4mm",
    "p2gg": "p4gm", "p4": "p4mm", "p3": "p6", "p3m1": "p6mm", "p31m": "p6mm", "p6": "p6mm",
}  # fmt: skip
TILT = turn_about(np.array([0.3, -1.0, 0.4]), 0.7)  # the plane is not z = 0


def lattice_of(name: str) -> np.ndarray:
    """The most general lattice [2, 3] (Å) that fits a group, in a tilted plane."""
    a, b, angle = 3.1, 4.3, 81.0 if name in ("p1", "p2") else 90.0
    if name[1] in "346":
        b, angle = a, 90.0 if name[1] == "4" else 120.0
    radians = np.radians(angle)
    flat = np.array([[a, 0, 0], [b * np.cos(radians), b * np.sin(radians), 0]])
    return flat @ turn_about(np.array([0, 0, 1.0]), 0.4).T @ TILT.T


def wallpaper(name: str) -> Wallpaper:
    return Wallpaper(name, lattice_of(name))


def moved_wallpaper(name: str) -> Wallpaper:
    """The same group about another origin, so that phases are no multiples of pi."""
    w, move = wallpaper(name), np.array([0.123, 0.456])
    operations = [
        Operation.of(o.matrix, np.array(o.shift) + move - o.matrix @ move) for o in w.operations
    ]
    return Wallpaper.from_generators(w.lattice, operations)
