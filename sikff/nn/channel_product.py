"""Learned channelwise equivariant products of two features, in canonical bases."""

from itertools import product
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import Block, FieldType
from sikff.nn.constants import ConstantModule
from sikff.nn.contraction import equivariant_maps
from sikff.nn.neighbour_table import NeighbourLayout, sum_outer_products
from sikff.nn.weight_cache import cached

Array = np.ndarray


class ChannelProduct(ConstantModule):
    """Channelwise equivariant products of two features, with a weight for each path and channel.

    Features are [D, C, N]: of N nodes, with C channels of a type of D components.
    out[o, c, n] = sum_paths w[path, c] CG[path, o, a, b] x[a, c, n] y[b, c, n].

    Args:
        left_type, right_type, out_type: types whose multiplicities are multiples of C.
        channels: C (default: the one multiplicity of all irreps).

    Raises:
        ValueError: multiplicities that are no multiples of C, or differ where C is not given.
    """

    cg: Tensor
    values: Tensor
    paths: Tensor
    entries: Tensor

    def __init__(
        self,
        left_type: FieldType,
        right_type: FieldType,
        out_type: FieldType,
        channels: int | None = None,
    ) -> None:
        super().__init__()
        types = (left_type.canonical, right_type.canonical, out_type.canonical)
        counts = {n for t in types for n, _ in t.fields}
        if channels is None and len(counts) != 1:
            raise ValueError(
                "ChannelProduct: every irrep needs the same multiplicity in all three types, or "
                f"channels must be given; got multiplicities {sorted(counts)}"
            )
        if any(n % (channels or n) for n in counts):
            raise ValueError(
                f"ChannelProduct: channels is {channels}; every multiplicity must be a multiple of "
                f"it, but they are {sorted(counts)}"
            )
        self.channels = counts.pop() if channels is None else channels
        self.left_type, self.right_type, self.out_type = types
        self._sizes = tuple(t.size // self.channels for t in (types[2], types[0], types[1]))
        n_paths, path, entry, value = self._coefficients()
        self.is_sparse = any(t.n_fields > len(t.irreps) * self.channels for t in types)
        if self.is_sparse:
            self.register_constant("values", value)
            self.register_buffer("paths", torch.from_numpy(path), persistent=False)
            self.register_buffer("entries", torch.from_numpy(entry), persistent=False)
        else:
            cg = np.zeros((n_paths, prod(self._sizes)))
            cg[path, entry] = value
            self.register_constant("cg", cg.reshape(n_paths, *self._sizes))
        self.weight = nn.Parameter(torch.randn(n_paths, self.channels))

    def _coefficients(self) -> tuple[int, Array, Array, Array]:
        """All Clebsch-Gordan coefficients that are not zero.

        Returns:
            The number of paths; of each coefficient the path, the flat index into
            [D_out, D_left, D_right], and the value.
        """
        out = self.out_type.blocks
        # of each path: output block, components of the three copies it couples, coefficients
        couplings: list[tuple[int, tuple[Array, ...], Array]] = []
        for a, b in ((a, b) for a in self.left_type.blocks for b in self.right_type.blocks):
            for o, basis in equivariant_maps(a, b, out):
                copies = [self._copies(block) for block in (out[o], a, b)]
                couplings += [(o, oab, cg) for cg in basis for oab in product(*copies)]
        per_output = np.bincount([o for o, _, _ in couplings], minlength=len(out))
        per_copy = per_output / [len(self._copies(block)) for block in out]
        paths, entries, values = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
        for number, (o, components, cg) in enumerate(couplings):
            nonzero = np.nonzero(cg)
            indices = [c[k] for c, k in zip(components, nonzero, strict=True)]
            paths.append(np.full(len(nonzero[0]), number))
            entries.append(np.ravel_multi_index(indices, self._sizes))
            values.append(cg[nonzero] / sqrt(per_copy[o]))  # unit variance of the sum of paths
        path, entry, value = map(np.concatenate, (paths, entries, values))
        return len(couplings), path, entry, value

    def _copies(self, block: Block) -> list[Array]:
        """For each copy of an irrep within a channel, the indices of its components."""
        start, n = block.start // self.channels, block.copies // self.channels
        return [start + k + n * np.arange(block.irrep.dim) for k in range(n)]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[D_left, C, N], [D_right, C, N] -> [D_out, C, N].

        The coefficients are contracted with y first: the intermediate has D_out D_left components
        a channel, fewer than the D_left D_right of the outer product, since outputs are few.
        """
        table, x, y = cached(self, self.coupling), x.transpose(0, 1), y.transpose(0, 1)
        coupled = torch.bmm(table.flatten(1, 2), y).unflatten(1, table.shape[1:3])
        return (coupled * x.unsqueeze(1)).sum(2).transpose(0, 1)

    def coupling(self) -> Tensor:
        """The weighted sum of all paths for each channel, [C, D_out, D_left, D_right]."""
        if self.is_sparse:
            terms = self.values.unsqueeze(1) * self.weight.index_select(0, self.paths)
            zeros = terms.new_zeros(prod(self._sizes), self.channels)
            coupling = zeros.index_add(0, self.entries, terms).T
        else:
            coupling = self.weight.T @ self.cg.flatten(1)
        return coupling.reshape(self.channels, *self._sizes)

    def sum_neighbours(self, h: Tensor, f: Tensor, layout: NeighbourLayout) -> Tensor:
        """sum_j of products of h_ij [P, d_left] (in the layout's slots) and f_j [N, d_right]."""
        h, f = h.unflatten(1, (-1, self.channels)), f.unflatten(1, (-1, self.channels))
        (outer,) = sum_outer_products(h.transpose(1, 2), [f.transpose(1, 2)], layout)
        table = cached(self, self.coupling).flatten(2)
        products = torch.bmm(outer.transpose(0, 1).flatten(2), table.mT)
        return products.permute(1, 2, 0).flatten(1)

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for left features [E, d_left]: [E, d_out, d_right]."""
        h = left.unflatten(1, (-1, self.channels))
        diagonal = torch.einsum("coab,eac->eobc", self.coupling(), h)
        return torch.diag_embed(diagonal).transpose(2, 3).flatten(3).flatten(1, 2)
