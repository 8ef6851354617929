"""Field types: how the components of a feature vector transform under G (method: section 1)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from sikff.e3nn import parse_irreps
from sikff.groups import Irrep, SymmetryGroup
from sikff.groups.couplings import branching, clebsch_gordan, restriction
from sikff.groups.decomposition import Representation, decompose
from sikff.groups.matrices import Matrices, as_matrices, nearest_orthogonal

Array = np.ndarray


class Block(NamedTuple):
    """The features ``start`` to ``stop``: copies of one irrep, in memory [dim, copies]."""

    irrep: Irrep
    copies: int
    start: int
    stop: int


class FieldType:
    """A direct sum of irreps of G: immutable, hashable, equal by content.

    A feature vector of this type is the concatenation of its blocks; a block (n, irrep) holds
    n copies *component by component*: [dim, n], flattened.

    Args:
        group: the symmetry group G.
        fields: pairs (multiplicity, irrep); pairs with multiplicity 0 are dropped.

    Raises:
        ValueError: an irrep of another group, or a multiplicity that is not a whole number >= 0.
    """

    group: SymmetryGroup
    fields: tuple[tuple[int, Irrep], ...]
    _basis: Array | None

    def __init__(self, group: SymmetryGroup, fields: Iterable[tuple[int, Irrep]]) -> None:
        present = []
        for n, irrep in fields:
            if not isinstance(irrep, Irrep) or irrep.group != group:
                raise ValueError(f"expected pairs (multiplicity, irrep of {group}); got {irrep!r}")
            if int(n) != n or n < 0:
                raise ValueError(f"a multiplicity is a whole number >= 0; got {n!r} for {irrep}")
            if n:
                present.append((int(n), irrep))
        self._freeze(group, tuple(present), None)

    def _freeze(
        self, group: SymmetryGroup, fields: tuple[tuple[int, Irrep], ...], basis: Array | None
    ) -> None:
        self.__dict__.update(group=group, fields=fields, _basis=basis)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a FieldType is immutable; build a new one instead of setting {name}")

    @classmethod
    def scalar(cls, group: SymmetryGroup, n: int = 1) -> FieldType:
        """The type of n invariants."""
        return cls(group, [(n, group.irreps(0)[0])])

    @classmethod
    def vector(cls, group: SymmetryGroup, n: int = 1) -> FieldType:
        """The type of n vectors in Cartesian components, [x1, y1, z1, x2, ...]: rho(g) = g."""
        parts = restriction(group, 1, -1)
        one = cls(group, [(1, irrep) for irrep, _ in parts])
        from_zxy = group.orientation[:, [2, 0, 1]]  # the harmonics of degree 1 are z, x, y
        basis = from_zxy @ np.concatenate([t for _, t in parts], axis=1)
        one._freeze(group, one.fields, basis)
        cls(group, [(n, one.fields[0][1])])  # raises ValueError unless n is a multiplicity
        return sum([one] * (n - 1), start=one) if n else cls(group, [])

    @classmethod
    def harmonic(cls, group: SymmetryGroup, max_frequency: int, n: int = 1) -> FieldType:
        """n copies of each irrep in the harmonic polynomials of degree <= max_frequency.

        These are the irreps that functions of a direction can have: for O(3) the true tensors 0e,
        1o, 2e, ... without the pseudo-tensors.
        """
        irreps = {
            irrep.index: irrep
            for l in range(max_frequency + 1)
            for irrep, _ in restriction(group, l, (-1) ** l)
        }
        return cls(group, [(n, irreps[index]) for index in sorted(irreps)])

    @classmethod
    def from_o3(cls, group: SymmetryGroup, irreps: str) -> FieldType:
        """The restriction to G of an O(3) type in e3nn's notation, e.g. ``"16x0e + 8x1o"``.

        The result is canonical: all copies of an irrep of G are in one block.
        """
        fields = []
        for n, l, parity in parse_irreps(irreps):
            fields += [(n, irrep) for irrep, _ in restriction(group, l, parity)]
        return cls(group, fields).canonical

    @classmethod
    def from_representation(cls, group: SymmetryGroup, matrices: Representation) -> FieldType:
        """The type of features [d] that transform with given orthogonal matrices: rho = D.

        Its ``canonical`` type holds the irreps in D; ``change_of_basis`` Q leads from there to the
        given components, D(g) = Q rho_canonical(g) Q^T. Both depend on D alone, not on the machine.

        Args:
            group: the symmetry group G.
            matrices: D of ``group.generators`` in their order, [k, d, d], right to 1e-6 (made
                exact); or a function from elements [3, 3] (float64 arrays) to D(g) [d, d].

        Raises:
            ValueError: another number or shape of matrices, matrices that are not orthogonal, or
                that are no representation of G.
        """
        parts = decompose(group, matrices)
        size = sum(irrep.dim for irrep, _ in parts)
        basis = nearest_orthogonal(_columns(size, ((i, t[:, :, None]) for i, t in parts)))
        one = cls(group, [(1, irrep) for irrep, _ in parts]).canonical
        one._freeze(group, one.fields, basis)
        return one

    # -- content ------------------------------------------------------------------------------

    @cached_property
    def size(self) -> int:
        """Number of components d of a feature vector."""
        return sum(n * irrep.dim for n, irrep in self.fields)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the direct sum, in order (in the irrep basis)."""
        blocks, start = [], 0
        for n, irrep in self.fields:
            blocks.append(Block(irrep, n, start, start + n * irrep.dim))
            start += n * irrep.dim
        return tuple(blocks)

    @cached_property
    def block_sizes(self) -> list[int]:
        """Number of components of each block."""
        return [block.stop - block.start for block in self.blocks]

    @cached_property
    def n_invariants(self) -> int:
        """Number of invariant components; in the canonical type they come first."""
        return sum(n for n, irrep in self.fields if irrep.is_trivial)

    @cached_property
    def covariant(self) -> FieldType:
        """The canonical type without its invariants."""
        return FieldType(
            self.group, [(n, irrep) for n, irrep in self.canonical.fields if not irrep.is_trivial]
        )

    @cached_property
    def n_fields(self) -> int:
        """Number of irreducible fields."""
        return sum(n for n, _ in self.fields)

    @cached_property
    def irreps(self) -> tuple[Irrep, ...]:
        """The distinct irreps it contains, in canonical order."""
        return tuple(sorted({irrep for _, irrep in self.fields}, key=lambda irrep: irrep.index))

    @cached_property
    def max_frequency(self) -> int:
        """Largest frequency of its irreps (0 if empty)."""
        return max((irrep.frequency for irrep in self.irreps), default=0)

    def multiplicity(self, irrep: Irrep) -> int:
        """How many copies of an irrep it contains."""
        return sum(n for n, other in self.fields if other == irrep)

    @cached_property
    def canonical(self) -> FieldType:
        """The isomorphic type with each irrep collected in one block, in canonical order."""
        return FieldType(self.group, [(self.multiplicity(i), i) for i in self.irreps])

    @cached_property
    def is_canonical(self) -> bool:
        """Whether this is its own canonical type."""
        return self._basis is None and self.fields == self.canonical.fields

    @cached_property
    def change_of_basis(self) -> Array:
        """Orthogonal matrix [d, d] that takes features of the canonical type to this type."""
        matrix = np.zeros((self.size, self.size))
        used = dict.fromkeys(self.irreps, 0)
        target = {block.irrep: block for block in self.canonical.blocks}
        for block in self.blocks:
            into = target[block.irrep]
            for c in range(block.irrep.dim):
                for k in range(block.copies):
                    column = into.start + c * into.copies + used[block.irrep] + k
                    matrix[block.start + c * block.copies + k, column] = 1.0
            used[block.irrep] += block.copies
        return matrix if self._basis is None else self._basis @ matrix

    def representation(self, matrices: Matrices) -> torch.Tensor:
        """rho(g) [..., d, d] (float64) at elements [..., 3, 3] of G."""
        g = as_matrices(matrices)
        rho = np.zeros((*g.shape[:-2], self.size, self.size))
        for irrep, n, start, stop in self.blocks:
            rho[..., start:stop, start:stop] = np.kron(irrep.representation(g), np.eye(n))
        if self._basis is not None:
            rho = self._basis @ rho @ self._basis.T
        return torch.from_numpy(rho)

    def restrict(self, subgroup: SymmetryGroup) -> FieldType:
        """The canonical type of the same features under a subgroup of G; this type under G itself.

        Copies of an irrep of the subgroup are in the order of the fields of G they come from.

        Raises:
            ValueError: ``subgroup`` is not a subgroup of G.
        """
        if subgroup == self.group:
            return self
        fields = [
            (n, smaller)
            for n, irrep in self.canonical.fields
            for smaller, _ in branching(irrep, subgroup)
        ]
        return FieldType(subgroup, fields).canonical

    def restriction_matrix(self, subgroup: SymmetryGroup) -> Array:
        """Orthogonal matrix [d, d] that takes features of ``restrict(subgroup)`` to this type."""
        if subgroup == self.group:
            return np.eye(self.size)
        parts = []
        for irrep, n, start, stop in self.canonical.blocks:
            for smaller, t in branching(irrep, subgroup):
                copies = np.zeros((self.size, smaller.dim * n))
                copies[start:stop] = np.kron(t, np.eye(n))
                parts.append((smaller, copies.reshape(self.size, smaller.dim, n)))
        return self.change_of_basis @ _columns(self.size, parts)

    def tensor_product(self, other: FieldType) -> FieldType:
        """The canonical type of the tensor product self (x) other."""
        counts: dict[Irrep, int] = {}
        for n, a in self.fields:
            for m, b in other.fields:
                for c in self.group.irreps(a.frequency + b.frequency):
                    # dim Hom(a (x) b, c) = multiplicity x dimension of c's endomorphisms
                    k = len(clebsch_gordan(a, b, c)) // {"real": 1, "complex": 2}.get(c.type, 4)
                    if k:
                        counts[c] = counts.get(c, 0) + n * m * k
        return FieldType(self.group, [(n, irrep) for irrep, n in counts.items()]).canonical

    # -- value semantics --------------------------------------------------------------------------

    def __add__(self, other: FieldType) -> FieldType:
        """Direct sum: features are concatenated."""
        if self.group != other.group:
            raise ValueError(f"cannot add field types of {self.group} and {other.group}")
        total = FieldType(self.group, self.fields + other.fields)
        if self._basis is not None or other._basis is not None:
            basis = np.zeros((total.size, total.size))
            basis[: self.size, : self.size] = self._matrix
            basis[self.size :, self.size :] = other._matrix
            total._freeze(self.group, total.fields, basis)
        return total

    @property
    def _matrix(self) -> Array:
        return np.eye(self.size) if self._basis is None else self._basis

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, FieldType):
            return NotImplemented
        same = self.group == other.group and self.fields == other.fields
        return same and np.allclose(self._matrix, other._matrix, atol=1e-8)

    def __hash__(self) -> int:
        return hash((self.group, tuple((n, irrep.index) for n, irrep in self.fields)))

    def __repr__(self) -> str:
        terms = " + ".join(f"{n}x{irrep}" for n, irrep in self.fields) or "0"
        return f"FieldType({self.group}: {terms}{'' if self._basis is None else ' [own basis]'})"


def _columns(size: int, parts: Iterable[tuple[Irrep, Array]]) -> Array:
    """Basis [size, k] of a canonical type from copies [size, dim, n] of irreps in any order."""
    columns: dict[Irrep, list[Array]] = {}
    for irrep, copies in parts:
        columns.setdefault(irrep, []).append(copies)
    irreps = sorted(columns, key=lambda irrep: irrep.index)
    # copies are joined along their own axis, since a block is [dim, copies]
    blocks = [np.concatenate(columns[i], axis=2).reshape(size, -1) for i in irreps]
    return np.concatenate([np.zeros((size, 0)), *blocks], axis=1)
