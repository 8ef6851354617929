"""The residual steerable convolution of the paper's networks for molecules and for shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.nn import Gated, Linear, NeighbourLayout, PointConv, RMSNorm


class ResidualConvolution(nn.Module):
    """f'_i = L f_i + gated(sum_j k(x_j - x_i, a_ij) f_j) with a steerable kernel k.

    Receivers may be a subset of the senders, which coarsens a cloud.

    Args:
        in_type, out_type, attr_type: types of node features and edge attributes.
        convolution: class of the sum over j, with the interface of :class:`sikff.nn.PointConv`.
        **kernel: its options.

    Attributes:
        out_type: that of the result, in canonical order.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        attr_type: FieldType | None = None,
        *,
        convolution: Callable[..., nn.Module] = PointConv,
        **kernel: Any,
    ) -> None:
        super().__init__()
        self.norm = RMSNorm(in_type, eps=1.0)  # small features stay as they are
        self.gated = Gated(out_type)
        self.out_type = self.gated.out_type
        self.convolution = convolution(in_type, self.gated.in_type, attr_type, **kernel)
        self.skip = Linear(in_type, self.out_type)

    def forward(
        self,
        f: Tensor,
        vectors: Tensor,
        edge_index: Tensor,
        attr: Tensor | None = None,
        layout: NeighbourLayout | None = None,
        receivers: Tensor | None = None,
    ) -> Tensor:
        """Features of the receivers [M, d_out]; arguments as of :class:`sikff.nn.PointConv`.

        Args:
            receivers: indices among the senders [M], in the order in which `edge_index` numbers
                them; None: all.
        """
        skipped = f if receivers is None else f.index_select(0, receivers)
        convolved = self.convolution(self.norm(f), vectors, edge_index, attr, layout)
        return self.skip(skipped) + self.gated(convolved)
