"""Dense convolution on 2D and 3D grids: the implicit kernel at pixel and voxel centres."""

from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sikff.field_types import FieldType
from sikff.nn.constants import ConstantModule
from sikff.nn.kernel import ImplicitKernel


class DenseConv(ConstantModule):
    """Equivariant convolution on a grid; its filter bank is an implicit kernel.

    Array axes 2, 3 (and 4) of the input run along the x, y (and z) axes of the group's standard
    orientation; a 2D grid is the plane through the origin perpendicular to the group's axis. Under
    the rotations and reflections of G that map the grid to itself, the result is exactly
    equivariant; under others up to sampling error, which the Gaussian shell keeps small by fading
    out the corners. The convolution never runs in TF32, whose rounding (1e-3) would break that;
    its gradients follow torch's setting.

    Args:
        in_type, out_type: types of the input and output fields (one group).
        dimension: 2 or 3.
        kernel_size: odd number of pixels along each axis.
        spacing: distance of neighbouring pixels.
        stride, padding: as in torch; padding None keeps the size (zeros outside).
        **options: passed to :class:`ImplicitKernel`; ``sigma`` defaults to a quarter of the
            kernel's extent.

    Raises:
        ValueError: another dimension, a kernel without a centre, or in `forward` a grid of another
            shape.
    """

    offsets: Tensor

    def __init__(
        self,
        in_type: FieldType,
        out_type: FieldType,
        dimension: int = 3,
        kernel_size: int = 5,
        spacing: float = 1.0,
        stride: int = 1,
        padding: int | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if dimension not in (2, 3):
            raise ValueError(f"DenseConv works in 2 or 3 dimensions; got {dimension}")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, so that it has a centre; got {kernel_size}")
        half = kernel_size // 2
        options.setdefault("sigma", max(half, 1) * spacing / 2)
        self.in_type, self.out_type = in_type, out_type
        self.dimension, self.kernel_size, self.stride = dimension, kernel_size, stride
        self.padding = half if padding is None else padding
        grid = np.array(list(product(range(-half, half + 1), repeat=dimension)), float) * spacing
        points = np.zeros((len(grid), 3))
        points[:, :dimension] = grid
        self.register_constant("offsets", points @ in_type.group.orientation.T)
        self.kernel = ImplicitKernel(in_type, out_type, **options)
        self.scale = 1 / len(grid) ** 0.5

    def filters(self) -> Tensor:
        """The filter bank [d_out, d_in, k, k(, k)]."""
        bank = self.kernel(self.offsets).permute(1, 2, 0) * self.scale
        return bank.unflatten(2, (self.kernel_size,) * self.dimension)

    def forward(self, f: Tensor) -> Tensor:
        """f [B, d_in, X, Y(, Z)] -> [B, d_out, X', Y'(, Z')]."""
        if f.dim() != self.dimension + 2 or f.shape[1] != self.in_type.size:
            raise ValueError(
                f"DenseConv: expected [B, {self.in_type.size}] and {self.dimension} grid axes, "
                f"got shape {tuple(f.shape)}"
            )
        return _convolve(f, self.filters(), [self.stride] * self.dimension, self.padding)


def _convolve(f: Tensor, filters: Tensor, stride: list[int], padding: int) -> Tensor:
    """The convolution of torch.nn.functional in full float32, also where cuDNN may use TF32.

    The flag is an argument of this operator, so that no global setting is changed for it.
    """
    cudnn, n = torch.backends.cudnn, len(stride)
    flags = (cudnn.benchmark, cudnn.deterministic, cudnn.enabled, False)  # the last: allow_tf32
    transposed, groups = False, 1
    filters = filters.to(f.dtype)  # under autocast their dtype is lower, and f may be cast or not
    return torch.ops.aten._convolution(
        f, filters, None, stride, [padding] * n, [1] * n, transposed, [0] * n, groups, *flags
    )
