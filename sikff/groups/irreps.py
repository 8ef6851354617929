"""Real irreducible representations, found by restricting those of O(3) and splitting.

All tables belong to the group in its standard orientation; a turned group Q G Q^T shares them
through rho(g) = rho_standard(Q^T g Q).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from sikff.groups.group import Matrices, SymmetryGroup, _standard, as_matrices
from sikff.groups.harmonics import wigner_d
from sikff.groups.null_space import (
    canonical_basis,
    embeddings,
    hom_basis,
    hom_projector,
)

Array = np.ndarray

_TYPES = {1: "real", 2: "complex", 4: "quaternionic"}


@dataclass(frozen=True)
class Irrep:
    """A real irrep of a group: an invariant subspace of O(3)'s irrep (frequency, parity).

    Attributes:
        group: the group.
        name: Mulliken-like label, unique within the group.
        index: position in the group's canonical list of irreps.
        frequency: lowest degree l of O(3) in which it appears.
        parity: parity (+1 or -1) of that O(3) irrep.
        dim: dimension d.
        type: "real", "complex" or "quaternionic": endomorphisms of dimension 1, 2 or 4.
    """

    group: SymmetryGroup
    name: str
    index: int
    frequency: int
    parity: int
    dim: int
    type: str
    embedding: Array = field(repr=False, compare=False)  # [2l+1, d], isometric

    @property
    def is_trivial(self) -> bool:
        """Whether every element acts as 1."""
        return self.index == 0

    def representation(self, matrices: Matrices) -> Array:
        """rho(g) [..., d, d] at elements [..., 3, 3] of the group."""
        frame = self.group.frame
        g = frame.T @ as_matrices(matrices) @ frame
        d = wigner_d(self.frequency, self.parity, g)
        return self.embedding.T @ d @ self.embedding

    def __str__(self) -> str:
        return self.name


def irreps_up_to(group: SymmetryGroup, max_frequency: int) -> tuple[Irrep, ...]:
    """See :meth:`SymmetryGroup.irreps`."""
    if int(max_frequency) != max_frequency or max_frequency < 0:
        raise ValueError(f"max_frequency must be a whole number >= 0; got {max_frequency!r}")
    return tuple(
        Irrep(group, name, index, l, p, embedding.shape[1], _TYPES[e], embedding)
        for index, (name, l, p, e, embedding) in enumerate(
            _standard_irreps(group.name, int(max_frequency))
        )
    )


def parities(group: SymmetryGroup, l: int) -> tuple[int, ...]:
    """Parities to restrict at degree l, the natural one (-1)^l first (no others if proper)."""
    natural = (-1) ** l
    return (natural, -natural) if group.has_improper else (natural,)


@lru_cache(maxsize=4096)
def _standard_irreps(name: str, max_l: int) -> tuple[tuple[str, int, int, int, Array], ...]:
    """(name, l, parity, endomorphism dimension, embedding) of irreps of frequency <= max_l."""
    group = _standard(name)
    known = list(_standard_irreps(name, max_l - 1)) if max_l else []
    if group.lie_dimension == 0 and _is_complete(known, group.order):
        return tuple(known)
    for p in parities(group, max_l):
        d = list(wigner_d(max_l, p, group.generators))
        while (rest := _remainder(known, group, d)).shape[1]:
            embedding = _first_irreducible(rest, d)
            rho = [embedding.T @ g @ embedding for g in d]
            e = len(hom_basis(rho, rho))
            label = _label(group, known, max_l, p, embedding)
            embedding.setflags(write=False)
            known.append((label, max_l, p, e, embedding))
    return tuple(known)


def _is_complete(known: list, order: float) -> bool:
    return sum(embedding.shape[1] ** 2 // e for *_, e, embedding in known) == order


def _remainder(known: list, group: SymmetryGroup, d: list[Array]) -> Array:
    """Basis [n, k] of what the known irreps leave of a representation."""
    rest = np.eye(len(d[0]))
    for _, l, p, _, u in known:
        rho = [u.T @ g @ u for g in wigner_d(l, p, group.generators)]
        for t in embeddings(rho, d, hom_basis(rho, rho)):
            rest = rest - t @ t.T
    return canonical_basis(rest)


def _first_irreducible(rest: Array, d: list[Array]) -> Array:
    """Basis [n, k] of one irreducible subspace of span(rest), in a fixed gauge.

    A fixed symmetric matrix is projected on the commutant: its eigenspaces are irreducible.
    """
    k = rest.shape[1]
    action = [rest.T @ g @ rest for g in d]
    i, j = np.meshgrid(np.arange(k), np.arange(k), indexing="ij")
    probe = np.cos(1.0 + 2.0 * (i + j) + 3.0 * i * j) + np.diag(np.arange(k) + 0.0)
    commuting = (hom_projector(action, action) @ probe.ravel()).reshape(k, k)
    values, vectors = np.linalg.eigh(commuting + commuting.T)
    starts = np.flatnonzero(np.diff(values, prepend=-np.inf) > 1e-6)
    spaces = [rest @ v for v in np.split(vectors, starts[1:], axis=1)]

    def order(space: Array) -> int:
        return int(np.flatnonzero(np.linalg.norm(space, axis=1) > 1e-3)[0])

    chosen = min(spaces, key=order)
    return canonical_basis(chosen @ chosen.T)


def _principal_element(group: SymmetryGroup) -> Array:
    """The element whose character tells A from B (Mulliken)."""
    name, elements = group.name, group.generators
    if name in ("Ci", "Cs") or name[0] in "TOI":
        return np.eye(3)
    if name[0] == "S" and group.contains(-np.eye(3)):
        return elements[0] @ elements[0]
    if name[0] == "D" and name[-1] == "d" and not group.contains(-np.eye(3)):
        return elements[2]
    return elements[0]


def _label(group: SymmetryGroup, known: list, l: int, p: int, embedding: Array) -> str:
    """Mulliken-like label; O(3) and SO(3) in the usual l and parity."""
    name = group.name
    if group.lie_dimension == 3:
        return f"{l}{'e' if p > 0 else 'o'}" if name == "O(3)" else str(l)
    dim = embedding.shape[1]

    def character(g: Array) -> float:
        return float(np.trace(embedding.T @ wigner_d(l, p, g) @ embedding)) / dim

    letter = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}[dim]
    if dim == 1 and group.lie_dimension == 0 and character(_principal_element(group)) < 0:
        letter = "B"
    suffix = ""
    if group.contains(-np.eye(3)):
        suffix = "g" if character(-np.eye(3)) > 0 else "u"
    elif group.contains(np.diag([1.0, 1.0, -1.0])) and name[0] in "CD":
        suffix = "'" if character(np.diag([1.0, 1.0, -1.0])) > 0 else '"'
    one_axis = name[0] in "CS" and name[-1] != "v"
    numbered = not (
        (letter in "AB" and (one_axis or (name[0] in "TI" and name != "Td")))
        or (letter in "EGH" and name[0] in "TOI")
        or (letter == "T" and name in ("T", "Th"))
    )
    if not numbered:
        return letter + suffix
    if letter == "T":  # cubic groups: T1 and T2 differ under the fourfold element
        fourfold = group.generators[2 if name == "Td" else 0]
        if name in ("Td", "O", "Oh"):
            return f"T{1 if character(fourfold) > 0 else 2}{suffix}"
    same = Counter(label.startswith(letter) and label.endswith(suffix) for label, *_ in known)[True]
    return f"{letter}{same + 1}{suffix}"
