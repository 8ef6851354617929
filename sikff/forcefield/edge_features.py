"""What the kernels of a network see of the edges: computed, or looked up in a table of splines."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield.chunks import Parts
from sikff.nn import (
    BesselBasis,
    EdgeBasis,
    ImplicitKernel,
    NeighbourLayout,
    SplineTable,
    TabulatedBasis,
)
from sikff.nn.weight_cache import store

INTERVALS = 48  # of splines, for each half wave of the fastest radial function
MOST_SPECIES = 12  # pairs of more make large tables: 50 kB for a pair, with the default settings


def tabulate(kernels: Sequence[ImplicitKernel], embedding: Tensor) -> None:
    """From now on frozen kernels look their factors up, by length and pair of species, if they can.

    They can if they see of an edge its length and two species alone, apart from harmonics of the
    direction (``ImplicitKernel.is_radial``), if species are few, and in float32, whose rounding is
    no smaller than the error.

    Args:
        kernels: of the interactions.
        embedding: of the species [n, s]. Set n a + b of a table is for receivers a and senders b.
    """
    n, attr_size = len(embedding), 2 * embedding.shape[1]
    sees_pairs = all(k.attr_type is not None and k.attr_type.size == attr_size for k in kernels)
    is_radial = sees_pairs and all(kernel.is_radial for kernel in kernels)
    if not is_radial or n > MOST_SPECIES or embedding.dtype != torch.float32:
        return
    pairs = torch.cat([embedding.repeat_interleave(n, 0), embedding.repeat(n, 1)], dim=-1)
    for kernel in kernels:
        store(kernel, "table", _table(kernel, pairs.detach()))


def _table(kernel: ImplicitKernel, attr: Tensor) -> SplineTable:
    """Of the factors of a kernel, one set for each row of attributes."""
    twin, radial = copy.deepcopy(kernel).cpu().double(), cast(BesselBasis, kernel.radial)

    @torch.no_grad()
    def factors(lengths: np.ndarray) -> np.ndarray:
        r = torch.from_numpy(lengths)
        sets = [twin.factors(r, row.expand(len(r), -1)) for row in attr.cpu().double()]
        return torch.stack(sets).numpy()

    return SplineTable.fitted(factors, INTERVALS * radial.size, radial.cutoff).to(attr)


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
        by_number: the number of the set in a table, see :func:`tabulate`.
    """
    if by_number:
        first, second = (species.index_select(0, x) for x in (receivers, senders))
        return len(embedding) * first + second
    embedded = embedding.index_select(0, species)
    attr = [embedded.index_select(0, x) for x in (receivers, senders)]
    return torch.cat([*attr, *(x.index_select(0, receivers) for x in own)], dim=-1)


def seen_of_edges(
    kernel: ImplicitKernel,
    attr: Tensor,
    vectors: Tensor,
    layout: NeighbourLayout,
    parts: Parts | None,
) -> EdgeBasis | TabulatedBasis:
    """What kernels see of the edges, in the layout's places [P].

    Args:
        kernel: of the first interaction; all see the same.
        attr: attributes of the edges in their places [P, a], of tabulated kernels the set [P].
        vectors: of the edges [E, 3].
        layout: of the edges.
        parts: of the layout, to be evaluated one after the other.
    """

    def basis(x: Tensor, filled: Tensor) -> tuple[Tensor, ...]:
        harmonics, radial, shell, _ = kernel.basis(x, weights=filled)
        return harmonics, radial, shell

    x, filled = layout.in_places(vectors), layout.filled
    if kernel.table is None:
        of_edges = basis(x, filled) if parts is None else parts.of_places(basis, x, filled)
        harmonics, radial, shell = of_edges
        return EdgeBasis(harmonics, radial, shell, attr)
    harmonics, r = kernel.polar(x) if parts is None else parts.of_places(kernel.polar, x)
    return TabulatedBasis(harmonics, r, *kernel.table.places(r, attr, filled))
