"""Atoms in potentials of crystal surfaces whose averages are known in closed form."""

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import Calculator
from scipy.special import i0

MASS = 2.0  # u
SIDE = 2.5  # Å, of the square lattice
WAVE = 2 * np.pi / SIDE


class CosineLattice(Calculator):
    """V = (barrier / 2) (2 - cos x' - cos y') + k z^2 / 2: minima at lattice points, saddles
    between two of them."""

    implemented_properties = ("energy", "forces")
    spring = 0.5  # eV/Å²

    def __init__(self, barrier: float) -> None:
        super().__init__()
        self.barrier = barrier

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        r = atoms.positions
        energies = self.barrier / 2 * (1 - np.cos(WAVE * r[:, :2])).sum(axis=1)
        forces = -self.barrier / 2 * WAVE * np.sin(WAVE * r)
        forces[:, 2] = -self.spring * r[:, 2]
        self.results = {
            "energy": (energies + self.spring * r[:, 2] ** 2 / 2).sum(),
            "energies": energies,
            "forces": forces,
        }

    def jump_rate(self, temperature: float) -> float:
        """Transition-state theory, exactly: the flux through four sides of a cell, 1/ps."""
        kt = units.kB * temperature
        x = self.barrier / (2 * kt)
        density = np.exp(-x) / (SIDE * i0(x))
        return 4 * np.sqrt(kt / (2 * np.pi * MASS)) * density * 1000 * units.fs


class CorrugatedWell(Calculator):
    """A Morse potential of the height whose repulsion is corrugated, as of Steele."""

    implemented_properties = ("energy", "forces")
    depth, decay, height, share = 0.35, 1.2, 2.5, 0.25

    def terms(self, r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        attraction = np.exp(-self.decay * (r[..., 2] - self.height))
        cosines = np.cos(WAVE * r[..., :2]).sum(axis=-1)
        energies = self.depth * (attraction**2 * (1 + self.share * cosines) - 2 * attraction)
        return attraction, cosines, energies

    def energies(self, positions: np.ndarray) -> np.ndarray:
        """Of single atoms, [n] from [n, 1, 3]."""
        return self.terms(positions)[2].sum(axis=1)

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        r = atoms.positions
        attraction, cosines, energies = self.terms(r)
        forces = self.depth * self.share * (attraction**2)[:, None] * WAVE * np.sin(WAVE * r)
        corrugated = attraction**2 * (1 + self.share * cosines)
        forces[:, 2] = 2 * self.depth * self.decay * (corrugated - attraction)
        self.results = {"energy": energies.sum(), "forces": forces}

    def free_energies(self, heights: np.ndarray, temperature: float) -> np.ndarray:
        """-kT ln of the mean of exp(-V/kT) over the cell."""
        kt = units.kB * temperature
        attraction = np.exp(-self.decay * (heights - self.height))
        flat = self.depth * (attraction**2 - 2 * attraction)
        return flat - 2 * kt * np.log(i0(self.depth * self.share * attraction**2 / kt))


def atoms_at(positions: np.ndarray, temperature: float, rng: np.random.Generator) -> ase.Atoms:
    """Independent atoms with thermal momenta."""
    atoms = ase.Atoms(f"H{len(positions)}", positions, masses=np.full(len(positions), MASS))
    spread = np.sqrt(MASS * units.kB * temperature)
    atoms.set_momenta(spread * rng.standard_normal(positions.shape))
    return atoms
