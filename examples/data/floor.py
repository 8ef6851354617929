"""Print the floor: the error that a model of a flat surface cannot avoid on a corrugated one.

A file of copies (``surface.py --what copies``) has each molecule at several lateral positions and
azimuths above the surface. A model that knows only the normal of the surface gives all copies one
energy, and forces that differ by the azimuth alone. The best that it can give is the mean of the
copies; what is left of their labels is the floor. It is given by height, for the corrugation is
that of the first atomic layer and fades within an ångström or two.

Needs ``pip install ase scipy``::

    python floor.py water_graphene_copies.xyz
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from scipy.spatial.transform import Rotation

BINS = (0.0, 2.5, 3.0, 3.5, 4.0, 5.0, 8.0)  # Å, height of the centre of mass


class Residuals(NamedTuple):
    """What the mean of the copies leaves, for M molecules in C copies of N atoms."""

    height: np.ndarray  # of the centre of mass, Å, shape (M,)
    energy: np.ndarray  # eV, shape (M, C)
    forces: np.ndarray  # eV/Å, shape (M, C, N, 3), turned back by the azimuth


def residuals(frames: list[Atoms]) -> Residuals:
    """Labels of copies minus their mean.

    They are widened by sqrt(C / (C - 1)), for the spread about the mean of C copies is smaller
    than about the true mean.
    """
    molecules: dict[int, list[Atoms]] = {}
    for atoms in frames:
        molecules.setdefault(atoms.info["copy_of"], []).append(atoms)
    height = [copies[0].get_center_of_mass()[2] for copies in molecules.values()]
    energy = np.array([[a.info["REF_energy"] for a in copies] for copies in molecules.values()])
    forces = np.array([[turned_back(a) for a in copies] for copies in molecules.values()])
    widen = np.sqrt(energy.shape[1] / (energy.shape[1] - 1))
    return Residuals(
        np.array(height),
        widen * (energy - energy.mean(axis=1, keepdims=True)),
        widen * (forces - forces.mean(axis=1, keepdims=True)),
    )


def turned_back(atoms: Atoms) -> np.ndarray:
    """REF_forces (eV/Å, shape (N, 3)) of a copy as if it had the azimuth zero."""
    turn = Rotation.from_rotvec((0.0, 0.0, -atoms.info["azimuth"]))
    return turn.apply(atoms.arrays["REF_forces"])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="The floor of a file of lateral copies.")
    parser.add_argument("copies", type=Path)
    found = residuals(list(ase.io.iread(parser.parse_args().copies, index=":")))
    print("  height (Å)  molecules  forces (meV/Å)  energy (meV)")
    print("                           MAE    RMSE     MAE   RMSE")
    for low, high in ((BINS[0], BINS[-1]), *pairwise(BINS)):
        chosen = (low <= found.height) & (found.height < high)
        if chosen.any():
            row = f"{low:4.1f} to {high:3.1f} {chosen.sum():9d}    "
            for values in (1000 * found.forces[chosen], 1000 * found.energy[chosen]):
                row += f"{np.abs(values).mean():8.2f}{np.sqrt((values**2).mean()):8.2f}"
            print(row)


if __name__ == "__main__":
    main()
