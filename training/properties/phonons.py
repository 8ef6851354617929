"""Harmonic phonons of a crystal, by finite displacements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ase
import numpy as np
from ase import units
from ase.phonons import Phonons

from .crystal import repeats_for

Array = np.ndarray
THZ = 1e-12 * units._e / units._hplanck  # in an eV


@dataclass(frozen=True)
class PhononBands:
    """Frequencies along a path through the Brillouin zone.

    Attributes:
        positions: along the path, 1/Å [q]; frequencies: THz [q, 3 N], imaginary ones negative.
        labels: positions and names of the special points.
        lowest: the lowest frequency on a mesh of the supercell's q points, THz; about 0, the
            acoustic branches at the centre, if all modes are stable.
    """

    positions: Array
    frequencies: Array
    labels: tuple[tuple[float, str], ...]
    lowest: float

    @property
    def is_stable(self) -> bool:
        """Whether no frequency is imaginary, apart from rounding at the centre of the zone."""
        return min(self.lowest, float(self.frequencies.min())) > -0.05


def phonon_bands(
    crystal: ase.Atoms, size: float = 12.0, displacement: float = 0.01, points: int = 120
) -> PhononBands:
    """Phonons from the forces in a supercell in which atoms of one cell are displaced.

    Args:
        crystal: relaxed with its cell, with a calculator; best the primitive cell. It does not
            change.
        size: least distance of opposite faces of the supercell, Å. Force constants reach half of
            it.
        displacement: of each atom, both ways, Å.
        points: on the path.
    """
    repeats = repeats_for(crystal, size)
    with TemporaryDirectory() as folder:
        phonons = Phonons(
            crystal, crystal.calc, repeats, name=str(Path(folder) / "phonon"), delta=displacement
        )
        phonons.run()
        phonons.read(acoustic=True, symmetrize=3)
        path = crystal.cell.bandpath(npoints=points)
        energies = phonons.get_band_structure(path, verbose=False).energies[0]
        mesh = np.stack(
            np.meshgrid(*(np.arange(n) / n for n in repeats), indexing="ij"), axis=-1
        ).reshape(-1, 3)
        on_mesh = phonons.band_structure(mesh, verbose=False)
    positions, ticks, names = path.get_linear_kpoint_axis()
    return PhononBands(
        positions,
        energies * THZ,
        tuple(zip(ticks.tolist(), names, strict=True)),
        float(np.min(on_mesh)) * THZ,
    )
