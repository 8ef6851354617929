"""Whether the cell of a structure may change, and in which directions."""

from __future__ import annotations

from typing import Any

import ase
import numpy as np
from ase.filters import FrechetCellFilter

from sikff.forcefield.environment import ACROSS, is_periodic_along

from .surface import environments


def check_cell_may_change(atoms: ase.Atoms) -> None:
    """Raises ValueError above a crystal surface, and if a periodic direction leads through a plane.

    Surfaces do not move with the cell: the pressure across them, and along a crystal surface, is
    not defined.
    """
    for environment in environments(atoms):
        if environment.places is not None:
            raise ValueError(
                "the model sees a crystal surface, whose lattice no pressure moves; expected a "
                "cell that stays as it is"
            )
        if is_periodic_along(atoms, environment.constants["normal"]):
            raise ValueError(
                "the model sees a plane, which no pressure moves; expected a structure that is not "
                "periodic across it, or a cell that stays as it is"
            )


def free_strains(atoms: ase.Atoms) -> list[bool]:
    """Whether xx, yy, zz, yz, xz and xy strain nothing but the periodic cell vectors.

    Raises:
        ValueError: if the periodic vectors do not span as many of x, y and z as they are.
    """
    periodic, others = atoms.cell[atoms.pbc], atoms.cell[~atoms.pbc]
    along = abs(periodic).max(axis=0, initial=0.0) > ACROSS
    if not atoms.pbc.any() or sum(along) > len(periodic) or (abs(others[:, along]) > ACROSS).any():
        raise ValueError(
            f"the cell cannot relax: it is {atoms.cell.array.round(4).tolist()} with pbc "
            f"{atoms.pbc.tolist()}; expected periodic vectors, and along x, y and z as many "
            "directions as they are, such as x and y of a slab whose third vector is along z"
        )
    x, y, z = map(bool, along)
    return [x, y, z, y and z, x and z, x and y]


class CellFilter(FrechetCellFilter):
    """ASE's filter with zeros for components of the stress that are not defined (NaN).

    No free strain has them, but ASE multiplies them by zero, which NaN survives.
    """

    def get_forces(self, **kwargs: Any) -> np.ndarray:
        atoms, self.atoms = self.atoms, _DefinedStress(self.atoms)
        try:
            return np.asarray(super().get_forces(**kwargs))
        finally:
            self.atoms = atoms


class _DefinedStress:
    """Atoms whose stress has no NaN."""

    def __init__(self, atoms: ase.Atoms) -> None:
        self._atoms = atoms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._atoms, name)

    def get_stress(self, **kwargs: Any) -> np.ndarray:
        return np.nan_to_num(self._atoms.get_stress(**kwargs))
