"""Whether the cell of a structure may change, and in which directions."""

from __future__ import annotations

import ase

from sikff.forcefield import ForceField
from sikff.forcefield.environment import ACROSS, is_periodic_along


def check_cell_may_change(atoms: ase.Atoms) -> None:
    """Raises ValueError if periodic images are across a plane that the force field has.

    The plane does not move with the cell, so that the pressure across it is not defined.
    """
    models = getattr(atoms.calc, "models", ())
    for config in (model.config for model in models if isinstance(model, ForceField)):
        if config.environment.plane_origin is not None and is_periodic_along(atoms, config.axis):
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
