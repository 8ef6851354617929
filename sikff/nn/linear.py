"""Equivariant linear maps between field types (Schur's lemma, full endomorphism algebra).

By Schur's lemma such a map takes copies of an irrep to copies of the same irrep only, so its matrix
is block diagonal, with equal blocks for the components of an irrep. It is never built: the output
is divided into runs of irreps whose blocks have one shape and whose inputs follow one another in
memory, and each run is one batched product of matrices.
"""

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sikff.field_types import Block, FieldType
from sikff.groups.couplings import endomorphisms
from sikff.nn.constants import ConstantModule, ToCanonical, check_size
from sikff.nn.weight_cache import cached


class _Batch(NamedTuple):
    """A run of irreps with the same multiplicities: one batched product of matrices.

    An irrep of real type has one product for each component, all with the same matrix
    [copies, copies out]. For complex or quaternionic type, where components mix, it has one for all
    its components, with a matrix [dim copies, dim copies out].
    """

    start: int  # first feature in the input
    n_products: int
    rows: int  # features that each product takes
    # shape of the weights: irreps, copies x endomorphisms, copies out
    matrices: tuple[int, int, int]
    buffer: str  # name: of the irrep of each product (real type), or the irreps' endomorphisms


class Linear(ConstantModule):
    """Every equivariant linear map in_type -> out_type: its weights are coordinates of Hom_G.

    Weights start at unit variance and are scaled by 1/sqrt(fan-in) in ``forward``, so that features
    of unit variance give features of unit variance, times the gain.

    Args:
        in_type, out_type: field types of the same group.
        bias: add a learned constant to the invariant channels (the only ones that may have one).
        gain: factor of the map without bias.

    Attributes:
        matrices: shapes [number, rows, columns] of the matrices that ``weight`` holds one after
            the other.

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
        pairs = [(sources.get(o.irrep), o) for o in out_type.canonical.blocks]
        # what the output consists of, in order: batches, and numbers of zeros (no such input irrep)
        self._runs = [self._add_run(run) for run in _find_runs(pairs)] or [0]
        self._batches = [run for run in self._runs if isinstance(run, _Batch)]
        spans = [(batch.start, batch.n_products * batch.rows) for batch in self._batches]
        self._part_sizes, self._read_parts = _divide(spans, in_type.size)
        self.matrices = [batch.matrices for batch in self._batches]
        scales = [np.full(n * i * o, i**-0.5) for n, i, o in self.matrices]
        self.register_constant("scales", np.concatenate([np.zeros(0), *scales]))
        self.weight = nn.Parameter(torch.randn(len(self.scales)))
        self.bias = None
        if bias and out_type.n_invariants:
            self.bias = nn.Parameter(torch.zeros(out_type.n_invariants))

    def _add_run(self, pairs: list[tuple[Block | None, Block]]) -> _Batch | int:
        """The batch that computes some blocks of the output, or their size if they are zero."""
        first, out = pairs[0]
        if first is None:
            return sum(block.stop - block.start for _, block in pairs)
        dims = [block.irrep.dim for _, block in pairs]
        bases = [endomorphisms(block.irrep) for _, block in pairs]
        k, name = len(bases[0]), f"table_{out.irrep.index}"
        matrices = (len(pairs), k * first.copies, out.copies)
        if k == 1:
            irreps = torch.repeat_interleave(torch.tensor(dims))  # irrep number n, dims[n] times
            self.register_buffer(name, irreps, persistent=False)
            return _Batch(first.start, len(irreps), first.copies, matrices, name)
        self.register_constant(name, np.stack(bases))
        return _Batch(first.start, len(pairs), dims[0] * first.copies, matrices, name)

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., d_in] -> [..., d_out]."""
        check_size("Linear", x, self.in_type)
        rows = self.to_canonical(x if x.ndim == 2 else x.unsqueeze(0).flatten(0, -2))
        y = self._map_canonical(rows)
        if self.bias is not None:
            y = y + nn.functional.pad(self.bias, (0, y.shape[1] - len(self.bias)))
        return self.from_canonical(y if x.ndim == 2 else y.view(*x.shape[:-1], y.shape[1]))

    def _map_canonical(self, x: Tensor) -> Tensor:
        """[N, d_in] -> [N, d_out], both canonical, without bias."""
        outputs, operands = [], zip(*self._operands(x, 1, 1), strict=True)
        for run in self._runs:
            if isinstance(run, int):
                outputs.append(x.new_zeros(x.shape[0], run))
                continue
            part, matrices = next(operands)
            # features are [component, copy]: a product for each component (or irrep), for all rows
            part = part.view(x.shape[0], run.n_products, run.rows).transpose(0, 1)
            outputs.append(torch.bmm(part, matrices).transpose(0, 1).flatten(1))
        return torch.cat(outputs, dim=1) if len(outputs) > 1 else outputs[0]

    def _operands(self, x: Tensor, axis: int, unit: int) -> tuple[Sequence[Tensor], list[Tensor]]:
        """For each batch, the part of x that it reads and its matrices.

        Args:
            axis: of x, along which features lie; an index of it stands for ``unit`` features.
        """
        sizes, read = self._part_sizes, self._read_parts
        parts: Sequence[Tensor] = [x]
        if len(sizes) == 2 and read == [0]:  # its gradient is cheaper than that of split
            parts = [x.narrow(axis, 0, sizes[0] // unit)]
        elif len(sizes) > 1:
            parts = x.split([size // unit for size in sizes], axis)
        return [parts[k] for k in read], cached(self, self._matrices)

    def _matrices(self) -> list[Tensor]:
        """The matrices [n_products, rows, features out] of each batch."""
        scales = self.gain * self.scales  # the gain is no part of the fingerprint of model files
        weights = (self.weight * scales).split([prod(m) for m in self.matrices])
        batched = []
        for batch, weight in zip(self._batches, weights, strict=True):
            matrices, buffer = weight.view(batch.matrices), getattr(self, batch.buffer)
            n, _, copies = batch.matrices
            if buffer.ndim == 1:  # real type: repeat an irrep's matrix for each of its components
                is_repeated = len(buffer) > n
                batched.append(matrices.index_select(0, buffer) if is_repeated else matrices)
                continue
            # sum of endomorphisms [a, b] of the components times matrices [c, o] of the copies
            k, dim = buffer.shape[1:3]
            sums = torch.einsum("ikab,ikco->ibcao", buffer, matrices.view(n, k, -1, copies))
            batched.append(sums.reshape(n, batch.rows, dim * copies))
        return batched

    def matrix(self) -> Tensor:
        """The map without bias as one dense matrix [d_in, d_out]."""
        eye = torch.eye(self.in_type.size, dtype=self.weight.dtype, device=self.weight.device)
        return self.from_canonical(self._map_canonical(self.to_canonical(eye)))


class ChannelLinear(Linear):
    """The same for features [D, C, N] of N nodes, with C channels of a type of D components.

    With the nodes last, no product of matrices has to copy its operands, here and in
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
        if x.shape[0] * channels != self.in_type.size:
            raise ValueError(
                f"ChannelLinear: expected features [D, C, N] of {self.in_type!r}, with D C = "
                f"{self.in_type.size}; got shape {tuple(x.shape)}"
            )
        outputs, operands = [], zip(*self._operands(x, 0, channels), strict=True)
        for run in self._runs:
            if isinstance(run, int):
                outputs.append(x.new_zeros(run // channels, channels, n))
                continue
            part, matrices = next(operands)
            if run.rows != channels:  # several copies of an irrep in each channel
                part = part.reshape(run.n_products, run.rows, n)
            y = torch.bmm(matrices.mT, part)
            d_out = y.shape[0] * y.shape[1] // channels
            outputs.append(y if y.shape[1] == channels else y.view(d_out, channels, n))
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0]


def _divide(spans: list[tuple[int, int]], size: int) -> tuple[list[int], list[int]]:
    """Sizes of the parts into which spans (start, length) and their gaps divide ``size`` features,
    and which of the parts are the spans."""
    sizes: list[int] = []
    numbers = []
    for start, length in spans:
        if start > sum(sizes):  # features that no batch reads
            sizes.append(start - sum(sizes))
        numbers.append(len(sizes))
        sizes.append(length)
    return [*sizes, size - sum(sizes)] if size > sum(sizes) else sizes, numbers


def _find_runs(pairs: list[tuple[Block | None, Block]]) -> list[list[tuple[Block | None, Block]]]:
    """Groups neighbouring pairs of blocks (input, output) that one batch can compute."""
    runs: list[list[tuple[Block | None, Block]]] = []
    for pair in pairs:
        if runs and _fits_in_batch(runs[-1][-1], pair):
            runs[-1].append(pair)
        else:
            runs.append([pair])
    return runs


def _fits_in_batch(last: tuple[Block | None, Block], new: tuple[Block | None, Block]) -> bool:
    """Whether a pair has the shape of the last one and follows it in memory, or both are zero."""
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
