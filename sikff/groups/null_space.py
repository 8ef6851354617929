"""Null spaces with a basis that does not depend on the machine.

An eigenvector routine may return any basis of a degenerate space. The *projector* on the space is
unique, so every basis here is computed from a projector by one fixed rule.
"""

from collections.abc import Callable, Sequence

import numpy as np

Array = np.ndarray

NULL_TOLERANCE = 1e-9  # largest eigenvalue of T^T T that counts as zero
PIVOT = 1e-2  # smallest norm, relative to 1, of a column that is independent of those before


def canonical_basis(projector: Array, orbit: Callable[[Array], Array] | None = None) -> Array:
    """Orthonormal basis [n, rank] of the projector's image, the same on every machine.

    Gram-Schmidt on the columns of the projector in their order, without those that are (nearly) in
    the span of the ones before. With ``orbit`` (vector [n] -> vectors [k, n]) the basis holds one
    representative of each orbit, and the span contains all of it.
    """
    size, rank = len(projector), round(float(np.trace(projector)))
    span, basis = np.zeros((size, 0)), []
    for column in projector.T:
        if span.shape[1] == rank:
            break
        for _ in range(2):  # twice is enough (Kahan): orthogonal to machine precision
            column = column - span @ (span.T @ column)
        norm = np.linalg.norm(column)
        if norm < PIVOT:
            continue
        basis.append(column / norm)
        new = orbit(basis[-1]).T if orbit else basis[-1][:, None]
        new = new - span @ (span.T @ new)
        u, s, _ = np.linalg.svd(new, full_matrices=False)
        span = np.concatenate([span, u[:, s > PIVOT * s[0]]], axis=1)
    return np.stack(basis, axis=1) if basis else np.zeros((size, 0))


def hom_projector(source: Sequence[Array], target: Sequence[Array]) -> Array:
    """Projector on Hom = {T : target(g) T = T source(g)}, acting on vec T (row-major).

    ``source`` and ``target`` list the (orthogonal) representation matrices of the same generators.
    The first generator is solved through its eigenvectors, which leaves a small space in which
    the others are solved one after the other.
    """
    size = source[0].shape[0] * target[0].shape[0]
    values_in, vectors_in = _eigenbasis(source[0])
    values_out, vectors_out = _eigenbasis(target[0])
    i, j = np.nonzero(np.abs(values_out[:, None] - values_in) < np.sqrt(NULL_TOLERANCE))
    basis = vectors_out.T[i][:, :, None] * vectors_in.T.conj()[j][:, None, :]
    for a, b in zip(source[1:], target[1:], strict=True):
        residual = (b @ basis - basis @ a).reshape(len(basis), size)
        values, vectors = np.linalg.eigh(residual.conj() @ residual.T)
        basis = np.tensordot(vectors[:, values < NULL_TOLERANCE].T, basis, axes=1)
    flat = basis.reshape(len(basis), size)
    return (flat.T @ flat.conj()).real


def _eigenbasis(matrix: Array) -> tuple[Array, Array]:
    """Eigenvalues [n] and orthonormal eigenvectors (columns, complex) of an orthogonal matrix."""
    symmetric, antisymmetric = (matrix + matrix.T) / 2, (matrix - matrix.T) / 2
    _, vectors = np.linalg.eigh(symmetric + 0.7j * antisymmetric)  # they commute
    return np.einsum("ji,jk,ki->i", vectors.conj(), matrix, vectors), vectors


def hom_basis(source: Sequence[Array], target: Sequence[Array]) -> Array:
    """Canonical basis [k, n_out, n_in] of Hom(source, target), each element of norm sqrt(n_in)."""
    n_in, n_out = source[0].shape[0], target[0].shape[0]
    basis = canonical_basis(hom_projector(source, target))
    return basis.T.reshape(-1, n_out, n_in) * np.sqrt(n_in)


def embeddings(irrep: Sequence[Array], target: Sequence[Array], endomorphisms: Array) -> Array:
    """Isometries [multiplicity, n, d] that embed an irrep's copies into a representation.

    Their images are orthogonal and together fill the isotypic component.
    """
    d, n = irrep[0].shape[0], target[0].shape[0]

    def orbit(vector: Array) -> Array:
        return (vector.reshape(n, d) @ endomorphisms).reshape(len(endomorphisms), n * d)

    basis = canonical_basis(hom_projector(irrep, target), orbit)
    return basis.T.reshape(-1, n, d) * np.sqrt(d)
