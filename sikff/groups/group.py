"""Compact subgroups of O(3) as values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch

from sikff.groups import classify, names
from sikff.groups.names import rotation
from sikff.groups.null_space import canonical_basis

if TYPE_CHECKING:
    from sikff.groups.irreps import Irrep

Array = np.ndarray
Matrices = torch.Tensor | Array | Sequence

NEARLY = 1e-3  # two axes of continuous rotations are further apart


def as_matrices(matrices: Matrices) -> Array:
    """Matrices [..., 3, 3] as a float64 array; checks shape and orthogonality."""
    if isinstance(matrices, torch.Tensor):
        matrices = matrices.detach().cpu().numpy()
    array = np.asarray(matrices, dtype=np.float64)
    if array.shape[-2:] != (3, 3):
        raise ValueError(f"expected 3x3 matrices, shape [..., 3, 3]; got shape {array.shape}")
    error = np.abs(array @ np.swapaxes(array, -1, -2) - np.eye(3)).max(initial=0.0)
    if not error < 1e-4:
        raise ValueError(f"expected orthogonal matrices; got |g g^T - 1| up to {error:.1e}")
    return array


def unit_vector(axis: Sequence[float] | Array) -> Array:
    """The unit vector [3] along an axis.

    Raises:
        ValueError: if the axis is not three finite numbers, or all are zero.
    """
    direction = np.asarray(axis, dtype=np.float64)
    length = np.linalg.norm(direction) if direction.shape == (3,) else math.nan
    if not (np.isfinite(length) and length > 0):
        raise ValueError(f"axis must be three finite numbers, not all zero; got {axis!r}")
    return direction / length


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

    __slots__ = ("_elements", "_frame", "_lie_dimension", "_name")

    def __init__(self, name: str, axis: Sequence[float] = (0, 0, 1)) -> None:
        direction = unit_vector(axis)
        dimension, generators = names.parse(name)
        turn = classify.minimal_rotation(direction)
        self._set(dimension, direction, [turn @ g @ turn.T for g in generators])

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
        if any(classify.SAME < tilt < NEARLY for tilt in tilts):
            raise ValueError(
                f"an axis of continuous rotations, or its image, is {max(tilts):.1e} off "
                f"{axes[0].tolist()}, too little for another axis; give matrices and axes to more "
                "digits"
            )
        dimension = 3 if any(tilt > classify.SAME for tilt in tilts) else len(axes[:1])
        group = cls.__new__(cls)
        group._set(dimension, axes[0] if axes else None, generators)
        return group

    def _set(self, dimension: int, axis: Array | None, generators: Sequence[Array]) -> None:
        """Derive the content: name, frame, and the elements (or one per component)."""
        if dimension == 0:
            elements = classify.closure(generators)
            self._name = classify.schoenflies(elements)
            self._frame = classify.canonical_frame(self._name, elements)
        else:
            n = np.array([0.0, 0.0, 1.0])
            self._frame = np.eye(3)
            if dimension == 1 and axis is not None:
                n = classify.positive_direction(axis)
                self._frame = classify.minimal_rotation(n)
            signs = {(1, 1)}
            for g in generators:
                new = (round(n @ g @ n) if dimension == 1 else 1, round(np.linalg.det(g)))
                signs |= {(a * new[0], b * new[1]) for a, b in signs}
            self._name = names.continuous_name(dimension, frozenset(signs))
        _, standard = names.parse(self._name)
        elements = self._frame @ classify.closure(standard) @ self._frame.T
        elements.setflags(write=False)
        self._frame.setflags(write=False)
        self._elements = elements
        self._lie_dimension = dimension

    # -- what it is ------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """Canonical name, e.g. ``"C6v"``: equal groups have equal names."""
        return self._name

    @property
    def frame(self) -> Array:
        """Rotation Q [3, 3] with G = Q G_standard Q^T."""
        return self._frame

    @property
    def axis(self) -> Array:
        """Unit vector [3] along the principal axis (z of the frame)."""
        return self._frame[:, 2]

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
    def kept_vectors(self) -> Array:
        """Orthonormal vectors [k, 3] that span those which every element leaves in place."""
        projector = np.mean(self._elements, axis=0)
        if self._lie_dimension:
            along = np.outer(self.axis, self.axis)
            projector = projector @ along if self._lie_dimension == 1 else 0 * projector
        return canonical_basis((projector + projector.T) / 2).T

    @property
    def standard(self) -> SymmetryGroup:
        """The same group in its standard orientation (axis z)."""
        return self if np.array_equal(self._frame, np.eye(3)) else _standard(self._name)

    @property
    def generators(self) -> Array:
        """Matrices [k, 3, 3] that span a dense part of G."""
        _, standard = names.parse(self._name)
        z, x = np.eye(3)[2], np.eye(3)[0]
        continuous = {
            0: [],
            1: [rotation(z, 1.0), rotation(z, math.sqrt(2))],
            3: [rotation(z, 1.0), rotation(x, 1.0), rotation(z + x, math.sqrt(2))],
        }[self._lie_dimension]
        all_ = [*continuous, *standard] or [np.eye(3)]
        return self._frame @ np.array(all_) @ self._frame.T

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

    def contains(self, matrix: Matrices, tolerance: float = classify.SAME) -> bool:
        """Whether a 3x3 orthogonal matrix is an element, within ``tolerance``."""
        g = as_matrices(matrix)
        if g.ndim != 2:
            raise ValueError(f"contains() takes one matrix [3, 3]; got shape {g.shape}")
        if self._lie_dimension == 0:
            return classify.is_member(g, self._elements, tolerance)
        if self._lie_dimension == 3:
            return self.has_improper or np.linalg.det(g) > 0
        n = self.axis
        moved = g @ n
        if min(np.abs(moved - n).max(), np.abs(moved + n).max()) > tolerance:
            return False
        sign, det = np.sign(moved @ n), np.sign(np.linalg.det(g))
        return any(
            np.sign(n @ e @ n) == sign and np.sign(np.linalg.det(e)) == det for e in self._elements
        )

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
        """
        from sikff.groups.irreps import irreps_up_to

        return irreps_up_to(self, max_frequency)

    # -- value semantics --------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SymmetryGroup):
            return NotImplemented
        same_frame = np.abs(self._frame - other._frame).max() < classify.SAME
        return self._name == other._name and bool(same_frame)

    def __hash__(self) -> int:
        return hash(("SymmetryGroup", self._name))

    def __repr__(self) -> str:
        return f"SymmetryGroup({self})"

    def __str__(self) -> str:
        if np.allclose(self._frame, np.eye(3), atol=1e-8):
            return self._name
        axis = ", ".join(f"{a:.4g}" for a in self.axis + 0.0)
        return f"{self._name} about ({axis})"

    def __reduce__(self) -> tuple:
        return _rebuild, (self._name, self._frame)


@lru_cache(maxsize=256)
def _standard(name: str) -> SymmetryGroup:
    return SymmetryGroup(name)


def _rebuild(name: str, frame: Array) -> SymmetryGroup:
    standard = _standard(name)
    lie_axes = {0: [], 1: [frame[:, 2]], 3: [frame[:, 2], frame[:, 0]]}[standard.lie_dimension]
    return SymmetryGroup.from_generators(frame @ standard.generators @ frame.T, lie_axes=lie_axes)
