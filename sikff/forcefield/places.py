"""The place of an atom above crystal surfaces, as a steerable attribute (method: section 6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from sikff.field_types import FieldType
from sikff.groups import SymmetryGroup
from sikff.nn.constants import ToCanonical
from sikff.nn.plane_waves import PlaneWaves
from sikff.surface import Wallpaper


class Places(nn.Module):
    """Plane waves of the lattice of each surface, times functions of the height above it.

    a_i = sum over stars s of phi_k(h_i) chi_s(r_i): invariant under lattice translations, covariant
    under the wallpaper group. The constant (G = 0) is left out: heights alone are attributes
    already. Zero where the functions of the height are.

    Args:
        wallpapers: of the surfaces.
        stars: of reciprocal vectors, of each surface.
        n_heights: functions of the height, of each surface.
        group: the group G of the network.

    Attributes:
        out_type: canonical type of the attribute.
    """

    def __init__(
        self, wallpapers: Sequence[Wallpaper], stars: int, n_heights: int, group: SymmetryGroup
    ) -> None:
        super().__init__()
        of_surfaces = [PlaneWaves(wallpaper, stars, group) for wallpaper in wallpapers]
        self.waves, self.n_heights = nn.ModuleList(of_surfaces), n_heights
        parts = []
        for waves in of_surfaces:
            fields = [(n - irrep.is_trivial, irrep) for n, irrep in waves.out_type.fields]
            parts.append(FieldType(group, [(n * n_heights, irrep) for n, irrep in fields]))
        joined = sum(parts[1:], start=parts[0])
        self.to_canonical = ToCanonical(joined)
        self.out_type = joined.canonical

    def forward(self, positions: Tensor, heights: Tensor) -> Tensor:
        """The attribute [N, d].

        Args:
            positions: from the origin of the atom's surface, [N, 3] (Å).
            heights: functions of the height above each surface, [N, surfaces, n_heights].
        """
        parts = [
            (waves(positions)[:, 1:, None] * of_height[:, None, :]).flatten(1)
            for waves, of_height in zip(self.waves, heights.unbind(1), strict=True)
        ]
        return self.to_canonical(torch.cat(parts, dim=-1))

    def of_subgroup(self, smaller: Places) -> Tensor:
        """The orthogonal matrix [d, d], float64, from this attribute (columns) to that of the same
        surfaces under a subgroup (rows): a = a_smaller @ matrix."""
        return smaller._from_waves().T @ self._from_waves() / 2  # cosines have mean square 1/2

    def _from_waves(self) -> Tensor:
        """The matrix from cosines and sines, each times every function of the height."""
        eye = torch.eye(self.n_heights, dtype=torch.float64)
        bases = [cast(PlaneWaves, waves).constants["basis"][:, 1:] for waves in self.waves]
        joined = torch.block_diag(*(torch.kron(torch.from_numpy(b), eye) for b in bases))
        if self.to_canonical.is_identity:
            return joined
        return joined @ torch.from_numpy(self.to_canonical.constants["matrix"])
