"""Equivariant linear maps between field types (Schur's lemma, full endomorphism algebra)."""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import Block, FieldType
from sikff.groups.couplings import endomorphisms
from sikff.nn.constants import Tabulated, ToCanonical, check_size
from sikff.nn.weight_cache import cached


class _Batch(NamedTuple):
    """Neighbouring irreps of the same multiplicities: one batched product of matrices.

    An irrep of real type has a matrix [copies, copies out] for each component, all the same one. Of
    complex or quaternionic type, where components mix, it has one for all: [dim copies, ...].
    """

    start: int  # first feature in the input
    n_products: int
    rows: int  # features that each of them takes
    matrices: tuple[int, int, int]  # of weights: irreps, copies x endomorphisms, copies out
    table: str  # real type: the irrep of each component; else the endomorphisms of each irrep


class Linear(Tabulated):
    """Every equivariant linear map in_type -> out_type: its weights are coordinates of Hom_G.

    Weights start at unit variance and are scaled by 1/sqrt(fan-in) in ``forward``, so that
    unit-variance features stay so, but for the gain.

    Args:
        in_type, out_type: field types of the same group.
        bias: add a learned constant to the invariant channels (the only ones that may have one).
        gain: factor of the map without bias.

    Attributes:
        matrices: number, rows and columns of the matrices that ``weight`` holds, in their order.

    Raises:
        ValueError: the types belong to different groups, or features have the wrong size.
    """

    scales: Tensor

    def __init__(
        self, in_type: FieldType, out_type: FieldType, bias: bool = False, gain: float = 1.0
    ) -> None:
        super().__init__()
        if in_type.group != out_type.group:
            raise ValueError(
                f"Linear: in_type is of group {in_type.group}, out_type of {out_type.group}; "
                "build both from one group"
            )
        self.in_type, self.out_type, self.gain = in_type, out_type, gain
        self.to_canonical = ToCanonical(in_type)
        self.from_canonical = ToCanonical(out_type, inverse=True)
        sources = {block.irrep: block for block in in_type.canonical.blocks}
        self._steps: list[_Batch | int] = []  # an int: so many zeros
        for pairs in _runs([(sources.get(o.irrep), o) for o in out_type.canonical.blocks]):
            self._steps.append(self._step(pairs))
        self._steps = self._steps or [0]  # a type without features
        self._batches = [step for step in self._steps if isinstance(step, _Batch)]
        self._cuts = _cuts([(b.start, b.n_products * b.rows) for b in self._batches], in_type.size)
        self.matrices = [batch.matrices for batch in self._batches]
        scales = [np.full(n * i * o, i**-0.5) for n, i, o in self.matrices]
        self.register_table("scales", np.concatenate([np.zeros(0), *scales]))
        self.weight = nn.Parameter(torch.randn(len(self.scales)))
        self.bias = None
        if bias and out_type.n_invariants:
            self.bias = nn.Parameter(torch.zeros(out_type.n_invariants))

    def _step(self, pairs: list[tuple[Block | None, Block]]) -> _Batch | int:
        """What makes the components of some blocks of the result."""
        first, out = pairs[0]
        if first is None:
            return sum(block.stop - block.start for _, block in pairs)
        dims = [block.irrep.dim for _, block in pairs]
        bases = [endomorphisms(block.irrep) for _, block in pairs]
        k, name = len(bases[0]), f"table_{out.irrep.index}"
        matrices = (len(pairs), k * first.copies, out.copies)
        if k == 1:
            irreps = torch.repeat_interleave(torch.tensor(dims))
            self.register_buffer(name, irreps, persistent=False)
            return _Batch(first.start, len(irreps), first.copies, matrices, name)
        self.register_table(name, np.stack(bases))
        return _Batch(first.start, len(pairs), dims[0] * first.copies, matrices, name)

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., d_in] -> [..., d_out]."""
        check_size("Linear", x, self.in_type)
        rows = self.to_canonical(x if x.ndim == 2 else x.unsqueeze(0).flatten(0, -2))
        y = self._of_rows(rows)
        if self.bias is not None:
            y = y + nn.functional.pad(self.bias, (0, y.shape[1] - len(self.bias)))
        return self.from_canonical(y if x.ndim == 2 else y.view(*x.shape[:-1], y.shape[1]))

    def _of_rows(self, x: Tensor) -> Tensor:
        """[N, d_in] -> [N, d_out], both canonical, without bias."""
        parts, batches = [], zip(*self._products(x, 1, 1), strict=True)
        for step in self._steps:
            if isinstance(step, int):
                parts.append(x.new_zeros(len(x), step))
                continue
            part, matrices = next(batches)
            part = part.view(len(x), step.n_products, step.rows).transpose(0, 1)
            parts.append(torch.bmm(part, matrices).transpose(0, 1).flatten(1))
        return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]

    def _products(self, x: Tensor, axis: int, unit: int) -> tuple[Sequence[Tensor], list[Tensor]]:
        """The parts of x, whose ``axis`` counts ``unit`` features, that the batches take, and the
        matrices that they are multiplied with."""
        sizes, taken = self._cuts
        parts: Sequence[Tensor] = [x]
        if len(sizes) == 2 and taken == [0]:  # its gradient is cheaper than that of split
            parts = [x.narrow(axis, 0, sizes[0] // unit)]
        elif len(sizes) > 1:
            parts = x.split([size // unit for size in sizes], axis)
        return [parts[k] for k in taken], cached(self, self._matrices)

    def _matrices(self) -> list[Tensor]:
        """Of each batch the matrices [n_products, rows, features out]."""
        scales = self.gain * self.scales  # not in the table, which model files know as it is
        weights = (self.weight * scales).split([prod(m) for m in self.matrices])
        found = []
        for batch, weight in zip(self._batches, weights, strict=True):
            matrices, table = weight.view(batch.matrices), getattr(self, batch.table)
            n, _, copies = batch.matrices
            if table.ndim == 1:
                found.append(matrices.index_select(0, table) if len(table) > n else matrices)
                continue
            k, dim = table.shape[1:3]
            of_pairs = torch.einsum("ikab,ikco->ibcao", table, matrices.view(n, k, -1, copies))
            found.append(of_pairs.reshape(n, batch.rows, dim * copies))
        return found

    def matrix(self) -> Tensor:
        """The map as one matrix [d_in, d_out], most of it zeros; without bias."""
        eye = torch.eye(self.in_type.size, dtype=self.weight.dtype, device=self.weight.device)
        return self.from_canonical(self._of_rows(self.to_canonical(eye)))


class ChannelLinear(Linear):
    """The same for features [D, C, N]: of N nodes, with C channels of a type of D components.

    With the nodes last no product of matrices has to copy what it takes, here and in
    :class:`ChannelProduct`.

    Args:
        in_type, out_type: canonical types of the same group.
        gain: factor of the map.
    """

    def __init__(self, in_type: FieldType, out_type: FieldType, gain: float = 1.0) -> None:
        super().__init__(in_type.canonical, out_type.canonical, gain=gain)

    def forward(self, x: Tensor) -> Tensor:
        """[D_in, C, N] -> [D_out, C, N]; C divides all multiplicities.

        Raises:
            ValueError: features of another size.
        """
        channels, n = x.shape[1:]
        if len(x) * channels != self.in_type.size:
            raise ValueError(
                f"ChannelLinear: expected features [D, C, N] of {self.in_type!r}, with D C = "
                f"{self.in_type.size}; got shape {tuple(x.shape)}"
            )
        parts, batches = [], zip(*self._products(x, 0, channels), strict=True)
        for step in self._steps:
            if isinstance(step, int):
                parts.append(x.new_zeros(step // channels, channels, n))
                continue
            part, matrices = next(batches)
            if step.rows != channels:
                part = part.reshape(step.n_products, step.rows, n)
            y = torch.bmm(matrices.mT, part)
            d_out = y.shape[0] * y.shape[1] // channels
            parts.append(y if y.shape[1] == channels else y.view(d_out, channels, n))
        return torch.cat(parts) if len(parts) > 1 else parts[0]


def _cuts(spans: list[tuple[int, int]], size: int) -> tuple[list[int], list[int]]:
    """Sizes of consecutive parts of so many features, and which of them are (start, size)."""
    sizes: list[int] = []
    taken = []
    for start, length in spans:
        if start > sum(sizes):
            sizes.append(start - sum(sizes))
        taken.append(len(sizes))
        sizes.append(length)
    return [*sizes, size - sum(sizes)] if size > sum(sizes) else sizes, taken


def _runs(pairs: list[tuple[Block | None, Block]]) -> list[list[tuple[Block | None, Block]]]:
    """Blocks (source, result) cut where multiplicities change or sources do not follow on."""
    runs: list[list[tuple[Block | None, Block]]] = []
    for source, out in pairs:
        if runs and _follows(runs[-1][-1], (source, out)):
            runs[-1].append((source, out))
        else:
            runs.append([(source, out)])
    return runs


def _follows(last: tuple[Block | None, Block], new: tuple[Block | None, Block]) -> bool:
    if last[0] is None or new[0] is None:
        return last[0] is new[0]
    k = len(endomorphisms(new[0].irrep))
    return (
        new[0].start == last[0].stop
        and new[0].copies == last[0].copies
        and new[1].copies == last[1].copies
        and k == len(endomorphisms(last[0].irrep))
        and (k == 1 or new[0].irrep.dim == last[0].irrep.dim)
    )
