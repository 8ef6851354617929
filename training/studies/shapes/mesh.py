"""Surfaces of triangles: OFF files, and points with normals drawn from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from sikff.atomic_write import complete

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Mesh:
    """A surface of triangles, counter-clockwise as seen from outside.

    Attributes:
        vertices: [V, 3].
        triangles: indices of their corners, [T, 3].
    """

    vertices: Array
    triangles: Array

    @property
    def area_vectors(self) -> Array:
        """Outward normals of the triangles times their areas, [T, 3]."""
        a, b, c = self.vertices[self.triangles].swapaxes(0, 1)
        return np.cross(b - a, c - a) / 2

    def moved(self, matrix: Array) -> Mesh:
        """The surface under a linear map [3, 3]; reflected normals still point outwards."""
        triangles = self.triangles if np.linalg.det(matrix) > 0 else self.triangles[:, ::-1]
        return Mesh(self.vertices @ matrix.T, triangles)


def sample_surface(mesh: Mesh, n_points: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Uniformly distributed points on the surface, and their normals, [n, 3] each."""
    a, b, c = mesh.vertices[mesh.triangles].swapaxes(0, 1)
    areas = np.linalg.norm(mesh.area_vectors, axis=1)
    chosen = rng.choice(len(areas), size=n_points, p=areas / areas.sum())
    u, v = rng.random((2, n_points, 1))
    u, v = np.where(u + v > 1, 1 - u, u), np.where(u + v > 1, 1 - v, v)  # half of a parallelogram
    a, b, c = a[chosen], b[chosen], c[chosen]
    return a + u * (b - a) + v * (c - a), mesh.area_vectors[chosen] / areas[chosen, None]


def read_off(path: str | Path) -> Mesh:
    """Reads a mesh from an OFF file.

    Comments, colours and headers that run into the numbers ("OFF490 518 0", as in some files of
    ModelNet-40) are accepted; polygons are cut into triangles that share their first corner.

    Raises:
        ValueError: it is not an OFF file; names the line.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    stripped = (line.split("#")[0].split() for line in text.splitlines())
    lines = [(number, words) for number, words in enumerate(stripped, 1) if words]
    if not lines or not lines[0][1][0].upper().startswith("OFF"):
        raise ValueError(f"{str(path)!r} is no OFF file: its first line does not begin with OFF")
    lines[0][1][0] = lines[0][1][0][3:]  # what follows the word in the same line
    rest = iter([(number, " ".join(words)) for number, words in lines if any(words)])

    def read(expected: str, parse: Callable[[list[str]], list[Any]]) -> list[Any]:
        """The numbers parsed from the next line; raises ValueError if there are none."""
        number, line = next(rest, (None, ""))
        if number is None:
            raise ValueError(f"{str(path)!r} ends where {expected} was expected; is it complete?")
        try:
            numbers = parse(line.split())
        except ValueError:
            numbers = []
        if not numbers:
            raise ValueError(f"line {number} of {str(path)!r}: expected {expected}; got {line!r}")
        return numbers

    def counts(words: list[str]) -> list[int]:
        numbers = [int(word) for word in words[:2]]
        return numbers if len(numbers) == 2 and min(numbers) >= 0 else []

    def vertex(words: list[str]) -> list[float]:
        numbers = [float(word) for word in words[:3]]
        return numbers if len(numbers) == 3 else []

    def corners(words: list[str]) -> list[int]:
        count, *numbers = (int(word) for word in words[: int(words[0]) + 1])
        valid = len(numbers) == count >= 1 and 0 <= min(numbers) <= max(numbers) < n_vertices
        return numbers if valid else []

    n_vertices, n_faces = read("the numbers of vertices and faces", counts)
    vertices = np.array([read("a vertex", vertex) for _ in range(n_vertices)])
    if not np.isfinite(vertices).all():
        raise ValueError(f"{str(path)!r} has vertices that are not finite numbers")
    triangles = []
    expected = f"a face: how many corners, and their numbers below {n_vertices}"
    for _ in range(n_faces):
        first, *others = read(expected, corners)
        triangles += [(first, *pair) for pair in pairwise(others)]
    mesh = Mesh(vertices.reshape(-1, 3), np.array(triangles, dtype=int).reshape(-1, 3))
    if not mesh.area_vectors.any():
        raise ValueError(f"{str(path)!r} has {n_faces} faces, but none of them has an area")
    return mesh


def write_off(path: str | Path, mesh: Mesh) -> None:
    """Writes a mesh as an OFF file."""
    lines = ["OFF", f"{len(mesh.vertices)} {len(mesh.triangles)} 0"]
    lines += [" ".join(f"{x:.9g}" for x in vertex) for vertex in mesh.vertices]
    lines += [" ".join(map(str, (3, *triangle))) for triangle in mesh.triangles]
    with complete(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
