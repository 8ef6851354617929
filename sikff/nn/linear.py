"""Equivariant linear maps between field types (Schur's lemma, full endomorphism algebra)."""

import numpy as np
import torch
from torch import Tensor, nn

from sikff.fields import FieldType
from sikff.groups.intertwiners import endomorphisms
from sikff.nn.tables import Tabulated, ToCanonical, check_size


class Linear(Tabulated):
    """Every equivariant linear map in_type -> out_type: its weights are coordinates of Hom_G.

    Weights start at unit variance and are scaled by 1/sqrt(fan-in) in ``forward``, so that
    unit-variance features stay so.

    Args:
        in_type, out_type: field types of the same group.
        bias: add a learned constant to the invariant channels (the only ones that may have one).

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
        self._steps: list[tuple[int, int, str | None] | int] = []
        self._shapes: list[tuple[int, int]] = []
        for irrep, copies, start, stop in out_type.canonical.blocks:
            source = sources.get(irrep)
            if source is None:
                self._steps.append(stop - start)
                continue
            e = endomorphisms(irrep)
            name = None
            if len(e) > 1:
                name = f"endomorphisms_{irrep.index}"
                self.register_table(name, e)
            n_in = len(e) * source.copies
            self._steps.append((in_type.canonical.blocks.index(source), irrep.dim, name))
            self._shapes.append((n_in, copies))
        scales = [np.full(n * m, n**-0.5) for n, m in self._shapes]
        self.register_table("scales", np.concatenate([np.zeros(0), *scales]))
        self.weight = nn.Parameter(torch.randn(len(self.scales)))
        self.bias = None
        if bias and out_type.n_invariants:
            self.bias = nn.Parameter(torch.zeros(out_type.n_invariants))

    def forward(self, x: Tensor) -> Tensor:
        """Features [..., d_in] -> [..., d_out]."""
        parts = self.blocks(x)
        y = torch.cat(parts, dim=-1) if parts else x.new_zeros(*x.shape[:-1], 0)
        return self.from_canonical(y)

    def blocks(self, x: Tensor) -> list[Tensor]:
        """The result's canonical blocks, one for each irrep, not yet joined."""
        check_size("Linear", x, self.in_type)
        blocks = self.to_canonical(x).split(self.in_type.canonical.block_sizes, dim=-1)
        weights = (self.weight * self.scales).split([n * m for n, m in self._shapes])
        matrices = (w.view(shape) for w, shape in zip(weights, self._shapes, strict=True))
        parts = []
        for step in self._steps:
            if isinstance(step, int):
                parts.append(x.new_zeros(*x.shape[:-1], step))
                continue
            source, dim, endomorphism = step
            block = blocks[source].unflatten(-1, (dim, -1))
            if endomorphism is not None:
                j = getattr(self, endomorphism)
                block = torch.einsum("kab,...bn->...akn", j, block).flatten(-2)
            parts.append((block @ next(matrices)).flatten(-2))
        if self.bias is not None:
            parts[0] = parts[0] + self.bias
        return parts
