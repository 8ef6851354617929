"""Structures as arrays: what a force field reads of an ase.Atoms, or of another program."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, Self

import numpy as np

FLAT = 1e-6  # a cell whose volume is less, relative to the product of its lengths, has none


class Structure(Protocol):
    """Atoms, perhaps in a cell. An ase.Atoms is one, and so are :class:`StructureArrays`."""

    @property
    def positions(self) -> np.ndarray:
        """[N, 3] Å, float64."""

    @property
    def numbers(self) -> np.ndarray:
        """[N] atomic numbers."""

    @property
    def cell(self) -> Any:
        """[3, 3] Å, or what `np.asarray` makes that of; rows are lattice vectors."""

    @property
    def pbc(self) -> np.ndarray:
        """[3] whether the structure is periodic along each lattice vector."""


class StructureArrays(NamedTuple):
    """A structure that is nothing but its arrays, which are not copied."""

    positions: np.ndarray
    numbers: np.ndarray
    cell: np.ndarray
    pbc: np.ndarray

    @classmethod
    def of(cls, positions: Any, numbers: Any, cell: Any = None, pbc: Any = False) -> Self:
        """Converts and checks arrays of any dtype.

        Args:
            positions: [N, 3] Å.
            numbers: [N] atomic numbers.
            cell: [3, 3] Å, rows are lattice vectors; None: there is none.
            pbc: one boolean, or one for each lattice vector.

        Raises:
            ValueError: for other shapes.
        """
        cell = np.zeros((3, 3)) if cell is None else cell
        structure = cls(
            np.ascontiguousarray(positions, dtype=np.float64),
            np.asarray(numbers),
            np.ascontiguousarray(cell, dtype=np.float64),
            np.array(np.broadcast_to(np.asarray(pbc, dtype=bool), 3)),
        )
        n = len(structure.numbers)
        shapes = (structure.positions.shape, structure.numbers.shape, structure.cell.shape)
        if shapes != ((n, 3), (n,), (3, 3)) or structure.numbers.dtype.kind not in "iu":
            raise ValueError(
                f"positions, numbers and cell have the shapes {shapes}, numbers are "
                f"{structure.numbers.dtype}; expected (N, 3), (N,) and (3, 3), and integers"
            )
        return structure


def has_volume(structure: Structure) -> bool:
    """Whether the cell has three independent vectors, so that there is a stress."""
    cell = np.asarray(structure.cell)
    lengths = np.sqrt(np.einsum("ij,ij->i", cell, cell))
    return bool(abs(np.linalg.det(cell)) > FLAT * lengths.prod())
