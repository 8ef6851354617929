"""Real irreducible representations, found by restricting those of O(3) and splitting.

All of them belong to a named group in its standard orientation; a turned group Q G Q^T shares them
through rho(g) = rho_standard(Q^T g Q), see :class:`sikff.groups.Irrep`.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sikff.groups.classify import contains, standard_elements
from sikff.groups.harmonic_polynomials import wigner_d
from sikff.groups.names import MIRROR_XY, generators, parse
from sikff.groups.null_space import (
    canonical_basis,
    embeddings,
    hom_basis,
    hom_projector,
)

Array = np.ndarray


class StandardIrrep(NamedTuple):
    """A real irrep: an invariant subspace of O(3)'s irrep (frequency, parity).

    Attributes:
        label: Mulliken-like, unique within the group.
        frequency: lowest degree l of O(3) in which it appears.
        parity: parity (+1 or -1) of that O(3) irrep.
        n_endomorphisms: dimension of its endomorphism algebra: 1, 2 or 4.
        embedding: isometry [2l+1, d] whose image is the subspace.
    """

    label: str
    frequency: int
    parity: int
    n_endomorphisms: int
    embedding: Array

    @property
    def dim(self) -> int:
        """Dimension d."""
        return self.embedding.shape[1]

    def representation(self, matrices: Array) -> Array:
        """rho(g) [..., d, d] at elements [..., 3, 3] of the group in standard orientation."""
        d = wigner_d(self.frequency, self.parity, matrices)
        return self.embedding.T @ d @ self.embedding


@lru_cache(maxsize=4096)
def standard_irreps(name: str, max_frequency: int) -> tuple[StandardIrrep, ...]:
    """All real irreps of a named group with frequency <= max_frequency, in canonical order.

    Those of a lower maximum come first and are the same.
    """
    irreps = list(standard_irreps(name, max_frequency - 1)) if max_frequency else []
    lie_dimension, _ = parse(name)
    if lie_dimension == 0 and _are_all(irreps, len(standard_elements(name))):
        return tuple(irreps)
    for parity in _parities(name, max_frequency):
        d = list(wigner_d(max_frequency, parity, generators(name)))
        while (rest := _remainder(irreps, name, d)).shape[1]:
            embedding = _first_irreducible(rest, d)
            rho = [embedding.T @ g @ embedding for g in d]
            n_endomorphisms = len(hom_basis(rho, rho))
            embedding.setflags(write=False)
            irrep = StandardIrrep("", max_frequency, parity, n_endomorphisms, embedding)
            irreps.append(irrep._replace(label=_label(name, irreps, irrep)))
    return tuple(irreps)


def _parities(name: str, l: int) -> tuple[int, ...]:
    """Parities to restrict at degree l, the natural one (-1)^l first (no others if proper)."""
    natural = (-1) ** l
    has_improper = (np.linalg.det(standard_elements(name)) < 0).any()
    return (natural, -natural) if has_improper else (natural,)


def _are_all(irreps: Sequence[StandardIrrep], order: int) -> bool:
    """Whether irreps are all of a finite group's: the sum of d^2 / e is the group's order."""
    return sum(irrep.dim**2 // irrep.n_endomorphisms for irrep in irreps) == order


def _remainder(irreps: Sequence[StandardIrrep], name: str, d: list[Array]) -> Array:
    """Basis [n, k] of the orthogonal complement of all copies of some irreps in a representation.

    Args:
        d: the representation [n, n] of each generator.
    """
    rest = np.eye(len(d[0]))
    for irrep in irreps:
        rho = list(irrep.representation(generators(name)))
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


def _principal_element(name: str) -> Array:
    """The element whose character tells A from B (Mulliken)."""
    matrices = generators(name)
    if name in ("Ci", "Cs") or name[0] in "TOI":
        return np.eye(3)
    if name[0] == "S" and _is_element(name, -np.eye(3)):
        return matrices[0] @ matrices[0]
    if name[0] == "D" and name[-1] == "d" and not _is_element(name, -np.eye(3)):
        return matrices[2]
    return matrices[0]


def _is_element(name: str, g: Array) -> bool:
    return contains(standard_elements(name), parse(name)[0], np.eye(3)[2], g)


def _label(name: str, others: Sequence[StandardIrrep], irrep: StandardIrrep) -> str:
    """Mulliken-like label; O(3) and SO(3) in the usual l and parity.

    Args:
        others: the irreps before it in the canonical order.
    """
    lie_dimension, _ = parse(name)
    if lie_dimension == 3:
        parity = "e" if irrep.parity > 0 else "o"
        return f"{irrep.frequency}{parity if name == 'O(3)' else ''}"

    def character(g: Array) -> float:
        return float(np.trace(irrep.representation(g))) / irrep.dim

    letter = {1: "A", 2: "E", 3: "T", 4: "G", 5: "H"}[irrep.dim]
    if irrep.dim == 1 and lie_dimension == 0 and character(_principal_element(name)) < 0:
        letter = "B"
    suffix = ""
    if _is_element(name, -np.eye(3)):
        suffix = "g" if character(-np.eye(3)) > 0 else "u"
    elif name[0] in "CD" and _is_element(name, MIRROR_XY):
        suffix = "'" if character(MIRROR_XY) > 0 else '"'
    one_axis = name[0] in "CS" and name[-1] != "v"
    is_numbered = not (
        (letter in "AB" and (one_axis or (name[0] in "TI" and name != "Td")))
        or (letter in "EGH" and name[0] in "TOI")
        or (letter == "T" and name in ("T", "Th"))
    )
    if not is_numbered:
        return letter + suffix
    if letter == "T" and name in ("Td", "O", "Oh"):  # T1 and T2 differ under the fourfold element
        fourfold = generators(name)[2 if name == "Td" else 0]
        return f"T{1 if character(fourfold) > 0 else 2}{suffix}"
    same = [o for o in others if o.label.startswith(letter) and o.label.endswith(suffix)]
    return f"{letter}{len(same) + 1}{suffix}"
