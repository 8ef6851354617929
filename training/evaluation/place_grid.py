"""A grid of places in the cell of a crystal surface, and which of them are equivalent."""

from __future__ import annotations

import numpy as np

from sikff.surface import Wallpaper

Array = np.ndarray

ON_GRID = 1e-6  # of a step of the grid; shifts of operations nearer than this fit


class PlaceGrid:
    """n x n places in a primitive cell, at whole multiples of a / n and b / n.

    Operations whose shifts are no multiples of a step are left out. For n = 6, 12, ... all
    high-symmetry sites of the 17 groups are places of the grid.

    Args:
        wallpaper: group of the lattice.
        n: places along each lattice vector.
        proper: leave out mirror and glide lines, as for chiral molecules.

    Attributes:
        places: lattice coordinates [n * n, 2]; the place (i, j) has the index i n + j.
        first: [n * n], the equivalent place with the lowest index.
        operation: [n * n], an operation that maps that place there.

    Raises:
        ValueError: n is not positive.
    """

    def __init__(self, wallpaper: Wallpaper, n: int, proper: bool = False) -> None:
        if n < 1:
            raise ValueError(f"got a grid of {n} places along a lattice vector; expected 1 or more")
        self.n, self.wallpaper = n, wallpaper
        whole = np.stack(np.meshgrid(*[np.arange(n)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        self.places = whole / n
        self.first = np.arange(n * n)
        self.operation = np.zeros(n * n, int)
        self.operations = [
            k
            for k, o in enumerate(wallpaper.operations)
            if self._fits(o.shift) and not (proper and np.linalg.det(o.matrix) < 0)
        ]
        images = [self._images(whole, k) for k in self.operations]
        for place in range(n * n):
            for k, image in zip(self.operations, images, strict=True):
                if place < self.first[image[place]]:
                    self.first[image[place]] = self.first[place]
                    self.operation[image[place]] = k

    @property
    def representatives(self) -> list[int]:
        """Indices of one of each set of equivalent places."""
        return np.flatnonzero(self.first == np.arange(self.n**2)).tolist()

    @property
    def multiplicities(self) -> Array:
        """How many places are equivalent to each representative."""
        return np.bincount(self.first, minlength=self.n**2)[self.representatives]

    def unfolded(self, values: Array) -> Array:
        """Values [n, n] everywhere from those of the representatives, in their order."""
        index = np.zeros(self.n**2, int)
        index[self.representatives] = np.arange(len(self.representatives))
        return np.asarray(values)[index[self.first]].reshape(self.n, self.n)

    def neighbours(self, place: int) -> list[int]:
        """The places around one: along both lattice vectors and both diagonals."""
        i, j = divmod(place, self.n)
        steps = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1) if (a, b) != (0, 0)]
        around = {(i + a) % self.n * self.n + (j + b) % self.n for a, b in steps}
        return sorted(around - {place})

    def index(self, place: Array) -> int | None:
        """Index of a place [2] that is one of the grid; None for others."""
        whole = np.round(self.n * np.asarray(place)).astype(int) % self.n
        return int(whole @ [self.n, 1]) if self._fits(place) else None

    def _fits(self, shift: tuple[float, float] | Array) -> bool:
        steps = self.n * np.array(shift)
        return bool(abs(steps - np.round(steps)).max() < ON_GRID)

    def _images(self, whole: Array, operation: int) -> Array:
        """Index of the image of each place."""
        o = self.wallpaper.operations[operation]
        moved = whole @ np.array(o.matrix).T + np.round(self.n * np.array(o.shift)).astype(int)
        return moved % self.n @ np.array([self.n, 1])
