"""Learned equivariant bilinear maps: W CG (h (x) f), applied after the sum over neighbours.

Two forms: ``Contraction`` couples every field of h with every field of f (equation 5 of the
paper, W CG A_i); ``ChannelProduct`` multiplies two features channel by channel. Both work in the
canonical bases of their types.
"""

from math import sqrt

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import Block, FieldType
from sikff.groups.intertwiners import clebsch_gordan
from sikff.nn.neighbours import NeighbourLayout, sum_outer_products
from sikff.nn.tables import Tabulated


class Contraction(Tabulated):
    """Every equivariant bilinear map left_type x right_type -> out_type, one weight each.

    ``forward(A)`` takes A = sum_j h_j (x) f_j as [N, d_left, d_right].
    """

    def __init__(self, left_type: FieldType, right_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        self.left_type, self.right_type = left_type.canonical, right_type.canonical
        self.out_type = out_type.canonical
        outputs = self.out_type.blocks
        paths = {
            (i, j): _paths(a, b, outputs)
            for i, a in enumerate(self.left_type.blocks)
            for j, b in enumerate(self.right_type.blocks)
        }
        fan_in = [0] * len(outputs)
        for (i, j), found in paths.items():
            pairs = self.left_type.blocks[i].copies * self.right_type.blocks[j].copies
            for o, cg in found:
                fan_in[o] += pairs * len(cg)
        self._steps = []
        self._outputs = [(b.irrep.dim, b.copies) for b in outputs]
        n_weights = 0
        for (i, j), found in paths.items():
            if not found:
                continue
            a, b = self.left_type.blocks[i], self.right_type.blocks[j]
            name = f"cg_{a.irrep.index}_{b.irrep.index}"
            # rows (out, component, path), columns (component of a, component of b)
            rows = [np.moveaxis(cg, 0, 1).reshape(-1, a.irrep.dim * b.irrep.dim) for _, cg in found]
            self.register_table(name, np.concatenate(rows))
            targets = []
            for o, cg in found:
                rows_o, fan = len(cg) * a.copies * b.copies, outputs[o].copies
                targets.append((o, len(cg), n_weights, rows_o, 1 / sqrt(fan_in[o])))
                n_weights += rows_o * fan
            self._steps.append((i, j, name, targets))
        self.weight = nn.Parameter(torch.randn(n_weights))

    def _weights(self, offset: int, rows: int, copies: int, scale: float) -> Tensor:
        return self.weight[offset : offset + rows * copies].view(rows, copies) * scale

    def forward(self, outer: Tensor) -> Tensor:
        """A [N, d_left, d_right] -> W CG A [N, d_out]."""
        n = len(outer)
        results: list[Tensor | None] = [None] * len(self._outputs)
        sizes = [b.stop - b.start for b in self.right_type.blocks]
        strips = outer.split([a.stop - a.start for a in self.left_type.blocks], dim=1)
        blocks = [strip.split(sizes, dim=2) for strip in strips]
        for i, j, name, targets in self._steps:
            a, b, block = self.left_type.blocks[i], self.right_type.blocks[j], blocks[i][j]
            if a.irrep.dim * b.irrep.dim > 1:
                split = block.reshape(n, a.irrep.dim, a.copies, b.irrep.dim, b.copies)
                flat = split.transpose(2, 3).reshape(n, a.irrep.dim * b.irrep.dim, -1)
                coupled = getattr(self, name) @ flat
            else:
                coupled = block.reshape(n, 1, -1) * getattr(self, name)
            parts = coupled.split([self._outputs[o][0] * k for o, k, *_ in targets], dim=1)
            for (o, _, offset, rows, scale), part in zip(targets, parts, strict=True):
                dim, copies = self._outputs[o]
                part = part.reshape(n, dim, rows)
                term = part @ self._weights(offset, rows, copies, scale)
                previous = results[o]
                results[o] = term if previous is None else previous + term
        parts = [
            outer.new_zeros(n, dim * copies) if y is None else y.flatten(1)
            for y, (dim, copies) in zip(results, self._outputs, strict=True)
        ]
        return torch.cat(parts, dim=1) if parts else outer.new_zeros(n, 0)

    def sum_neighbours(self, h: Tensor, f: Tensor, layout: NeighbourLayout) -> Tensor:
        """W CG sum_j h_ij (x) f_j: h [P, d_left] in the layout's places, f [N, d_right]."""
        return self(sum_outer_products(h, f, layout))

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for given left features [E, d_left]: [E, d_out, d_right].

        For people and tests: layers never build it.
        """
        n = len(left)
        result = left.new_zeros(n, self.out_type.size, self.right_type.size)
        starts = [b.start for b in self.out_type.blocks]
        for i, j, name, targets in self._steps:
            a, b = self.left_type.blocks[i], self.right_type.blocks[j]
            h = left[:, a.start : a.stop].reshape(n, a.irrep.dim, a.copies)
            cg, row = getattr(self, name), 0
            for o, n_paths, offset, rows, scale in targets:
                dim, copies = self._outputs[o]
                table = cg[row : row + dim * n_paths].view(dim, n_paths, a.irrep.dim, b.irrep.dim)
                row += dim * n_paths
                w = self._weights(offset, rows, copies, scale)
                w = w.view(n_paths, a.copies, b.copies, copies)
                block = torch.einsum("nah,opab,phcu->noubc", h, table, w)
                start = starts[o]
                result[:, start : start + dim * copies, b.start : b.stop] += block.reshape(
                    n, dim * copies, -1
                )
        return result


def _paths(a: Block, b: Block, outputs: tuple[Block, ...]) -> list[tuple[int, np.ndarray]]:
    """(output block, basis [k, d_c, d_a, d_b] of Hom(a (x) b, c)) for every c that can be reached."""
    found = []
    for o, c in enumerate(outputs):
        cg = clebsch_gordan(a.irrep, b.irrep, c.irrep)
        if len(cg):
            found.append((o, cg))
    return found


class ChannelProduct(Tabulated):
    """Equivariant products of two features, channel by channel, with one weight a path and channel.

    All types carry the same number C of copies of each of their irreps, and features are handled
    as [N, D, C]. out[n, o, c] = sum_paths w[path, c] CG[path, o, a, b] x[n, a, c] y[n, b, c].

    Args:
        left_type, right_type, out_type: types with C copies of each irrep.
    """

    cg: Tensor

    def __init__(self, left_type: FieldType, right_type: FieldType, out_type: FieldType) -> None:
        super().__init__()
        types = (left_type.canonical, right_type.canonical, out_type.canonical)
        counts = {n for t in types for n, _ in t.fields}
        if len(counts) != 1:
            raise ValueError(
                "ChannelProduct: every irrep needs the same multiplicity in all three types; "
                f"got multiplicities {sorted(counts)}"
            )
        self.channels = counts.pop()
        self.left_type, self.right_type, self.out_type = types
        tables = []
        sizes = [t.size // self.channels for t in types]
        for a, b in ((a, b) for a in types[0].blocks for b in types[1].blocks):
            for o, cg in _paths(a, b, types[2].blocks):
                c = types[2].blocks[o]
                for table in cg:
                    full = np.zeros((sizes[2], sizes[0], sizes[1]))
                    i, j, k = (x.start // self.channels for x in (a, b, c))
                    full[k : k + c.irrep.dim, i : i + a.irrep.dim, j : j + b.irrep.dim] = table
                    tables.append((o, full))
        per_output = np.bincount([o for o, _ in tables], minlength=len(types[2].blocks))
        stacked = [full / sqrt(per_output[o]) for o, full in tables]
        shape = (len(tables), sizes[2], sizes[0] * sizes[1])
        self.register_table("cg", np.reshape(stacked, shape))
        self.weight = nn.Parameter(torch.randn(len(tables), self.channels))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """[N, D_left, C], [N, D_right, C] -> [N, D_out, C]."""
        x, y = x.permute(2, 0, 1), y.permute(2, 0, 1)
        return self.contract((x.unsqueeze(-1) * y.unsqueeze(-2)).flatten(2))

    def contract(self, outer: Tensor) -> Tensor:
        """The same from outer products of each channel [C, N, D_left * D_right]."""
        table = torch.einsum("pc,pok->cko", self.weight, self.cg)
        return torch.bmm(outer, table).permute(1, 2, 0)

    def sum_neighbours(self, h: Tensor, f: Tensor, layout: NeighbourLayout) -> Tensor:
        """sum_j of the products of h_ij [P, d_left] (in the layout's places) and f_j [N, d_right]."""
        h, f = h.unflatten(1, (-1, self.channels)), f.unflatten(1, (-1, self.channels))
        outer = sum_outer_products(h.transpose(1, 2), f.transpose(1, 2), layout)
        return self.contract(outer.transpose(0, 1).flatten(2)).flatten(1)

    def matrix(self, left: Tensor) -> Tensor:
        """The explicit map right -> out for left features [E, d_left]: [E, d_out, d_right]."""
        h = left.unflatten(1, (-1, self.channels))
        cg = self.cg.unflatten(2, (h.shape[1], -1))
        diagonal = torch.einsum("pc,poab,eac->eobc", self.weight, cg, h)
        return torch.diag_embed(diagonal).transpose(2, 3).flatten(3).flatten(1, 2)
