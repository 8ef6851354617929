"""Point convolution f_out_i = sum_j k(r_j - r_i, a_ij) f_j (paper, equation 5), without the matrix.

The paper's kernel is a function of r_i - r_j, ours of r_j - r_i, as ASE's neighbour lists have it:
the same family of kernels, each of them at -x.

With h_ij the kernel's last hidden activation and W its last linear map,
k_ij f_j = W CG (h_ij (x) f_j), and W CG is the same on every edge. So the outer products are summed
first, A_i = sum_j h_ij (x) f_j (for each node, a product of two thin matrices), and W CG acts once
on each node.
"""

from typing import Any

from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.nn.constants import check_size
from sikff.nn.kernel import EdgeBasis, ImplicitKernel, SplineBasis
from sikff.nn.neighbour_table import NeighbourLayout, neighbour_layout


class PointConv(nn.Module):
    """Equivariant convolution on a graph with an implicit kernel.

    Args:
        in_type, out_type, attr_type: field types of node features and edge attributes.
        **options: passed to :class:`ImplicitKernel` (``layers``, ``cutoff``, ``channelwise``, ...).

    Attributes:
        kernel: the implicit kernel; ``sum_j kernel(vectors, attr) @ f_j`` is the slow way.
    """

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        attr_type: FieldType | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.in_type, self.out_type = in_type, out_type
        self.kernel = ImplicitKernel(in_type, out_type, attr_type, **options)

    def forward(
        self,
        f: Tensor,
        vectors: Tensor,
        edge_index: Tensor,
        attr: Tensor | None = None,
        layout: NeighbourLayout | None = None,
    ) -> Tensor:
        """Convolve node features.

        Args:
            f: node features [N, d_in].
            vectors: r_j - r_i [E, 3].
            edge_index: [2, E]; row 0 the receivers i, row 1 the senders j, in any order.
            attr: edge attributes [E, a].
            layout: ``neighbour_layout(edge_index, M)``, to share it between layers, or because
                the M receivers are others than the senders; None: M = N.

        Returns:
            [M, d_out].

        Raises:
            ValueError: features or vectors of another size.
        """
        check_size("PointConv", f, self.in_type)
        if vectors.shape != (edge_index.shape[1], 3):
            raise ValueError(
                f"PointConv got vectors {list(vectors.shape)} for {edge_index.shape[1]} edges; "
                "expected one of three components for each"
            )
        if layout is None:
            layout = neighbour_layout(edge_index, len(f), f.dtype)
        a = None if attr is None else layout.in_slots(attr)
        edges = self.kernel.basis(layout.in_slots(vectors), a, layout.filled)
        return self.gather(f, edges, layout)

    def gather(self, f: Tensor, edges: EdgeBasis | SplineBasis, layout: NeighbourLayout) -> Tensor:
        """The same with the basis of the edges in the layout's slots."""
        h = self.kernel.hidden(edges)
        f = self.kernel.in_basis(f)
        return self.kernel.out_basis(self.kernel.contraction.sum_neighbours(h, f, layout))
