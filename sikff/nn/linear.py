"""Equivariant linear maps between field types (Schur's lemma, full endomorphism algebra)."""

from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import Block, FieldType
from sikff.groups.intertwiners import endomorphisms
from sikff.nn.frozen import of_weights
from sikff.nn.tables import Tabulated, ToCanonical, check_size


class _Batch(NamedTuple):
    """Neighbouring irreps of the same multiplicities: one batched product, a matrix for each."""

    start: int  # first component in the input
    n_components: int
    copies: int  # of each irrep in the input
    matrices: tuple[int, int, int]  # irreps, inputs of each (copies x endomorphisms), copies out
    irreps: str  # table: the irrep of each component
    endomorphisms: str | None  # table [n_components * k, n_components], if there are k > 1


class Linear(Tabulated):
    """Every equivariant linear map in_type -> out_type: its weights are coordinates of Hom_G.

    Weights start at unit variance and are scaled by 1/sqrt(fan-in) in ``forward``, so that
    unit-variance features stay so.

    Args:
        in_type, out_type: field types of the same group.
        bias: add a learned constant to the invariant channels (the only ones that may have one).

    Attributes:
        matrices: number, rows and columns of the matrices that ``weight`` holds, in their order.

    Raises:
        ValueError: the types belong to different groups, or features have the wrong size.
    """

    scales: Tensor

    def __init__(self, in_type: FieldType, out_type: FieldType, bias: bool = False) -> None:
        super().__init__()
        if in_type.group != out_type.group:
            raise ValueError(
                f"Linear: in_type is of group {in_type.group}, out_type of {out_type.group}; "
                "build both from one group"
            )
        self.in_type, self.out_type = in_type, out_type
        self.to_canonical = ToCanonical(in_type)
        self.from_canonical = ToCanonical(out_type, inverse=True)
        sources = {block.irrep: block for block in in_type.canonical.blocks}
        self._steps: list[_Batch | int] = []  # an int: so many zeros
        for pairs in _runs([(sources.get(o.irrep), o) for o in out_type.canonical.blocks]):
            self._steps.append(self._step(pairs))
        self.matrices = [step.matrices for step in self._steps if isinstance(step, _Batch)]
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
        k, n = len(bases[0]), sum(dims)
        name, label = None, f"{out.irrep.index}"
        if k > 1:
            name = f"mixing_{label}"
            table, row = np.zeros((k, n, n)), 0
            for dim, basis in zip(dims, bases, strict=True):
                table[:, row : row + dim, row : row + dim] = basis
                row += dim
            self.register_table(name, table.reshape(k * n, n))
        irreps = torch.repeat_interleave(torch.tensor(dims))
        self.register_buffer(f"irreps_{label}", irreps, persistent=False)
        matrices = (len(pairs), k * first.copies, out.copies)
        return _Batch(first.start, n, first.copies, matrices, f"irreps_{label}", name)

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., d_in] -> [..., d_out].

        Of features that lie in memory as [d_in, N] the result lies there as [d_out, N]: nothing has
        to be copied then, neither here nor in :class:`ChannelProduct`.
        """
        check_size("Linear", x, self.in_type)
        rows = self.to_canonical(x if x.ndim == 2 else x.unsqueeze(0).flatten(0, -2))
        columns = rows.T
        y = self._product(columns, 0).T if columns.is_contiguous() else self._product(rows, 1)
        if self.bias is not None:
            y = y + nn.functional.pad(self.bias, (0, y.shape[1] - len(self.bias)))
        return self.from_canonical(y if x.ndim == 2 else y.view(*x.shape[:-1], y.shape[1]))

    def _product(self, x: Tensor, axis: int) -> Tensor:
        """[d_in, N] -> [d_out, N], or [N, d_in] -> [N, d_out]: ``axis`` is that of the features."""
        parts, matrices = [], iter(of_weights(self, self._matrices))
        for batch in self._steps:
            if isinstance(batch, int):
                shape = (batch, x.shape[1]) if axis == 0 else (len(x), batch)
                parts.append(x.new_zeros(shape))
                continue
            size = batch.n_components * batch.copies
            part = x if size == x.shape[axis] else x.narrow(axis, batch.start, size)
            if axis == 0:
                part = part.view(batch.n_components, batch.copies, x.shape[1])
            else:
                part = part.view(len(x), batch.n_components, batch.copies).transpose(0, 1)
            if batch.endomorphisms is not None:
                table = getattr(self, batch.endomorphisms)
                mixed = (table @ part.flatten(1)).view(len(table) // len(part), *part.shape)
                part = mixed.movedim(0, axis + 1).flatten(axis + 1, axis + 2)
            if axis == 0:
                parts.append(torch.bmm(next(matrices).mT, part).flatten(0, 1))
            else:
                parts.append(torch.bmm(part, next(matrices)).transpose(0, 1).flatten(1))
        return parts[0] if len(parts) == 1 else torch.cat([x.narrow(axis, 0, 0), *parts], dim=axis)

    def _matrices(self) -> list[Tensor]:
        """Of each batch the matrix of each component, [n, k copies, copies out]."""
        weights = (self.weight * self.scales).split([prod(m) for m in self.matrices])
        found = []
        batches = [step for step in self._steps if isinstance(step, _Batch)]
        for batch, weight in zip(batches, weights, strict=True):
            matrices = weight.view(batch.matrices)
            if batch.n_components > len(matrices):
                matrices = matrices.index_select(0, getattr(self, batch.irreps))
            found.append(matrices)
        return found

    def matrix(self) -> Tensor:
        """The map as one matrix [d_in, d_out], most of it zeros; without bias."""
        eye = torch.eye(self.in_type.size, dtype=self.weight.dtype, device=self.weight.device)
        return self.from_canonical(self._product(self.to_canonical(eye).T, 0).T)


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
    return (
        new[0].start == last[0].stop
        and new[0].copies == last[0].copies
        and new[1].copies == last[1].copies
        and len(endomorphisms(new[0].irrep)) == len(endomorphisms(last[0].irrep))
    )
