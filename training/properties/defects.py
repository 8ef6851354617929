"""Vacancies and surfaces of elemental crystals."""

from __future__ import annotations

from collections.abc import Sequence

import ase
import numpy as np
from ase import units
from ase.build import surface

from .crystal import inequivalent_atoms, relax_completely, supercell

Miller = tuple[int, int, int]
OFF_SYMMETRY = 0.05  # Å
J_PER_M2 = units.J / units.m**2


def check_elemental(crystal: ase.Atoms, what: str) -> None:
    """Raises ValueError for a compound: its energies need chemical potentials."""
    elements = sorted(set(crystal.symbols))
    if len(elements) > 1:
        raise ValueError(
            f"the {what} of a compound ({', '.join(elements)}) depends on chemical potentials; "
            "expected a crystal of one element"
        )


def vacancy_energies(
    crystal: ase.Atoms, size: float = 12.0, fmax: float = 0.01
) -> dict[int, float]:
    """Formation energies of vacancies (eV) by the atom that is missing, one of each kind.

    E(N - 1 atoms, relaxed in the cell of the crystal) - (N - 1) / N E(N atoms). Neighbours of the
    hole start a little off their places: where they pair up, as in silicon, the symmetric
    structure is a saddle, in which a relaxation from the places of the crystal would end.

    Args:
        crystal: of one element, relaxed with its cell, with a calculator; it does not change.
        size: least distance of opposite faces of the supercell, Å.
        fmax: largest force left, eV/Å.

    Raises:
        ValueError: for a compound, or a defect that does not relax.
    """
    check_elemental(crystal, "formation energy of a vacancy")
    energies = {}
    for atom in inequivalent_atoms(crystal):
        whole = supercell(crystal, size)
        per_atom = whole.get_potential_energy() / len(whole)
        defect = _without_atom(whole, atom)
        defect.calc = crystal.calc
        relax_completely(defect, fmax, "vacancy")
        energies[atom] = float(defect.get_potential_energy() - len(defect) * per_atom)
    return energies


def _without_atom(crystal: ase.Atoms, atom: int) -> ase.Atoms:
    """A copy without an atom, its nearest neighbours displaced at random but always alike."""
    distances = crystal.get_distances(atom, range(len(crystal)), mic=True)
    distances[atom] = np.inf
    near = distances < 1.2 * distances.min()
    defect = crystal.copy()
    noise = np.random.default_rng(0).normal(scale=OFF_SYMMETRY, size=(near.sum(), 3))
    defect.positions[near] += noise
    del defect[atom]
    return defect


def surface_energies(
    crystal: ase.Atoms,
    indices: Sequence[Miller] = ((1, 0, 0), (1, 1, 0), (1, 1, 1)),
    thickness: float = 12.0,
    vacuum: float = 8.0,
    fmax: float = 0.01,
) -> dict[str, float]:
    """Energies (J/m^2) of surfaces with these Miller indices, relaxed but not reconstructed.

    Args:
        crystal: of one element, relaxed, in the cell that the indices refer to, with a calculator;
            it does not change.
        thickness: least thickness of the slabs, Å; vacuum: on either side.
        fmax: largest force left, eV/Å.

    Raises:
        ValueError: for a compound, or a slab that does not relax.
    """
    check_elemental(crystal, "energy of a surface")
    bulk = crystal.get_potential_energy() / len(crystal)
    energies = {}
    for hkl in indices:
        spacing = 1 / np.linalg.norm(np.linalg.inv(crystal.cell.array) @ hkl)
        slab = surface(crystal, hkl, max(2, int(np.ceil(thickness / spacing))), vacuum=vacuum)
        slab.pbc = [True, True, False]
        slab.calc = crystal.calc
        relax_completely(slab, fmax, f"slab {hkl}")
        area = np.linalg.norm(np.cross(*slab.cell[:2]))
        excess = slab.get_potential_energy() - len(slab) * bulk
        energies["".join(map(str, hkl))] = float(excess / (2 * area) / J_PER_M2)
    return energies
