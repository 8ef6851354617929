"""The place of an atom above a crystal surface as a steerable attribute (method: section 6)."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn.constants import ConstantModule
from sikff.surface import Wallpaper, first_stars, star_representation


class PlaneWaves(ConstantModule):
    """Plane waves of a lattice in the irreps of its point group: positions [N, 3] -> [N, d].

    The functions chi are invariant under lattice translations and equivariant under the wallpaper
    group: chi(R r + t) = rho(R) chi(r) for each of its operations. The first one is the constant 1
    (G = 0); the others have mean square 1 over the cell. Heights do not matter.

    Phases are reduced to one period in the dtype of the positions. So with float64 positions a
    model in float32 loses nothing far from the origin.

    With functions phi [N, K] of the heights, ``(chi[:, :, None] * phi[:, None, :]).flatten(1)`` is
    of the type with K times as many copies of each irrep.

    Args:
        wallpaper: the wallpaper group.
        stars: number of stars of reciprocal vectors; those as long as the last come with it.
        group: the group G of the network: the point group (None), or a subgroup of it.

    Attributes:
        out_type: the (canonical) type of the result.
        lengths: |G| (1/Å) of each component, [d]; corrugations decay with height as exp(-|G| h).

    Raises:
        ValueError: a group that is not a subgroup of the point group, or a bad number of stars.
    """

    cycles: Tensor
    cycles_rest: Tensor
    basis: Tensor
    constant: Tensor

    def __init__(
        self, wallpaper: Wallpaper, stars: int, group: SymmetryGroup | None = None
    ) -> None:
        super().__init__()
        group = wallpaper.point_group if group is None else group
        if not group <= wallpaper.point_group:
            raise ValueError(
                f"{group} is not a subgroup of {wallpaper.point_group}, the point group of "
                f"{wallpaper.name}: the surface would have symmetries that its atoms do not have. "
                "Choose a smaller group, or turn the lattice"
            )
        self.wallpaper = wallpaper
        self.stars = first_stars(wallpaper, stars)
        given = FieldType.scalar(group)
        cosines: list[int] = []  # their places among the components of the type
        sines: list[int] = []
        lengths = [0.0]
        for star in self.stars:
            k = len(star.indices)
            cosines += range(given.size, given.size + k)
            sines += range(given.size + k, given.size + 2 * k)
            lengths += [star.length] * (2 * k)
            matrices = star_representation(wallpaper, star, group.generators)
            given = given + FieldType.from_representation(group, matrices)
        self.out_type = given.canonical
        basis = given.change_of_basis
        self.lengths = np.array(lengths) @ basis**2  # each column has norm 1, within one star
        self.register_constant("constant", basis[0])
        self.register_constant("basis", math.sqrt(2) * basis[cosines + sines])
        # the sum of both is exact to float64 also where the module is float32
        indices = np.concatenate([np.zeros((0, 2)), *(star.indices for star in self.stars)])
        cycles = (indices @ wallpaper.dual).T
        rounded = cycles.astype(np.float32).astype(np.float64)
        self.register_constant("cycles", rounded)
        self.register_constant("cycles_rest", cycles - rounded)

    def forward(self, positions: Tensor) -> Tensor:
        """chi [N, d] in the module's dtype at positions [N, 3] (Å) from the lattice's origin."""
        cycles = self.cycles.to(positions.dtype) + self.cycles_rest.to(positions.dtype)
        turns = positions @ cycles
        turns = (turns - turns.detach().round()).to(self.basis.dtype)
        angles = 2 * math.pi * turns
        waves = torch.cat([torch.cos(angles), torch.sin(angles)], dim=-1)
        return F.linear(waves, self.basis.T, self.constant)
