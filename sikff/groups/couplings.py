"""Bases of equivariant maps: endomorphisms, Clebsch-Gordan coefficients, restrictions.

All are float64, from null spaces in canonical bases, and cached by group name and irreps.
"""

from functools import lru_cache

import numpy as np

from sikff.groups.group import Irrep, SymmetryGroup
from sikff.groups.harmonic_polynomials import wigner_d
from sikff.groups.irreps import standard_irreps
from sikff.groups.names import generators
from sikff.groups.null_space import canonical_basis, embeddings, hom_basis

Array = np.ndarray
Key = tuple[str, int, int]  # group name, frequency to list up to, index in that list


def _key(irrep: Irrep) -> Key:
    return irrep.group.name, irrep.frequency, irrep.index


@lru_cache(maxsize=4096)
def _on_generators(key: Key) -> tuple[Array, ...]:
    """The representation of each generator of the group in standard orientation."""
    name, frequency, index = key
    return tuple(standard_irreps(name, frequency)[index].representation(generators(name)))


def endomorphisms(irrep: Irrep) -> Array:
    """Basis [e, d, d] of the maps that commute with an irrep (Schur); the first is the identity."""
    return _endomorphisms(_key(irrep))


@lru_cache(maxsize=4096)
def _endomorphisms(key: Key) -> Array:
    rho = _on_generators(key)
    d = len(rho[0])
    basis = hom_basis(rho, rho).reshape(-1, d * d) / np.sqrt(d)
    identity = np.eye(d).ravel() / np.sqrt(d)
    rest = basis.T @ basis - np.outer(identity, identity)
    basis = np.concatenate([identity[None], canonical_basis(rest).T])
    return basis.reshape(-1, d, d) * np.sqrt(d)


def clebsch_gordan(a: Irrep, b: Irrep, c: Irrep) -> Array:
    """Basis [k, d_c, d_a, d_b] of Hom_G(a (x) b, c): every equivariant bilinear map.

    Normalised so that unit-variance, independent a and b give unit-variance c.
    """
    return _clebsch_gordan(_key(a), _key(b), _key(c))


@lru_cache(maxsize=65536)
def _clebsch_gordan(a: Key, b: Key, c: Key) -> Array:
    rho_a, rho_b, rho_c = _on_generators(a), _on_generators(b), _on_generators(c)
    product = [np.kron(x, y) for x, y in zip(rho_a, rho_b, strict=True)]
    d_a, d_b, d_c = len(rho_a[0]), len(rho_b[0]), len(rho_c[0])
    basis = hom_basis(product, rho_c)
    return (basis * np.sqrt(d_c / (d_a * d_b))).reshape(-1, d_c, d_a, d_b)


def restriction(group: SymmetryGroup, l: int, parity: int) -> list[tuple[Irrep, Array]]:
    """O(3)'s irrep (l, parity) restricted to G, as pairs (irrep, isometry [2l+1, d]).

    The isometries T satisfy D(g) T = T rho(g), with D the O(3) matrices of
    :func:`sikff.groups.harmonic_polynomials.wigner_d` at Q^T g Q, Q the group's orientation;
    together their columns are an orthonormal basis.
    """
    irreps = group.irreps(l)
    return [(irreps[index], t) for index, t in _restriction(group.name, l, parity)]


@lru_cache(maxsize=4096)
def _restriction(name: str, l: int, parity: int) -> tuple[tuple[int, Array], ...]:
    d = list(wigner_d(l, parity, generators(name)))
    parts = []
    for index in range(len(standard_irreps(name, l))):
        key = (name, l, index)
        for t in embeddings(_on_generators(key), d, _endomorphisms(key)):
            parts.append((index, t))
    return tuple(parts)


def branching(irrep: Irrep, subgroup: SymmetryGroup) -> list[tuple[Irrep, Array]]:
    """An irrep of G restricted to a subgroup H, as pairs (irrep of H, isometry [d, d_H]).

    The isometries T satisfy rho(h) T = T rho_H(h) for all h in H; together their columns are an
    orthonormal basis.

    Raises:
        ValueError: ``subgroup`` is not a subgroup of the irrep's group.
    """
    if not subgroup <= irrep.group:
        raise ValueError(
            f"{subgroup} is not a subgroup of {irrep.group}; expected a group whose elements, "
            "about the same axis, all belong to it"
        )
    matrices = subgroup.generators
    d = list(irrep.representation(matrices))
    parts = []
    for part in subgroup.irreps(irrep.frequency):
        rho = list(part.representation(matrices))
        parts += [(part, t) for t in embeddings(rho, d, endomorphisms(part))]
    return parts
