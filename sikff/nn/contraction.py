"""The learned map W CG (h (x) f) of every field of h with every field of f (paper, equation 5).

It is applied after the sum over neighbours, as W CG A_i, in the canonical bases of the types.
"""

from collections.abc import Sequence
from itertools import product
from math import inf
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import Block, FieldType
from sikff.groups.couplings import clebsch_gordan
from sikff.nn.constants import ConstantModule
from sikff.nn.neighbour_table import NeighbourLayout, sum_outer_products
from sikff.nn.weight_cache import cached

Array = np.ndarray
LARGEST = 18  # products of components that one table couples: larger ones are mostly zeros


class _Path(NamedTuple):
    """One equivariant map of a left and a right block to a block of the result."""

    left: int
    right: int
    out: int
    cg: Array  # [d_out, d_left, d_right]


class _Step(NamedTuple):
    """All paths from some left and right blocks to results of one multiplicity."""

    left: int  # group of left blocks
    right: int  # group of right blocks
    copies: tuple[int, int, int]  # of each left, right and resulting irrep
    tables: tuple[str, ...]  # [., d_right d_left] of some right blocks, a row for each component
    paths: str  # [rows of all] the row's place among the paths whose weights have this shape


class Contraction(ConstantModule):
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
        left, right, out = (t.blocks for t in (self.left_type, self.right_type, self.out_type))
        self._paths = [
            _Path(i, j, o, cg)
            for i, j in product(range(len(left)), range(len(right)))
            for o, found in equivariant_maps(left[i], right[j], out)
            for cg in found
        ]
        shapes = [
            (left[p.left].copies * right[p.right].copies, out[p.out].copies) for p in self._paths
        ]
        self.matrices = [(1, *shape) for shape in shapes]
        fan_in = np.zeros(len(out))
        np.add.at(fan_in, [p.out for p in self._paths], [m for m, _ in shapes])
        scales = [
            np.full(m * n, fan_in[p.out] ** -0.5)
            for p, (m, n) in zip(self._paths, shapes, strict=True)
        ]
        self.register_constant("scales", np.concatenate([np.zeros(0), *scales]))
        self.weight = nn.Parameter(torch.randn(len(self.scales)))
        self._right = _groups(right)
        widest = max((_n_components(right[group]) for group in self._right), default=1)
        self._left = _groups(left, LARGEST // widest)
        self._left_sizes, self._right_sizes = (
            [sum(field_type.block_sizes[group]) for group in groups]
            for field_type, groups in ((self.left_type, self._left), (self.right_type, self._right))
        )
        self._steps: list[_Step] = []
        for n in dict.fromkeys(block.copies for block in out):
            targets = [
                target
                for i, j in product(range(len(self._left)), range(len(self._right)))
                for target in self._add_step(i, j, n)
            ]
            # a matrix of ones that adds up the rows of all paths to the same component
            rows = np.arange(len(targets))
            table = np.zeros((_n_components([b for b in out if b.copies == n]), len(targets)))
            table[np.array(targets, dtype=int), rows] = 1
            self.register_constant(f"sums_{n}", table)

    def _add_step(self, i: int, j: int, n: int) -> list[int]:
        """Adds the step of two groups of blocks; returns the component that each row adds to."""
        out = self.out_type.blocks
        lefts, rights = self.left_type.blocks[self._left[i]], self.right_type.blocks[self._right[j]]
        copies = (lefts[0].copies, rights[0].copies, n)
        shape, tables, numbers, targets = (1, copies[0] * copies[1], n), [], [], []
        alike = [p for p, m in zip(self._paths, self.matrices, strict=True) if m == shape]
        d_left = _n_components(lefts)
        for run in _groups(rights, LARGEST // d_left):
            d_right = _n_components(rights[run])
            rows = [np.zeros((0, d_right, d_left))]
            # each component of each path's result is one row: its Clebsch-Gordan coefficients, at
            # the components of the path's blocks among those of both groups
            for number, path in enumerate(alike):
                a, b = path.left - self._left[i].start, path.right - self._right[j].start
                if not (0 <= a < len(lefts) and run.start <= b < run.stop):
                    continue
                row = np.zeros((len(path.cg), d_right, d_left))
                # components count one copy of each irrep; all copies share the coefficients
                x, y = _n_components(rights[run.start : b]), _n_components(lefts[:a])
                cg = path.cg.swapaxes(1, 2)
                row[:, x : x + cg.shape[1], y : y + cg.shape[2]] = cg
                rows.append(row)
                numbers += [number] * len(row)
                first = _n_components([block for block in out[: path.out] if block.copies == n])
                targets += [*range(first, first + len(row))]
            tables.append(np.concatenate(rows).reshape(-1, d_right * d_left))
        if targets:
            name = f"{i}_{j}_{n}"
            names = tuple(f"coupling_{name}_{k}" for k in range(len(tables)))
            self._steps.append(_Step(i, j, copies, names, f"paths_{name}"))
            for name_of_table, table in zip(names, tables, strict=True):
                self.register_constant(name_of_table, table)
            self.register_buffer(f"paths_{name}", torch.tensor(numbers), persistent=False)
        return targets

    def _weights(self) -> list[Tensor]:
        """The matrix [copies of left x copies of right, copies of out] of every path."""
        parts = (self.weight * self.scales).split([m * n for _, m, n in self.matrices])
        return [w.view(m, n) for w, (_, m, n) in zip(parts, self.matrices, strict=True)]

    def _matrices(self) -> list[Tensor]:
        """For each step the matrix of each row's path, [rows, ...]."""
        shapes = dict.fromkeys((m, n) for _, m, n in self.matrices)
        if len(shapes) == 1:
            found = {shape: (self.weight * self.scales).view(-1, *shape) for shape in shapes}
        else:
            weights = self._weights()
            found = {s: torch.stack([w for w in weights if tuple(w.shape) == s]) for s in shapes}
        return [
            found[a * b, c].index_select(0, getattr(self, paths))
            for _, _, (a, b, c), _, paths in self._steps
        ]

    def forward(self, outer: Tensor) -> Tensor:
        """A [N, d_left, d_right] -> W CG A [N, d_out]."""
        return self._contract(_cut(outer, self._right_sizes, 2), len(outer))

    def _contract(self, outer: Sequence[Tensor], n: int) -> Tensor:
        """The same for A cut into the groups of right blocks."""
        matrices = cached(self, self._matrices)
        groups = [_cut(strip, self._left_sizes, 1) for strip in outer]
        rows: dict[int, list[Tensor]] = {block.copies: [] for block in self.out_type.blocks}
        for (i, j, (a, b, c), names, _), weights in zip(self._steps, matrices, strict=True):
            d_a, d_b = groups[j][i].shape[1] // a, groups[j][i].shape[2] // b
            # A of each node as [components of both, copies of both]: one product with a table
            # couples the components of all copies, a second one mixes the copies of each row
            block = groups[j][i].reshape(n, d_a, a, d_b, b).permute(0, 3, 1, 2, 4)
            tables = [getattr(self, name) for name in names]
            cut = _cut(block.reshape(n, d_b * d_a, a * b), [t.shape[1] for t in tables], 1)
            of_rows = _cut(weights, [len(table) for table in tables], 0)
            for table, part, mixing in zip(tables, cut, of_rows, strict=True):
                coupled = torch.bmm(table.expand(n, -1, -1), part)
                rows[c].append(torch.bmm(coupled.transpose(0, 1), mixing))
        results = {c: self._summed(found, c, n) for c, found in rows.items()}
        if len(results) == 1:
            return next(iter(results.values())).T
        pieces = {c: iter(y.split(self._sizes_of(c))) for c, y in results.items()}
        parts = [next(pieces[block.copies]) for block in self.out_type.blocks]
        return torch.cat(parts).T if parts else self.scales.new_zeros(n, 0)

    def _summed(self, rows: list[Tensor], copies: int, n: int) -> Tensor:
        """All results of one multiplicity, [components x copies, n], from rows [., n, copies]."""
        sums = getattr(self, f"sums_{copies}")
        if not rows:
            return sums.new_zeros(len(sums) * copies, n)
        stacked = torch.cat(rows) if len(rows) > 1 else rows[0]
        found = (sums @ stacked.flatten(1)).view(len(sums), n, copies)
        return found.transpose(1, 2).reshape(len(sums) * copies, n)

    def _sizes_of(self, copies: int) -> list[int]:
        return [b.stop - b.start for b in self.out_type.blocks if b.copies == copies]

    def sum_neighbours(self, h: Tensor, f: Tensor, layout: NeighbourLayout) -> Tensor:
        """W CG sum_j h_ij (x) f_j: h [P, d_left] in the layout's slots, f [N, d_right]."""
        parts = _cut(f.contiguous(), self._right_sizes, 1)
        n_receivers = sum(n for n, _ in layout.shapes)
        return self._contract(sum_outer_products(h, parts, layout), n_receivers)

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for given left features [E, d_left]: [E, d_out, d_right].

        For people and tests: layers never build it.
        """
        n = len(left)
        result = left.new_zeros(n, self.out_type.size, self.right_type.size)
        for path, weight in zip(self._paths, self._weights(), strict=True):
            a, b = self.left_type.blocks[path.left], self.right_type.blocks[path.right]
            c = self.out_type.blocks[path.out]
            h = left[:, a.start : a.stop].reshape(n, a.irrep.dim, a.copies)
            w = weight.view(a.copies, b.copies, c.copies)
            block = torch.einsum("nah,oab,hcu->noubc", h, left.new_tensor(path.cg), w)
            result[:, c.start : c.stop, b.start : b.stop] += block.reshape(
                n, c.stop - c.start, b.stop - b.start
            )
        return result


def _groups(blocks: Sequence[Block], largest: float = inf) -> list[slice]:
    """Neighbouring blocks of one multiplicity, of at most so many components or one block."""
    groups: list[slice] = []
    for k, block in enumerate(blocks):
        group = blocks[groups[-1]] if groups else ()
        n_components = _n_components([*group, block])
        if group and group[0].copies == block.copies and n_components <= largest:
            groups[-1] = slice(groups[-1].start, k + 1)
        else:
            groups.append(slice(k, k + 1))
    return groups


def _n_components(blocks: Sequence[Block]) -> int:
    """Of one copy of each irrep."""
    return sum(block.irrep.dim for block in blocks)


def _cut(x: Tensor, sizes: list[int], dim: int) -> Sequence[Tensor]:
    """Parts of these sizes."""
    return x.split(sizes, dim) if len(sizes) > 1 else [x]  # the gradient of a split is a copy


def equivariant_maps(a: Block, b: Block, outputs: tuple[Block, ...]) -> list[tuple[int, Array]]:
    """(output block, basis [k, d_c, d_a, d_b] of Hom(a (x) b, c)) for every c in reach."""
    found = []
    for o, c in enumerate(outputs):
        cg = clebsch_gordan(a.irrep, b.irrep, c.irrep)
        if len(cg):
            found.append((o, cg))
    return found
