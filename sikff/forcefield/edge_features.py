"""The basis of the edges that all kernels of a network share: for G-MLPs, or for spline tables."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield.chunks import Chunks, SingleChunk
from sikff.nn import (
    BesselBasis,
    EdgeBasis,
    ImplicitKernel,
    NeighbourLayout,
    SplineBasis,
    SplineTable,
)
from sikff.nn.weight_cache import store

INTERVALS = 48  # of splines, for each half wave of the fastest radial function
MOST_SPECIES = 12  # more pairs make large tables: 50 kB for a pair, with the default settings


def add_splines(kernels: Sequence[ImplicitKernel], embedding: Tensor) -> None:
    """Replaces eligible radial MLPs of frozen kernels by spline tables, one set a species pair.

    Eligible are kernels of the length and both species alone, apart from harmonics of the direction
    (``ImplicitKernel.is_radial``), with few species, in float32, whose rounding exceeds the error.

    Args:
        kernels: of the interactions.
        embedding: of the species [n, s]. Set n a + b of a table is for receivers a and senders b.
    """
    n, attr_size = len(embedding), 2 * embedding.shape[1]
    of_pairs = all(k.attr_type is not None and k.attr_type.size == attr_size for k in kernels)
    is_radial = of_pairs and all(kernel.is_radial for kernel in kernels)
    if not is_radial or n > MOST_SPECIES or embedding.dtype != torch.float32:
        return
    pairs = torch.cat([embedding.repeat_interleave(n, 0), embedding.repeat(n, 1)], dim=-1)
    for kernel in kernels:
        store(kernel, "table", _table(kernel, pairs.detach()))


def _table(kernel: ImplicitKernel, attr: Tensor) -> SplineTable:
    """Splines of the factors of a kernel, one set for each row of attributes."""
    twin, radial = copy.deepcopy(kernel).cpu().double(), cast(BesselBasis, kernel.radial)

    @torch.no_grad()
    def factors(lengths: np.ndarray) -> np.ndarray:
        r = torch.from_numpy(lengths)
        sets = [twin.factors(r, row.expand(len(r), -1)) for row in attr.cpu().double()]
        return torch.stack(sets).numpy()

    return SplineTable.fitted(factors, INTERVALS * radial.size, radial.cutoff).to(attr)


def edge_basis(
    kernel: ImplicitKernel,
    embedding: Tensor,
    species: Tensor,
    of_atoms: Sequence[Tensor],
    vectors: Tensor,
    receivers: Tensor,
    layout: NeighbourLayout,
    chunks: SingleChunk | Chunks,
) -> EdgeBasis | SplineBasis:
    """The basis of the edges in the layout's slots [P].

    Args:
        kernel: of the first interaction; the others share its basis.
        embedding: of the species [n, s].
        species: of the atoms [N].
        of_atoms: further attributes of receivers, [N, ...] each.
        vectors: of the edges [E, 3].
        receivers: of the edges [E].
        layout: of the edges.
        chunks: by which the basis is computed.
    """
    x, filled = layout.in_slots(vectors), layout.filled
    receivers, senders = layout.in_slots(receivers), layout.senders
    if kernel.table is not None:
        first, second = (species.index_select(0, atoms) for atoms in (receivers, senders))
        harmonics, r = chunks.of_slots(kernel.polar, x)
        pair = len(embedding) * first + second
        return SplineBasis(harmonics, r, *kernel.table.rows_of(r, pair, filled))

    def basis(x: Tensor, filled: Tensor) -> tuple[Tensor, ...]:
        return kernel.basis(x, weights=filled)[:3]  # without attributes

    embedded = embedding.index_select(0, species)
    attr = [embedded.index_select(0, atoms) for atoms in (receivers, senders)]
    attr += [each.index_select(0, receivers) for each in of_atoms]
    harmonics, radial, shell = chunks.of_slots(basis, x, filled)
    return EdgeBasis(harmonics, radial, shell, torch.cat(attr, dim=-1))
