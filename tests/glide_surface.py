"""An artificial crystal surface with any wallpaper group, and labels of a diatomic molecule on it.

One surface atom in a general position, its images under the wallpaper group, and Gaussians between
them and the atoms of the molecule: a closed form without noise, whose only symmetry is the group.
"""

import ase
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.spatial.transform import Rotation

from sikff.surface import Wallpaper

LATTICE = ((4.4, 0.0), (0.0, 5.8))  # Å
PLANE = {"plane_origin": (0.0, 0.0, 0.0), "plane_range": 8.0}
GENERAL = (0.17, 0.11)  # lattice coordinates, on no mirror and no axis
REPULSION, ATTRACTION = {"C": 6.0, "O": 4.0}, {"C": 0.15, "O": 0.3}  # eV
WIDTHS = 0.9, 1.8  # Å, of the two Gaussians
BOND, STIFFNESS = 1.15, 40.0  # Å, eV/Å^2
IMAGES = np.stack(np.meshgrid([-3, -2, -1, 0, 1, 2, 3], [-3, -2, -1, 0, 1, 2, 3]), -1)


class GlideSurface:
    """The potential of a molecule CO above the surface of a wallpaper group."""

    def __init__(self, name: str) -> None:
        self.wallpaper = Wallpaper(name, LATTICE)
        start = np.array(GENERAL) @ self.wallpaper.lattice
        self.sites = self.wallpaper.rotations @ start + self.wallpaper.translations

    def label(self, atoms: ase.Atoms) -> ase.Atoms:
        """A copy with energy (eV) and forces (eV/Å)."""
        places = atoms.positions.copy()
        places[:, :2] %= np.diag(LATTICE)
        images = self.sites[:, None] + IMAGES.reshape(-1, 2) @ self.wallpaper.lattice
        apart = places[:, None] - images.reshape(-1, 3)
        square = (apart**2).sum(-1)
        energy, forces = 0.0, np.zeros_like(places)
        for sign, depths, width in zip((1, -1), (REPULSION, ATTRACTION), WIDTHS, strict=True):
            depth = np.array([depths[symbol] for symbol in atoms.symbols])[:, None]
            each = sign * depth * np.exp(-square / (2 * width**2))
            energy += each.sum()
            forces += (each[..., None] * apart).sum(1) / width**2
        bond = atoms.positions[1] - atoms.positions[0]
        length = np.linalg.norm(bond)
        energy += STIFFNESS / 2 * (length - BOND) ** 2
        pull = STIFFNESS * (length - BOND) * bond / length
        forces += np.array([pull, -pull])
        labelled = atoms.copy()
        labelled.calc = SinglePointCalculator(labelled, energy=float(energy), forces=forces)
        return labelled

    def frames(self, count: int, seed: int) -> list[ase.Atoms]:
        """Labelled molecules, turned at random, at uniform places, 1.4 to 4 Å above the plane."""
        rng, found = np.random.default_rng(seed), []
        for _ in range(count):
            turn = Rotation.from_quat(rng.normal(size=4)).as_matrix()
            positions = np.array([[0, 0, 0], rng.normal(BOND, 0.03) * turn[2]])
            place = rng.uniform([0, 0, 1.4], [*np.diag(LATTICE), 4.0])
            positions += place - [0, 0, positions[:, 2].min()]
            found.append(self.label(ase.Atoms("CO", positions)))
        return found

    def floor(self, atoms: ase.Atoms, other: str) -> np.ndarray:
        """What a model of another wallpaper group cannot give of the forces [2, 3] (eV/Å): they
        less their mean over the images under that group."""
        forces, mean = self.label(atoms).get_forces(), np.zeros((2, 3))
        wrong = Wallpaper(other, LATTICE)
        for r, t in zip(wrong.rotations, wrong.translations, strict=True):
            image = atoms.copy()
            image.positions = atoms.positions @ r.T + t
            mean += self.label(image).get_forces() @ r / len(wrong.rotations)
        return forces - mean
