"""Learned equivariant products of two features, channel by channel, in canonical bases."""

from itertools import product
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import Block, FieldType
from sikff.nn.constants import Tabulated
from sikff.nn.contraction import equivariant_maps
from sikff.nn.neighbour_table import NeighbourLayout, sum_outer_products
from sikff.nn.weight_cache import cached

Array = np.ndarray


class ChannelProduct(Tabulated):
    """Equivariant products of two features, channel by channel, with one weight a path and channel.

    Features are handled as [D, C, N]: of N nodes, with C channels of a type of D components.
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
        n_paths, path, entry, value = self._tables()
        self.is_sparse = any(t.n_fields > len(t.irreps) * self.channels for t in types)
        if self.is_sparse:
            self.register_table("values", value)
            self.register_buffer("paths", torch.from_numpy(path), persistent=False)
            self.register_buffer("entries", torch.from_numpy(entry), persistent=False)
        else:
            table = np.zeros((n_paths, prod(self._sizes)))
            table[path, entry] = value
            self.register_table("cg", table.reshape(n_paths, *self._sizes))
        self.weight = nn.Parameter(torch.randn(n_paths, self.channels))

    def _tables(self) -> tuple[int, Array, Array, Array]:
        """The number of paths, and path, place in [D_out, D_left, D_right] and value of each of
        their Clebsch-Gordan coefficients that is not zero."""
        out = self.out_type.blocks
        tables: list[tuple[int, tuple[Array, ...], Array]] = []  # output, components, coefficients
        for a, b in ((a, b) for a in self.left_type.blocks for b in self.right_type.blocks):
            for o, cg in equivariant_maps(a, b, out):
                copies = [self._copies(block) for block in (out[o], a, b)]
                tables += [(o, abc, table) for table in cg for abc in product(*copies)]
        per_output = np.bincount([o for o, _, _ in tables], minlength=len(out))
        per_copy = per_output / [len(self._copies(block)) for block in out]
        paths, entries, values = [np.zeros(0, int)], [np.zeros(0, int)], [np.zeros(0)]
        for number, (o, components, table) in enumerate(tables):
            kept = np.nonzero(table)
            places = [c[k] for c, k in zip(components, kept, strict=True)]
            paths.append(np.full(len(kept[0]), number))
            entries.append(np.ravel_multi_index(places, self._sizes))
            values.append(table[kept] / sqrt(per_copy[o]))
        return len(tables), np.concatenate(paths), np.concatenate(entries), np.concatenate(values)

    def _copies(self, block: Block) -> list[Array]:
        """The components of each copy of an irrep, channels apart."""
        start, n = block.start // self.channels, block.copies // self.channels
        return [start + k + n * np.arange(block.irrep.dim) for k in range(n)]

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[D_left, C, N], [D_right, C, N] -> [D_out, C, N].

        y meets the table before x: what is in between has D_out D_left components a channel, not
        the D_left D_right of the outer product, and outputs are few.
        """
        table, x, y = cached(self, self.coupling), x.transpose(0, 1), y.transpose(0, 1)
        coupled = torch.bmm(table.flatten(1, 2), y).unflatten(1, table.shape[1:3])
        return (coupled * x.unsqueeze(1)).sum(2).transpose(0, 1)

    def coupling(self) -> Tensor:
        """Every channel's table, [C, D_out, D_left, D_right]."""
        if self.is_sparse:
            terms = self.values.unsqueeze(1) * self.weight.index_select(0, self.paths)
            table = terms.new_zeros(prod(self._sizes), self.channels)
            table = table.index_add(0, self.entries, terms).T
        else:
            table = self.weight.T @ self.cg.flatten(1)
        return table.reshape(self.channels, *self._sizes)

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
