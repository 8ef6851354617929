"""Wallpaper groups: the symmetry of crystal surfaces (method: section 6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np

from sikff.groups import SymmetryGroup
from sikff.groups.matrices import SAME, Matrices, as_matrices
from sikff.surface import names
from sikff.surface.lattice import as_lattice, describe, dual, normal, reduced, symmetrised
from sikff.surface.operations import Operation, classify, close

Array = np.ndarray

TOLERANCE = 1e-3  # Å; how well lattices and shifts that users write must fit
_CENTRED = np.array([[0.5, -0.5], [0.5, 0.5]])  # primitive vectors of a centred cell, as rows
_EXPECTED = {
    "oblique": "any lattice",
    "rectangular": "a rectangular lattice (angle 90°)",
    "centred": "the two sides of a centred rectangular cell (angle 90°), or two vectors of equal "
    "length, (a - b)/2 and (a + b)/2",
    "square": "a square lattice",
    "hexagonal": "a hexagonal lattice (|a| = |b|, angle 120° or 60°)",
}


class Wallpaper:
    """A wallpaper group W: translations of a lattice and operations {R|t}, r -> R r + t.

    Coordinates r are from the lattice's origin, which is that of the International Tables for
    named groups. R is 3x3 and leaves the normal alone. Immutable, hashable; equal if lattice
    vectors and operations are.

    Args:
        name: Hermann-Mauguin name, long or short (``"p4mm"``, ``"p4m"``, ``"pg"``, ``"p1g1"``,
            ...). In ``pm``, ``pg`` and ``cm`` the reflection reverses the first lattice vector, in
            ``p2mg`` that of the mirrors does; ``p11m``, ``p11g``, ``c11m`` and ``p2gm`` are the
            same groups with the lattice vectors exchanged.
        lattice: two vectors (Å), [2, 3], or [2, 2] in the plane z = 0. Centred groups (``cm``,
            ``c2mm``) take the sides a, b of the rectangle, or the two primitive vectors
            (a - b)/2, (a + b)/2 of equal length. Square and hexagonal lattices may be given by
            any two vectors that span them.
        tolerance: Å; the lattice is made exact, and must not change by more.

    Attributes:
        name: Hermann-Mauguin name, found from the operations: ``"pg"``, ``"c2mm"``, ``"p4mm"``.
        lattice: two vectors [2, 3] (Å) that span all translations, of centred groups too.
        operations: one operation for each R, in lattice coordinates, the identity first. Their
            texts and the lattice make the same group again (:meth:`from_generators`).

    Raises:
        ValueError: an unknown name, or a lattice that does not fit the group.
    """

    name: str
    lattice: Array
    operations: tuple[Operation, ...]

    def __init__(self, name: str, lattice: Sequence | Array, tolerance: float = TOLERANCE) -> None:
        kind, generators = names.parse(name)
        given = as_lattice(lattice)
        a, b = np.linalg.norm(given, axis=1)
        is_rhombic = abs(a - b) < tolerance < abs(given[0] @ given[1]) / max(a, b)
        if kind == "centred":
            to_primitive = np.linalg.inv(_CENTRED.T)
            generators = [
                Operation.of((to_primitive @ o.matrix @ _CENTRED.T).round(), to_primitive @ o.shift)
                for o in generators
            ]
            given = given if is_rhombic else _CENTRED @ given
        operations = close(generators, given, tolerance)
        candidates = [given, reduced(given)] if kind in ("square", "hexagonal") else [given]
        for vectors in candidates:
            exact = symmetrised(vectors, [np.array(o.matrix) for o in operations])
            misfit = np.linalg.norm(exact - vectors, axis=1).max()
            if misfit < tolerance:
                self._set(exact, operations)
                return
        raise ValueError(
            f"{name} needs {_EXPECTED[kind]}; got {describe(as_lattice(lattice))}, which is "
            f"{misfit:.2g} Å off (tolerance {tolerance:g} Å). Give the lattice to more digits, or "
            "another group"
        )

    @classmethod
    def from_generators(
        cls,
        lattice: Sequence | Array,
        generators: Iterable[str | Operation],
        tolerance: float = TOLERANCE,
    ) -> Wallpaper:
        """The group of a lattice and further operations.

        Args:
            lattice: two vectors (Å) that span all translations, [2, 3], or [2, 2] in the plane
                z = 0.
            generators: operations in lattice coordinates, as in the International Tables:
                ``"-x, y+1/2"``. The origin may be anywhere.
            tolerance: Å; lattice and shifts are made exact, and must not be further off.

        Raises:
            ValueError: operations that are not those of a group with this lattice, or a lattice
                that does not fit them.
        """
        vectors = as_lattice(lattice)
        parsed = [g if isinstance(g, Operation) else Operation.parse(g) for g in generators]
        operations = close(parsed, vectors, tolerance)
        exact = symmetrised(vectors, [np.array(o.matrix) for o in operations])
        misfit = np.linalg.norm(exact - vectors, axis=1).max()
        if not misfit < tolerance:
            raise ValueError(
                f"the lattice ({describe(vectors)}) does not have the operations "
                f"{'; '.join(map(str, parsed))}: it is {misfit:.2g} Å off (tolerance "
                f"{tolerance:g} Å)"
            )
        wallpaper = cls.__new__(cls)
        wallpaper._set(exact, operations)
        return wallpaper

    def _set(self, lattice: Array, operations: Sequence[Operation]) -> None:
        lattice = lattice.copy()
        lattice.setflags(write=False)
        self.__dict__.update(
            lattice=lattice, operations=tuple(operations), name=classify(operations, lattice)
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Wallpaper is immutable; build a new one instead of setting {name}")

    @cached_property
    def normal(self) -> Array:
        """Unit normal [3] of the plane, along a x b."""
        return normal(self.lattice)

    @cached_property
    def dual(self) -> Array:
        """Vectors [2, 3] (1/Å): lattice coordinates of r are dual @ r; G = 2 pi m @ dual."""
        return dual(self.lattice)

    @cached_property
    def rotations(self) -> Array:
        """R [n, 3, 3] of each operation: the point group's elements."""
        along = np.outer(self.normal, self.normal)
        return np.array([self.lattice.T @ o.matrix @ self.dual + along for o in self.operations])

    @cached_property
    def translations(self) -> Array:
        """t [n, 3] (Å) of each operation, modulo the lattice."""
        return np.array([o.shift for o in self.operations]) @ self.lattice

    @cached_property
    def point_group(self) -> SymmetryGroup:
        """The group P of all R; its mirrors are oriented as the lattice is."""
        return SymmetryGroup.from_generators(self.rotations)

    def operation_indices(self, matrices: Matrices) -> Array:
        """Index [n] of the operation of each element [n, 3, 3] of the point group.

        Raises:
            ValueError: a matrix that is no element of the point group.
        """
        g = as_matrices(matrices).reshape(-1, 1, 3, 3)
        distances = np.abs(g - self.rotations).max(axis=(2, 3))
        if not (distances.min(axis=1) < SAME).all():
            raise ValueError(
                f"expected elements of the point group {self.point_group} of {self.name}; got a "
                f"matrix {distances.min(axis=1).max():.1e} off its elements"
            )
        return distances.argmin(axis=1)

    def lattice_misfit(self, vectors: Array) -> float:
        """Largest distance (Å) of vectors [k, 3] from the nearest lattice translations.

        The lateral cell vectors of a periodic structure must be translations.
        """
        coordinates = np.asarray(vectors, float) @ self.dual.T
        rest = vectors - np.round(coordinates) @ self.lattice
        return float(np.linalg.norm(rest, axis=1).max(initial=0.0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wallpaper):
            return NotImplemented
        matrices = [o.matrix for o in self.operations]
        if set(matrices) != {o.matrix for o in other.operations}:
            return False
        shifts = {o.matrix: t for o, t in zip(other.operations, other.translations, strict=True)}
        apart = self.translations - [shifts[matrix] for matrix in matrices]
        is_same_lattice = np.abs(self.lattice - other.lattice).max() < SAME
        return bool(is_same_lattice and self.lattice_misfit(apart) < SAME)

    def __hash__(self) -> int:
        return hash(("Wallpaper", frozenset(o.matrix for o in self.operations)))

    def __repr__(self) -> str:
        return f"Wallpaper({self.name}: {describe(self.lattice)})"
