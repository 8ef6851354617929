"""What the kernels of a network see of the edges: computed, or looked up in a table of splines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield.parts import Parts
from sikff.nn import (
    BesselBasis,
    EdgeBasis,
    ImplicitKernel,
    NeighbourLayout,
    SplineTable,
    TabulatedBasis,
)

INTERVALS = 48  # of splines, for each half wave of the fastest radial function
MOST_SPECIES = 12  # pairs of more make large tables: 50 kB for a pair, with the default settings


def table_of(kernels: Sequence[ImplicitKernel], embedding: Tensor) -> SplineTable | None:
    """Factors of all kernels, side by side, as functions of the length, a set for every pair.

    There is one for kernels that see of an edge its length and two species alone, apart from
    harmonics of the direction (``ImplicitKernel.is_radial``), if species are few, and in float32,
    whose rounding is no smaller than the error.

    Args:
        kernels: of the interactions.
        embedding: of the species [n, s]. Set n a + b is for receivers a and senders b.
    """
    n, attr_size, radial = len(embedding), 2 * embedding.shape[1], kernels[0].radial
    sees_pairs = all(k.attr_type is not None and k.attr_type.size == attr_size for k in kernels)
    is_radial = sees_pairs and all(kernel.is_radial for kernel in kernels)
    if not (is_radial and isinstance(radial, BesselBasis)):
        return None
    if n > MOST_SPECIES or embedding.dtype != torch.float32:
        return None
    pairs = torch.cat([embedding.repeat_interleave(n, 0), embedding.repeat(n, 1)], dim=-1)
    pairs = pairs.detach().cpu().double()
    twins = [copy.deepcopy(kernel).cpu().double() for kernel in kernels]

    @torch.no_grad()
    def factors(lengths: np.ndarray) -> np.ndarray:
        r = torch.from_numpy(lengths)
        sets = []
        for pair in pairs:
            attr = pair.expand(len(r), -1)
            sets.append(torch.cat([twin.factors(r, attr) for twin in twins], dim=-1))
        return torch.stack(sets).numpy()

    table = SplineTable.fitted(factors, INTERVALS * radial.size, radial.cutoff)
    return table._replace(coefficients=table.coefficients.to(embedding))


def edge_attr(
    embedding: Tensor,
    species: Tensor,
    receivers: Tensor,
    senders: Tensor,
    own: Sequence[Tensor],
    by_number: bool,
) -> Tensor:
    """Attributes of edges: both species [P, 2 s] and what only receivers have; or the set [P].

    Args:
        embedding: of the species [n, s].
        species: of the atoms [N].
        receivers, senders: of the edges [P].
        own: further attributes of atoms, [N, ...] each.
        by_number: the number of the set in a table, see :func:`table_of`.
    """
    if by_number:
        first, second = (species.index_select(0, x) for x in (receivers, senders))
        return len(embedding) * first + second
    embedded = embedding.index_select(0, species)
    attr = [embedded.index_select(0, x) for x in (receivers, senders)]
    return torch.cat([*attr, *(x.index_select(0, receivers) for x in own)], dim=-1)


def seen_of_edges(
    kernels: Sequence[ImplicitKernel],
    attr: Tensor,
    vectors: Tensor,
    layout: NeighbourLayout,
    table: SplineTable | None,
    parts: Parts | None,
) -> Sequence[EdgeBasis | TabulatedBasis]:
    """What each kernel sees of the edges, in the layout's places [P].

    Args:
        kernels: of the interactions.
        attr: attributes of the edges in their places [P, a]; with a table, its set [P].
        vectors: of the edges [E, 3].
        layout: of the edges.
        table: of these kernels.
        parts: of the layout, to be evaluated one after the other.
    """
    first = kernels[0]  # all see the same of the vectors
    of_vectors = (layout.in_places(vectors), layout.filled)
    if table is None:

        def basis(x: Tensor, filled: Tensor) -> tuple[Tensor, ...]:
            harmonics, radial, shell, _ = first.basis(x, weights=filled)
            return harmonics, radial, shell

        harmonics, radial, shell = _of_places(basis, parts, *of_vectors)
        return [EdgeBasis(harmonics, radial, shell, attr)] * len(kernels)

    def looked_up(x: Tensor, filled: Tensor, number: Tensor) -> tuple[Tensor, ...]:
        harmonics, r = first.polar(x)
        return harmonics, table(r, number, filled)

    harmonics, factors = _of_places(looked_up, parts, *of_vectors, attr)
    own = factors.split([kernel.trunk.n_factors for kernel in kernels], dim=-1)
    return [TabulatedBasis(harmonics, each) for each in own]


def _of_places(
    function: Callable[..., tuple[Tensor, ...]], parts: Parts | None, *inputs: Tensor
) -> tuple[Tensor, ...]:
    return function(*inputs) if parts is None else parts.of_places(function, *inputs)
