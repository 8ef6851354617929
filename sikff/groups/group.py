"""Compact subgroups of O(3), and their irreps, as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch

from sikff.groups import classify, names
from sikff.groups.harmonic_polynomials import wigner_d
from sikff.groups.irreps import standard_irreps
from sikff.groups.matrices import (
    SAME,
    Matrices,
    as_matrices,
    minimal_rotation,
    positive_direction,
    rotation,
    unit_vector,
)
from sikff.groups.null_space import canonical_basis

Array = np.ndarray

NEARLY = 1e-3  # two axes of continuous rotations are further apart
_TYPES = {1: "real", 2: "complex", 4: "quaternionic"}


@dataclass(frozen=True)
class Irrep:
    """A real irrep of a group: an invariant subspace of O(3)'s irrep (frequency, parity).

    Irreps are equal if their group and index are; all else follows from these.

    Attributes:
        group: the group.
        name: Mulliken-like label, unique within the group.
        index: position in the group's canonical list of irreps.
        frequency: lowest degree l of O(3) in which it appears.
        parity: parity (+1 or -1) of that O(3) irrep.
        dim: dimension d.
        type: "real", "complex" or "quaternionic": endomorphisms of dimension 1, 2 or 4.
        embedding: isometry [2l+1, d] whose image is the subspace, in the group's orientation.
    """

    group: SymmetryGroup
    name: str = field(compare=False)
    index: int
    frequency: int = field(compare=False)
    parity: int = field(compare=False)
    dim: int = field(compare=False)
    type: str = field(compare=False)
    embedding: Array = field(repr=False, compare=False)

    @property
    def is_trivial(self) -> bool:
        """Whether every element acts as 1."""
        return self.index == 0

    def representation(self, matrices: Matrices) -> Array:
        """rho(g) [..., d, d] at elements [..., 3, 3] of the group."""
        q = self.group.orientation
        d = wigner_d(self.frequency, self.parity, q.T @ as_matrices(matrices) @ q)
        return self.embedding.T @ d @ self.embedding

    def __str__(self) -> str:
        return self.name


class SymmetryGroup:
    """A compact subgroup G of O(3), immutable, hashable, equal by content.

    Args:
        name: Schoenflies name (``"C6v"``, ``"Td"``, ``"S4"``, ...) or a continuous group: ``O(3)``,
            ``SO(3)``, ``SO(2)``, ``C_inf_v`` (alias ``O(2)``), ``C_inf_h``, ``D_inf``, ``D_inf_h``.
        axis: direction of the principal axis (default z). The group in standard orientation is
            turned by the smallest rotation that takes z there. Standard orientation: C_nv has a
            mirror through x and z, D_n a twofold axis along x, T and O their cube axes along
            x, y, z, I three of its twofold axes there.

    Raises:
        ValueError: unknown name, or an axis that is not three finite numbers with a direction.
    """

    __slots__ = ("_elements", "_lie_dimension", "_name", "_orientation")

    def __init__(self, name: str, axis: Sequence[float] | Array = (0, 0, 1)) -> None:
        direction = unit_vector(axis)
        dimension, generators = names.parse(name)
        q = minimal_rotation(direction)
        self._set(dimension, direction, [q @ g @ q.T for g in generators])

    @classmethod
    def from_generators(
        cls, matrices: Matrices = (), lie_axes: Sequence[Sequence[float] | Array] = ()
    ) -> SymmetryGroup:
        """The smallest closed group with the given elements and continuous rotations.

        Args:
            matrices: orthogonal matrices [n, 3, 3], right to 1e-8 or so (they are made exact), with
                lie_axes to 1e-6.
            lie_axes: axes about which *every* rotation belongs to the group.

        Raises:
            ValueError: matrices that are not orthogonal or do not span a finite group, an axis that
                is not three finite numbers with a direction, or one that comes back nearly.
        """
        generators = list(as_matrices(matrices).reshape(-1, 3, 3)) if len(matrices) else []
        axes = [unit_vector(a) for a in lie_axes]
        images = [g @ a for a in axes for g in generators] + axes
        tilts = [float(np.linalg.norm(np.cross(axes[0], a))) for a in images]
        if any(SAME < tilt < NEARLY for tilt in tilts):
            raise ValueError(
                f"an axis of continuous rotations, or its image, is {max(tilts):.1e} off "
                f"{axes[0].tolist()}, too little for another axis; give matrices and axes to more "
                "digits"
            )
        dimension = 3 if any(tilt > SAME for tilt in tilts) else len(axes[:1])
        group = cls.__new__(cls)
        group._set(dimension, axes[0] if axes else None, generators)
        return group

    def _set(self, dimension: int, axis: Array | None, generators: Sequence[Array]) -> None:
        """Derive the content: name, orientation, and the elements (or one per component)."""
        if dimension == 0:
            elements = classify.closure(generators)
            self._name = classify.schoenflies(elements)
            self._orientation = classify.canonical_orientation(self._name, elements)
        else:
            n = np.array([0.0, 0.0, 1.0])
            self._orientation = np.eye(3)
            if dimension == 1 and axis is not None:
                n = positive_direction(axis)
                self._orientation = minimal_rotation(n)
            signs = {(1, 1)}
            for g in generators:
                new = (round(n @ g @ n) if dimension == 1 else 1, round(np.linalg.det(g)))
                signs |= {(a * new[0], b * new[1]) for a, b in signs}
            self._name = names.continuous_name(dimension, frozenset(signs))
        elements = self._orientation @ classify.standard_elements(self._name) @ self._orientation.T
        elements.setflags(write=False)
        self._orientation.setflags(write=False)
        self._elements = elements
        self._lie_dimension = dimension

    # -- what it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Canonical name, e.g. ``"C6v"``: equal groups have equal names."""
        return self._name

    @property
    def orientation(self) -> Array:
        """Rotation Q [3, 3] with G = Q G_standard Q^T."""
        return self._orientation

    @property
    def axis(self) -> Array:
        """Unit vector [3] along the principal axis (z in the standard orientation)."""
        return self._orientation[:, 2]

    @property
    def lie_dimension(self) -> int:
        """Dimension of the identity component: 0 (finite), 1 (axial) or 3."""
        return self._lie_dimension

    @property
    def order(self) -> float:
        """Number of elements; ``math.inf`` for continuous groups."""
        return math.inf if self._lie_dimension else len(self._elements)

    @property
    def elements(self) -> Array:
        """All elements [n, 3, 3] of a finite group; one of each component of a continuous one."""
        return self._elements

    @property
    def has_improper(self) -> bool:
        """Whether G has elements of determinant -1."""
        return bool((np.linalg.det(self._elements) < 0).any())

    @property
    def invariant_vectors(self) -> Array:
        """Orthonormal basis [k, 3] of the vectors that every element maps to themselves."""
        projector = np.mean(self._elements, axis=0)
        if self._lie_dimension:
            along = np.outer(self.axis, self.axis)
            projector = projector @ along if self._lie_dimension == 1 else 0 * projector
        return canonical_basis((projector + projector.T) / 2).T

    @property
    def standard(self) -> SymmetryGroup:
        """The same group in its standard orientation (axis z)."""
        is_standard = np.array_equal(self._orientation, np.eye(3))
        return self if is_standard else named_group(self._name, (0.0, 0.0, 1.0))

    @property
    def generators(self) -> Array:
        """Matrices [k, 3, 3] that generate a dense subgroup of G (G itself if it is finite)."""
        return self._orientation @ names.generators(self._name) @ self._orientation.T

    # -- elements ---------------------------------------------------------------------------------

    def sample(self, n: int, seed: int | None = None) -> torch.Tensor:
        """n random elements [n, 3, 3] (float64, uniform over the group)."""
        rng = np.random.default_rng(seed)
        representatives = self._elements[rng.integers(len(self._elements), size=n)]
        if self._lie_dimension == 1:
            turns = [rotation(self.axis, a) for a in rng.uniform(0, 2 * np.pi, n)]
            representatives = np.array(turns).reshape(n, 3, 3) @ representatives
        elif self._lie_dimension == 3:
            q, r = np.linalg.qr(rng.normal(size=(n, 3, 3)))
            q = q * np.sign(np.einsum("nii->ni", r))[:, None, :]
            representatives = q * np.linalg.det(q)[:, None, None] @ representatives
        return torch.from_numpy(np.ascontiguousarray(representatives))

    def contains(self, matrix: Matrices, tolerance: float = SAME) -> bool:
        """Whether a 3x3 orthogonal matrix is an element, within ``tolerance``."""
        g = as_matrices(matrix)
        if g.ndim != 2:
            raise ValueError(f"contains() takes one matrix [3, 3]; got shape {g.shape}")
        return classify.contains(self._elements, self._lie_dimension, self.axis, g, tolerance)

    def is_subgroup(self, other: SymmetryGroup) -> bool:
        """Whether every element of this group belongs to ``other``."""
        return all(other.contains(g) for g in self.generators)

    def __le__(self, other: SymmetryGroup) -> bool:
        return self.is_subgroup(other)

    # -- representations --------------------------------------------------------------------------

    def irreps(self, max_frequency: int) -> tuple[Irrep, ...]:
        """Real irreps up to a cutoff frequency, in canonical order, the trivial one first.

        The frequency of an irrep is the lowest degree l of O(3) irreps whose restriction to G
        contains it: l itself for O(3), m for the axial groups.

        Raises:
            ValueError: max_frequency is not a whole number >= 0.
        """
        if int(max_frequency) != max_frequency or max_frequency < 0:
            raise ValueError(f"max_frequency must be a whole number >= 0; got {max_frequency!r}")
        return tuple(
            Irrep(self, label, index, l, parity, embedding.shape[1], _TYPES[e], embedding)
            for index, (label, l, parity, e, embedding) in enumerate(
                standard_irreps(self._name, int(max_frequency))
            )
        )

    # -- value semantics --------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SymmetryGroup):
            return NotImplemented
        difference = np.abs(self._orientation - other._orientation).max()
        return self._name == other._name and bool(difference < SAME)

    def __hash__(self) -> int:
        return hash(("SymmetryGroup", self._name))

    def __repr__(self) -> str:
        return f"SymmetryGroup({self})"

    def __str__(self) -> str:
        if np.allclose(self._orientation, np.eye(3), atol=1e-8):
            return self._name
        axis = ", ".join(f"{a:.4g}" for a in self.axis + 0.0)
        return f"{self._name} about ({axis})"

    def __reduce__(self) -> tuple:
        return _rebuild, (self._name, self._orientation)


@lru_cache(maxsize=256)
def named_group(name: str, axis: tuple[float, float, float]) -> SymmetryGroup:
    """``SymmetryGroup(name, axis)``, which is a constant, computed once."""
    return SymmetryGroup(name, axis)


def _rebuild(name: str, q: Array) -> SymmetryGroup:
    """The named group turned by the rotation q (unpickling)."""
    lie_axes = {0: [], 1: [q[:, 2]], 3: [q[:, 2], q[:, 0]]}[names.parse(name)[0]]
    return SymmetryGroup.from_generators(q @ names.generators(name) @ q.T, lie_axes=lie_axes)
