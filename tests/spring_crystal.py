"""A crystal of springs between neighbours: cheap, stiff and without surprises."""

import ase
import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator
from ase.neighborlist import neighbor_list
from ase.stress import full_3x3_to_voigt_6_stress


class Springs(Calculator):
    """Springs between atoms that are neighbours at the start, and stay so."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, atoms: ase.Atoms, cutoff: float, stiffness: float) -> None:
        super().__init__()
        self.i, self.j, lengths, self.shifts = neighbor_list("ijdS", atoms, cutoff)
        self.length, self.stiffness = lengths.mean(), stiffness

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        vectors = atoms.positions[self.j] - atoms.positions[self.i]
        vectors += self.shifts @ atoms.cell.array
        lengths = np.sqrt((vectors**2).sum(1))
        stretch = lengths - self.length  # every spring is there twice
        pull = (self.stiffness * stretch / lengths)[:, None] * vectors
        forces = [np.bincount(self.i, column, len(atoms)) for column in pull.T]
        stress = vectors.T @ pull / (2 * atoms.get_volume())
        self.results = {
            "energy": self.stiffness * (stretch**2).sum() / 4,
            "forces": np.stack(forces, axis=1),
            "stress": full_3x3_to_voigt_6_stress((stress + stress.T) / 2),
        }


def spring_crystal(stiffness: float = 5.0, pbc: bool = True) -> ase.Atoms:
    """Four atoms of an fcc crystal, of several masses, or the tetrahedron that they are alone."""
    atoms = bulk("Cu", cubic=True)
    atoms.pbc = pbc
    atoms.calc = Springs(atoms, 2.7, stiffness)
    atoms.set_masses([60.0, 90.0, 40.0, 60.0])
    return atoms
