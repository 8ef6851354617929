"""Learned equivariant bilinear maps: W CG (h (x) f), applied after the sum over neighbours.

Two forms: ``Contraction`` couples every field of h with every field of f (equation 5 of the
paper, W CG A_i); ``ChannelProduct`` multiplies two features channel by channel. Both work in the
canonical bases of their types.
"""

from collections.abc import Iterator
from itertools import product
from math import prod, sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import Block, FieldType
from sikff.groups.intertwiners import clebsch_gordan
from sikff.nn.neighbours import NeighbourLayout, sum_outer_products
from sikff.nn.tables import Tabulated

Array = np.ndarray


class _Step(NamedTuple):
    """One pair of blocks (left, right): its Clebsch-Gordan table and the outputs of its paths."""

    left: int
    right: int
    table: str
    outputs: tuple[int, ...]  # output block of each path, in the order of the table's rows


class Contraction(Tabulated):
    """Every equivariant bilinear map left_type x right_type -> out_type, one weight each.

    ``forward(A)`` takes A = sum_j h_j (x) f_j as [N, d_left, d_right].

    Attributes:
        matrices: number, rows and columns of the matrices that ``weight`` holds, in their order.
    """

    scales: Tensor

    def __init__(self, left_type: FieldType, right_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        self.left_type, self.right_type = left_type.canonical, right_type.canonical
        self.out_type = out_type.canonical
        blocks = self.out_type.blocks
        self._steps: list[_Step] = []
        self.matrices: list[tuple[int, int, int]] = []
        fan_in = np.zeros(len(blocks))
        for i, a in enumerate(self.left_type.blocks):
            for j, b in enumerate(self.right_type.blocks):
                found = _paths(a, b, blocks)
                if not found:
                    continue
                name = f"cg_{a.irrep.index}_{b.irrep.index}"
                rows = [cg.reshape(-1, a.irrep.dim * b.irrep.dim) for _, cg in found]
                self.register_table(name, np.concatenate(rows))
                outputs = tuple(o for o, cg in found for _ in cg)
                self._steps.append(_Step(i, j, name, outputs))
                self.matrices += [(1, a.copies * b.copies, blocks[o].copies) for o in outputs]
                np.add.at(fan_in, list(outputs), a.copies * b.copies)
        targets = [o for step in self._steps for o in step.outputs]
        scales = [
            np.full(rows * copies, fan_in[o] ** -0.5)
            for o, (_, rows, copies) in zip(targets, self.matrices, strict=True)
        ]
        self.register_table("scales", np.concatenate([np.zeros(0), *scales]))
        self.weight = nn.Parameter(torch.randn(len(self.scales)))

    def _weights(self) -> Iterator[Tensor]:
        """The matrix [copies of left x copies of right, copies of out] of every path."""
        parts = (self.weight * self.scales).split([m * n for _, m, n in self.matrices])
        return (w.view(m, n) for w, (_, m, n) in zip(parts, self.matrices, strict=True))

    def forward(self, outer: Tensor) -> Tensor:
        """A [N, d_left, d_right] -> W CG A [N, d_out]."""
        return self._contract(list(outer.split(self.right_type.block_sizes, dim=2)), len(outer))

    def _contract(self, outer: list[Tensor], n: int) -> Tensor:
        """The same for A cut into the blocks of the right type."""
        weights = self._weights()
        blocks = [strip.split(self.left_type.block_sizes, dim=1) for strip in outer]
        dims = [block.irrep.dim for block in self.out_type.blocks]
        results = [
            self.scales.new_zeros(block.copies, block.irrep.dim * n)
            for block in self.out_type.blocks
        ]
        for i, j, table, outputs in self._steps:
            a, b = self.left_type.blocks[i], self.right_type.blocks[j]
            block = blocks[j][i].reshape(n, a.irrep.dim, a.copies, b.irrep.dim, b.copies)
            pairs = block.permute(1, 3, 0, 2, 4).reshape(a.irrep.dim * b.irrep.dim, -1)
            coupled = (getattr(self, table) @ pairs).split([dims[o] for o in outputs])
            for o, path in zip(outputs, coupled, strict=True):
                rows = path.reshape(dims[o] * n, a.copies * b.copies)
                results[o] = torch.addmm(results[o], next(weights).T, rows.T)
        parts = [
            y.unflatten(1, (dim, n)).transpose(0, 1).flatten(0, 1)
            for y, dim in zip(results, dims, strict=True)
        ]
        return torch.cat(parts).T if parts else self.scales.new_zeros(n, 0)

    def sum_neighbours(self, h: Tensor, f: Tensor, layout: NeighbourLayout) -> Tensor:
        """W CG sum_j h_ij (x) f_j: h [P, d_left] in the layout's places, f [N, d_right]."""
        parts = f.contiguous().split(self.right_type.block_sizes, dim=1)
        n_receivers = sum(n for n, _ in layout.shapes)
        return self._contract(sum_outer_products(h, parts, layout), n_receivers)

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for given left features [E, d_left]: [E, d_out, d_right].

        For people and tests: layers never build it.
        """
        n, weights = len(left), self._weights()
        result = left.new_zeros(n, self.out_type.size, self.right_type.size)
        for i, j, table, outputs in self._steps:
            a, b = self.left_type.blocks[i], self.right_type.blocks[j]
            h = left[:, a.start : a.stop].reshape(n, a.irrep.dim, a.copies)
            row = 0
            for o in outputs:
                c = self.out_type.blocks[o]
                cg = getattr(self, table)[row : row + c.irrep.dim]
                cg = cg.view(c.irrep.dim, a.irrep.dim, b.irrep.dim)
                row += c.irrep.dim
                w = next(weights).view(a.copies, b.copies, c.copies)
                block = torch.einsum("nah,oab,hcu->noubc", h, cg, w)
                result[:, c.start : c.stop, b.start : b.stop] += block.reshape(
                    n, c.stop - c.start, b.stop - b.start
                )
        return result


def _paths(a: Block, b: Block, outputs: tuple[Block, ...]) -> list[tuple[int, Array]]:
    """(output block, basis [k, d_c, d_a, d_b] of Hom(a (x) b, c)) for every c in reach."""
    found = []
    for o, c in enumerate(outputs):
        cg = clebsch_gordan(a.irrep, b.irrep, c.irrep)
        if len(cg):
            found.append((o, cg))
    return found


class ChannelProduct(Tabulated):
    """Equivariant products of two features, channel by channel, with one weight a path and channel.

    Features are handled as [N, D, C], with C channels of a type of D components.
    out[n, o, c] = sum_paths w[path, c] CG[path, o, a, b] x[n, a, c] y[n, b, c].

    Args:
        left_type, right_type, out_type: types whose multiplicities are multiples of C.
        channels: C (default: the one multiplicity of all irreps).
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
            for o, cg in _paths(a, b, out):
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
        """[N, D_left, C], [N, D_right, C] -> [N, D_out, C], in memory [D_out, C, N].

        y meets the table before x: what is in between has D_out D_left components a channel, not
        the D_left D_right of the outer product, and outputs are few. Products of matrices want all
        with the nodes last.
        """
        table, x, y = self.coupling(), x.permute(2, 1, 0), y.permute(2, 1, 0)
        coupled = torch.bmm(table.flatten(1, 2), y).unflatten(1, table.shape[1:3])
        products = (coupled * x.unsqueeze(1)).sum(2)  # [C, D_out, N]
        return products.transpose(0, 1).contiguous().permute(2, 0, 1)

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
        """sum_j of products of h_ij [P, d_left] (in the layout's places) and f_j [N, d_right]."""
        h, f = h.unflatten(1, (-1, self.channels)), f.unflatten(1, (-1, self.channels))
        (outer,) = sum_outer_products(h.transpose(1, 2), [f.transpose(1, 2)], layout)
        products = torch.bmm(outer.transpose(0, 1).flatten(2), self.coupling().flatten(2).mT)
        return products.permute(1, 2, 0).flatten(1)

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for left features [E, d_left]: [E, d_out, d_right]."""
        h = left.unflatten(1, (-1, self.channels))
        diagonal = torch.einsum("coab,eac->eobc", self.coupling(), h)
        return torch.diag_embed(diagonal).transpose(2, 3).flatten(3).flatten(1, 2)
