"""Harmonic phonons of a crystal, by finite displacements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import ase
import numpy as np
from ase import units
from ase.phonons import Phonons

from .crystal import TOLERANCE, repeats_for

Array = np.ndarray
FROM_ROOT = 1e-12 * units.s / (2 * np.pi)  # THz in a root of eV / (amu Å^2)


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
        phonons.read(acoustic=False, symmetrize=0)
        constants = _symmetrised(phonons.get_force_constant(), repeats)
    path = crystal.cell.bandpath(npoints=points)
    mesh = _cells(repeats) / repeats
    frequencies = _frequencies(crystal, constants, repeats, np.concatenate([path.kpts, mesh]))
    positions, ticks, names = path.get_linear_kpoint_axis()
    return PhononBands(
        positions,
        frequencies[:points],
        tuple(zip(ticks.tolist(), names, strict=True)),
        float(frequencies[points:].min()),
    )


def _cells(repeats: list[int]) -> Array:
    """Indices [c, 3] of the cells of a supercell, the last one fastest, as ASE has them."""
    return np.indices(repeats).reshape(3, -1).T


def _symmetrised(constants: Array, repeats: list[int]) -> Array:
    """Force constants [c, 3 N, 3 N] between the first cell and every other one, as derivatives of
    an energy that does not change when the crystal moves: symmetric, and with a sum of zero."""
    n = constants.shape[1] // 3
    opposite = np.ravel_multi_index(tuple((-_cells(repeats) % repeats).T), repeats)
    diagonal = np.arange(n)
    for _ in range(3):  # either spoils the other a little
        constants = (constants + constants[opposite].transpose(0, 2, 1)) / 2
        blocks = constants.reshape(-1, n, 3, n, 3)
        blocks[0, diagonal, :, diagonal] -= blocks.sum(axis=(0, 3))
    return constants


def _frequencies(crystal: ase.Atoms, constants: Array, repeats: list[int], points: Array) -> Array:
    """Frequencies (THz) [q, 3 N] at points [q, 3] in units of reciprocal vectors.

    The supercell's force constants are sums over the periodic images of an atom. They are given to
    the nearest image, in equal shares to several as near. Images of one parallelepiped, as in
    ``ase.phonons``, break the symmetry of the crystal and make long waves imaginary.
    """
    n = len(crystal)
    cells, shifts = _cells(repeats), (np.indices([5] * 3).reshape(3, -1).T - 2) * repeats
    images = cells[:, None] + shifts  # [c, i, 3]
    atoms = crystal.positions[None] - crystal.positions[:, None]
    vectors = atoms[None, :, :, None] + (images @ crystal.cell.array)[:, None, None]
    distances = np.linalg.norm(vectors, axis=-1)  # [c, N, N, i]
    nearest = distances < distances.min(axis=-1, keepdims=True) + TOLERANCE
    cell, *_, image = np.nonzero(nearest)
    owner = np.flatnonzero(nearest) // len(shifts)
    weights = 1 / nearest.sum(axis=-1).ravel()[owner]
    lattice = images[cell, image]
    roots = np.sqrt(crystal.get_masses())
    dynamical = constants.reshape(-1, n, 3, n, 3) / (roots[:, None, None, None] * roots[:, None])
    frequencies = []
    for point in points:
        angles = 2 * np.pi * (lattice @ point)
        real, imaginary = (
            np.bincount(owner, weights * part(angles)).reshape(-1, n, n)
            for part in (np.cos, np.sin)
        )
        matrix = np.einsum("cab,caibj->aibj", real - 1j * imaginary, dynamical)
        squares = np.linalg.eigvalsh(matrix.reshape(3 * n, 3 * n))
        frequencies.append(np.sign(squares) * np.sqrt(abs(squares)))
    return np.array(frequencies) * FROM_ROOT
