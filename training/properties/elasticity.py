"""Equation of state, elastic constants and the Bain path of a crystal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ase
import numpy as np
from ase import units
from ase.eos import EquationOfState
from ase.stress import voigt_6_to_full_3x3_strain

from .crystal import point_group, relax_completely

Array = np.ndarray


@dataclass(frozen=True)
class VolumeCurve:
    """Energy against volume at a fixed shape of the cell.

    Attributes:
        volumes: Å^3 per atom [n]; energies: eV per atom [n].
        volume, energy: of the minimum; bulk_modulus: GPa, from the fit of Birch and Murnaghan.
    """

    volumes: Array
    energies: Array
    volume: float
    energy: float
    bulk_modulus: float


@dataclass(frozen=True)
class ElasticConstants:
    """Second-order elastic constants of a crystal.

    Attributes:
        matrix: GPa [6, 6], symmetric, Voigt order xx, yy, zz, yz, xz, xy; with the symmetry of the
            crystal where spglib is installed.
        asymmetry: largest change that symmetry made to an element, GPa: the numerical error. None
            without spglib.
    """

    matrix: Array
    asymmetry: float | None

    @property
    def bulk_modulus(self) -> float:
        """Hill's mean of the bounds of Voigt and Reuss for a polycrystal, GPa."""
        c, s = self.matrix, np.linalg.inv(self.matrix)
        return float((c[:3, :3].sum() / 9 + 1 / s[:3, :3].sum()) / 2)

    @property
    def shear_modulus(self) -> float:
        """The same of the shear modulus, GPa."""
        voigt, reuss = _shear(self.matrix), _shear(np.linalg.inv(self.matrix), 4.0, 3.0)
        return float((voigt / 15 + 15 / reuss) / 2)

    @property
    def is_stable(self) -> bool:
        """Whether every strain costs energy (Born's criterion)."""
        return bool(np.linalg.eigvalsh(self.matrix)[0] > 0)

    @property
    def independent(self) -> dict[str, float]:
        """The upper triangle without zeros and, of equal elements, without all but the first."""
        found: dict[str, float] = {}
        for i, j in zip(*np.triu_indices(6), strict=True):
            value, largest = float(self.matrix[i, j]), abs(self.matrix).max()
            known = any(abs(abs(value) - abs(each)) < 1e-6 * largest for each in found.values())
            if abs(value) > 1e-6 * largest and not known:
                found[f"C{i + 1}{j + 1}"] = value
        return found


def _shear(matrix: Array, factor: float = 1.0, of_shears: float = 3.0) -> float:
    """Fifteen times Voigt's shear modulus, or its inverse of Reuss from compliances."""
    normal = np.trace(matrix[:3, :3]), matrix[0, 1] + matrix[0, 2] + matrix[1, 2]
    return float(factor * (normal[0] - normal[1]) + of_shears * np.trace(matrix[3:, 3:]))


def equation_of_state(
    crystal: ase.Atoms, extent: float = 0.06, points: int = 9, fmax: float = 1e-3
) -> VolumeCurve:
    """Energies of a relaxed crystal at volumes around its own, with atoms relaxed in each cell.

    Args:
        crystal: relaxed, with a calculator; it does not change.
        extent: largest relative change of the volume.
        points: number of volumes.
        fmax: largest force left, eV/Å.

    Raises:
        ValueError: if there is no minimum among the volumes.
    """
    n, volumes, energies = len(crystal), [], []
    for factor in np.linspace(1 - extent, 1 + extent, points):
        cell = crystal.cell * factor ** (1 / 3)
        strained = relaxed_in_cell(crystal, cell, fmax)
        volumes.append(strained.get_volume() / n)
        energies.append(strained.get_potential_energy() / n)
    try:
        volume, energy, modulus = EquationOfState(volumes, energies, "birchmurnaghan").fit(
            warn=False
        )
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the energy has no minimum between {volumes[0]:.4g} and {volumes[-1]:.4g} Å^3 per "
            "atom; relax the cell first"
        ) from error
    return VolumeCurve(np.array(volumes), np.array(energies), volume, energy, modulus / units.GPa)


def elastic_constants(
    crystal: ase.Atoms, strain: float = 0.005, fmax: float = 1e-3
) -> ElasticConstants:
    """Slopes of the stress against strain, with atoms relaxed in every strained cell.

    Central differences, C_ij = (s_i(+e_j) - s_i(-e_j)) / (2 e).

    Args:
        crystal: relaxed with its cell, with a calculator; it does not change.
        strain: of each of the six components, both ways.
        fmax: largest force left, eV/Å.
    """
    columns = []
    for component in np.eye(6):
        stresses = []
        for sign in (1, -1):
            deformation = voigt_6_to_full_3x3_strain(sign * strain * component)  # with the 1
            strained = relaxed_in_cell(crystal, crystal.cell @ deformation, fmax)
            stresses.append(strained.get_stress() / units.GPa)
        columns.append((stresses[0] - stresses[1]) / (2 * strain))
    matrix = np.array(columns).T
    matrix = (matrix + matrix.T) / 2
    rotations = point_group(crystal)
    if rotations is None:
        return ElasticConstants(matrix, None)
    symmetric = _mean_over(rotations, matrix)
    return ElasticConstants(symmetric, float(abs(symmetric - matrix).max()))


def bain_path(crystal: ase.Atoms, ratios: Sequence[float]) -> Array:
    """Energies (eV per atom) [n] at a constant volume, the cell stretched along z by c/a [n].

    The cubic cell has c/a = 1; a body-centred cubic one becomes face-centred cubic at sqrt(2).

    Raises:
        ValueError: if the cell vectors do not lie along x, y and z.
    """
    if abs(crystal.cell - np.diag(crystal.cell.diagonal())).max() > 1e-6:
        raise ValueError("the Bain path needs cell vectors along x, y and z; take the cubic cell")
    energies = []
    for ratio in ratios:
        stretch = np.array([ratio ** (-1 / 3), ratio ** (-1 / 3), ratio ** (2 / 3)])
        strained = in_cell(crystal, crystal.cell * stretch)
        energies.append(strained.get_potential_energy() / len(crystal))
    return np.array(energies)


def in_cell(crystal: ase.Atoms, cell: Any) -> ase.Atoms:
    """A copy with another cell, at the same fractional positions, and the same calculator."""
    strained = crystal.copy()
    strained.set_cell(cell, scale_atoms=True)
    strained.calc = crystal.calc
    return strained


def relaxed_in_cell(crystal: ase.Atoms, cell: Any, fmax: float) -> ase.Atoms:
    """The same with its atoms relaxed; ValueError if they do not relax."""
    strained = in_cell(crystal, cell)
    relax_completely(strained, fmax, "strained crystal")
    return strained


def _mean_over(rotations: Array, matrix: Array) -> Array:
    """The mean of the elastic constants turned by every rotation [n, 3, 3]."""
    pairs = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
    index = np.zeros((3, 3), int)
    for number, (i, j) in enumerate(pairs):
        index[i, j] = index[j, i] = number
    full = matrix[index][..., index]  # [3, 3, 3, 3]
    turned = np.einsum("nia,njb,nkc,nld,abcd->ijkl", *[rotations] * 4, full, optimize=True)
    turned /= len(rotations)
    return np.array([[turned[i, j, k, m] for k, m in pairs] for i, j in pairs])
