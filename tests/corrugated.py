"""A potential above a square lattice whose minima, barriers and mean forces have closed forms."""

from collections.abc import Sequence
from typing import Any

import ase
import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from sikff.surface import Wallpaper
from sikff.training.evaluation.adsorbate import Adsorbate, Surface

SIDE, DEPTH, BEST, STIFF = 3.0, 0.3, 2.5, 1.2  # Å, eV, Å, 1/Å
BARRIER = 0.08  # eV, between the minima above the lattice points
ORIGIN = np.array([0.4, -0.3, 0.2])
SQUARE = Wallpaper("p4mm", [[SIDE, 0.0], [0.0, SIDE]])
NORMAL = np.array([0.0, 0.0, 1.0])


class Corrugated(Calculator):
    """Of the first atom: a Morse potential of its height and the first star, BARRIER / 4 times
    2 - cos(2 pi x) - cos(2 pi y) with its maximum in the centre of the cell.

    Args:
        well: atoms away from the lattice points have a lower energy: four minima about each.
        tilts: energy of a molecule of two atoms times the cosine of its angle, eV.
    """

    implemented_properties = ("energy", "forces")

    def __init__(self, well: float = 0.0, tilts: float = 0.0, bond: float = 20.0) -> None:
        super().__init__()
        self.well, self.tilts, self.bond = well, tilts, bond

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        assert self.atoms is not None
        if self.atoms.info.get("surface") == "vacuum":
            positions = self.atoms.positions + 1e3 * NORMAL
        else:
            positions = self.atoms.positions
        energy, force = self.of_first(positions[0] - ORIGIN)
        forces = np.zeros_like(positions)
        forces[0] = force
        if len(positions) == 2:
            apart = positions[1] - positions[0]
            length = np.linalg.norm(apart)
            along = apart / length
            pull = self.bond * (length - 1.0) * along
            is_near = float(positions[0, 2] < 100)
            energy += self.bond * (length - 1.0) ** 2 / 2 + is_near * self.tilts * along[2]
            turning = is_near * self.tilts * (NORMAL - along[2] * along) / length
            forces += np.array([pull + turning, -pull - turning])
        self.results = {"energy": float(energy), "forces": forces}

    def of_first(self, r: np.ndarray) -> tuple[float, np.ndarray]:
        """Energy and force at a point [3] from the origin."""
        decay = np.exp(-STIFF * (r[2] - BEST))
        angle = 2 * np.pi / SIDE * r[:2]
        first = np.cos(angle)
        # the well: lower at the middles of the sides, higher above lattice points and centres
        along = BARRIER / 4 * (2 - first.sum(axis=0)) + self.well * first[0] * first[1]
        energy = DEPTH * (decay**2 - 2 * decay) + along * decay
        upward = STIFF * (DEPTH * (2 * decay**2 - 2 * decay) + along * decay)
        slope = np.sin(angle) * (BARRIER / 4 - self.well * first[::-1]) * decay
        return energy, np.array([*(-2 * np.pi / SIDE * slope), upward])


def lowest(x: np.ndarray) -> np.ndarray:
    """Lowest energy over heights at lattice coordinates [..., 2], without a well."""
    star = BARRIER / 4 * (2 - np.cos(2 * np.pi * x).sum(axis=-1))
    # DEPTH (d^2 - 2 d) + star d has its minimum at d = 1 - star / (2 DEPTH)
    return -DEPTH * (1 - star / (2 * DEPTH)) ** 2


def adsorbate(symbols: str = "Ar", **options: Any) -> Adsorbate:
    """An atom, or a molecule of two, in this potential."""
    free = ase.Atoms(symbols, [[0.0, 0.0, k] for k in range(len(ase.Atoms(symbols)))])
    free.info["surface"] = "vacuum"
    free.calc = Corrugated(**options)
    surface = Surface(SQUARE, ORIGIN, NORMAL)
    return Adsorbate(free, surface, Corrugated(**options), anchor=0, info={"surface": "a"})
