"""Sites that do not hold one whole atom, as in disordered crystals."""

from __future__ import annotations

import ase
import numpy as np

FULL = 0.999  # occupancy; files hold three digits
ORDERED = (
    "a force field needs one whole atom on each site: take an ordered structure without occupancies"
)


def check_occupancy(atoms: ase.Atoms) -> None:
    """Checks that no site is occupied in part or by several elements.

    Occupancies are where ASE puts them: of CIF files in ``info["occupancy"]``, of PDB files in an
    array, where zeros throughout say nothing.

    Raises:
        ValueError: naming the site.
    """
    sites = atoms.info.get("occupancy")
    if isinstance(sites, dict):
        for site in sites.values():
            shares = site if isinstance(site, dict) else {"": site}
            known = [share for share in shares.values() if isinstance(share, int | float)]
            if len(shares) > 1 or not all(share >= FULL for share in known):
                words = " and ".join(f"{share} {symbol}" for symbol, share in shares.items())
                raise ValueError(f"a site is occupied by {words}; {ORDERED}")
    column = np.asarray(atoms.arrays.get("occupancy", ()))
    if column.dtype.kind in "if" and column.any():
        partial = np.flatnonzero(~(column >= FULL))
        if len(partial):
            name = f"atom {partial[0]} ({atoms.symbols[partial[0]]})"
            raise ValueError(f"{name} has occupancy {column[partial[0]]:g}; {ORDERED}")
