"""Labelled structures that are rotated or mirrored copies: covariance measured without a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sikff.groups import SymmetryGroup

from ..data.structures import Structures
from .lie import Defect

Array = np.ndarray

SAME_SHAPE = 1e-3  # Å, between copies
SAME_ELEMENT = 0.01  # between an element of a group and the matrix of a copy


@dataclass(frozen=True, eq=False)
class Copy:
    """A pair of structures, the second of which is the first, rotated or mirrored.

    Attributes:
        matrix: g [3, 3], orthogonal, with r' - r'_c = g (r - r_c).
        defect: |F' - g F| / |F|.
    """

    matrix: Array
    defect: float

    def is_by(self, group: SymmetryGroup) -> bool:
        """Whether its matrix is an element of a group."""
        return group.contains(self.matrix, SAME_ELEMENT)


def find_copies(
    structures: Structures, forces: Sequence[Array], varying: Array | None = None
) -> list[Copy]:
    """Pairs of copies: the same atoms in one order, with the same field and distances.

    Periodic structures and copies of the same orientation are left out.

    Args:
        structures: n structures.
        forces: their forces, [N, 3] each.
        varying: directions [k, 3] along which the environment varies, such as the normal of a
            plane; copies that are shifted along one are left out. None: no such direction.
    """
    varying = np.zeros((0, 3)) if varying is None else varying
    found = []
    for first, second in _pairs_of_one_size(structures):
        a, b = structures[first].atoms.positions, structures[second].atoms.positions
        if abs(varying @ (b - a).mean(axis=0)).max(initial=0.0) > SAME_SHAPE:
            continue
        matrix = _fit_orthogonal(a, b)
        if matrix is not None and abs(matrix - np.eye(3)).max() > SAME_ELEMENT:
            change = np.linalg.norm(forces[second] - forces[first] @ matrix.T)
            size = max(np.linalg.norm(forces[first]), np.finfo(float).tiny)
            found.append(Copy(matrix, float(change / size)))
    return found


def compute_copy_defect(copies: Sequence[Copy], threshold: float) -> Defect:
    """Root mean square over copies."""
    return Defect(float(np.sqrt(np.mean([copy.defect**2 for copy in copies]))), threshold)


def _pairs_of_one_size(structures: Structures) -> Iterator[tuple[int, int]]:
    """Indices of pairs of one system whose radii of gyration, quick to compare, are equal."""
    systems: dict[bytes, list[int]] = {}
    for index, structure in enumerate(structures):
        if not structure.atoms.pbc.any():
            systems.setdefault(structure.system_key, []).append(index)
    for indices in systems.values():
        positions = [structures[index].atoms.positions for index in indices]
        radii = np.array([np.sqrt(p.var(axis=0).sum()) for p in positions])
        order = np.argsort(radii)
        for k, one in enumerate(order):
            for other in order[k + 1 :]:
                if radii[other] - radii[one] > SAME_SHAPE:
                    break
                yield min(indices[one], indices[other]), max(indices[one], indices[other])


def _fit_orthogonal(first: Array, second: Array) -> Array | None:
    """The orthogonal matrix that maps one set of positions to another, if there is one."""
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    u, _, v = np.linalg.svd(b.T @ a)
    matrix = u @ v
    return matrix if abs(b - a @ matrix.T).max() < SAME_SHAPE else None
