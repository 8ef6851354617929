"""Where molecules are put above a slab: places, orientations and heights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import ase
import numpy as np
from ase.geometry import find_mic
from scipy.spatial.transform import Rotation

from sikff.surface import SlabSurface

from .config import SurfaceConfig
from .geometry import radii_of

KEPT_AWAY = 4.0  # Å, of vacuum between a molecule at its largest height and the slab's image
HIGHEST = 6.0  # Å, by default
LEAST_ROOM = 3.0  # Å of heights, without which a slab is refused
BEYOND = 1.5  # Å above the largest height, where a walker has left the surface
CLOSEST = 0.6  # of the sum of covalent radii; an atom nearer to an atom of the slab is in it
CLOSE = 1.5  # likewise, a molecule near the surface
APART = 1.5  # likewise, atoms of two molecules
ATTEMPTS = 200


class Range(NamedTuple):
    """How near molecules are put: distances between atoms and the slab over the sum of their
    covalent radii.

    Attributes:
        nearest: the smallest of them.
        furthest: the largest; None: as far as heights allow.
    """

    nearest: float
    furthest: float | None


NEAR, ABOVE, GENTLE = Range(0.85, CLOSE), Range(CLOSE, None), Range(1.2, CLOSE)


class Placement:
    """Puts molecules above a slab.

    Heights are those of the lowest atom of a molecule, from the centre of the outermost atom of
    the slab.

    Args:
        slab: that does not move.
        found: its surface.
        config: whose heights and numbers of molecules count.
        size: of the largest molecule, Å.

    Attributes:
        axis: the cell vector that leads out of the slab.
        lowest, highest: range of heights, Å.

    Raises:
        ValueError: if the vacuum does not suffice.
    """

    def __init__(
        self, slab: ase.Atoms, found: SlabSurface, config: SurfaceConfig, size: float
    ) -> None:
        self.slab, self.normal, self.origin = slab, found.normal, found.origin
        self.axis = _open_axis(slab, self.normal)
        self._pbc = [i != self.axis for i in range(3)]
        given = (-np.inf, None) if config.heights == "auto" else config.heights
        self.lowest = given[0]
        self.highest = self._find_highest(given[1], size, str(config.slab))

    def heights(self, atoms: ase.Atoms) -> np.ndarray:
        """Heights [N] (Å) of atoms."""
        heights: np.ndarray = (atoms.positions - self.origin) @ self.normal
        return heights

    def contact(self, atoms: ase.Atoms) -> float:
        """The smallest distance to an atom of the slab over the sum of their covalent radii."""
        steps = self.slab.positions[None] - atoms.positions[:, None]
        _, lengths = find_mic(steps.reshape(-1, 3), self.slab.cell, self._pbc)
        sums = radii_of(atoms)[:, None] + radii_of(self.slab)
        return float((lengths.reshape(sums.shape) / sums).min())

    def height_of(self, atoms: ase.Atoms, ratio: float) -> float:
        """Height (Å) of the lowest atom at which a molecule, lowered, is so near to the slab.

        Args:
            atoms: above some point of the plane.
            ratio: of the distance and the sum of covalent radii of the atoms nearest to each other.
        """
        high, low = self.highest, -2.0
        for _ in range(20):
            middle = 0.5 * (high + low)
            near = self.contact(self.at_height(atoms, middle)) <= ratio
            high, low = (high, middle) if near else (middle, low)
        return high

    def at_height(self, atoms: ase.Atoms, height: float) -> ase.Atoms:
        """A copy whose lowest atom is at a height (Å)."""
        moved = atoms.copy()
        moved.positions += (height - self.heights(atoms).min()) * self.normal
        return moved

    def above(self, atoms: ase.Atoms, point: np.ndarray) -> ase.Atoms:
        """A copy that is moved along the surface until its centre is above a point [3] (Å)."""
        moved = atoms.copy()
        step = point - atoms.get_center_of_mass()
        moved.positions += step - (step @ self.normal) * self.normal
        return moved

    def empty_cell(self) -> ase.Atoms:
        """The cell of the slab, periodic along it."""
        return ase.Atoms(cell=self.slab.cell, pbc=self._pbc)

    def with_slab(self, atoms: ase.Atoms) -> ase.Atoms:
        """The slab and molecules above it, the molecules last."""
        joined = self.slab.copy()
        joined += ase.Atoms(atoms.numbers, positions=atoms.positions)
        return joined

    def place(
        self, molecules: Sequence[ase.Atoms], how_near: Range, rng: np.random.Generator
    ) -> ase.Atoms | None:
        """Molecules above random points of the slab's cell, at random heights; None if there is no
        room for them."""
        lateral = np.delete(self.slab.cell.array, self.axis, axis=0)
        placed = self.empty_cell()
        for molecule in molecules:
            for _ in range(ATTEMPTS):
                trial = self.above(molecule, self.origin + rng.random(2) @ lateral)
                trial = self.at_height(trial, self._random_height(trial, how_near, rng))
                both = placed + ase.Atoms(trial.numbers, positions=trial.positions)
                if _are_apart(placed, trial, both):
                    placed = both
                    break
            else:
                return None
        return placed

    def _random_height(self, atoms: ase.Atoms, how_near: Range, rng: np.random.Generator) -> float:
        least = max(self.height_of(atoms, how_near.nearest), self.lowest)
        most = self.highest
        if how_near.furthest is not None:
            most = min(max(self.height_of(atoms, how_near.furthest), least), most)
        return float(rng.uniform(min(least, most), most))

    def _find_highest(self, given: float | None, size: float, name: str) -> float:
        if not self.slab.pbc[self.axis]:
            return HIGHEST if given is None else given
        thickness = float(np.ptp(self.slab.positions @ self.normal))
        period = abs(float(self.slab.cell.array[self.axis] @ self.normal))
        room = period - thickness - size - KEPT_AWAY
        highest = min(HIGHEST, room) if given is None else given
        wanted = LEAST_ROOM if given is None else given
        if highest > room or highest < wanted:
            raise ValueError(
                f"{name!r} has {period - thickness:.3g} Å of vacuum; a molecule of {size:.2g} Å "
                f"that is up to {wanted:.2g} Å above it and {KEPT_AWAY:g} Å from the next slab "
                f"needs {size + KEPT_AWAY + wanted:.3g} Å. Add vacuum, or give lower "
                "surface.heights"
            )
        return highest


def random_orientation(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """A copy that is turned about its centre of mass."""
    turned, centre = atoms.copy(), atoms.get_center_of_mass()
    turn = Rotation.from_quat(rng.standard_normal(4))
    turned.positions = turn.apply(atoms.positions - centre) + centre
    return turned


def _open_axis(slab: ase.Atoms, normal: np.ndarray) -> int:
    """The cell vector that leads out of the slab."""
    if not slab.pbc.all():
        return int(np.flatnonzero(~slab.pbc)[0])
    others = slab.cell.reciprocal()  # that of the vector out of the slab is along the normal
    return int(np.argmax(np.abs(others.array @ normal) / others.lengths()))


def _are_apart(placed: ase.Atoms, trial: ase.Atoms, both: ase.Atoms) -> bool:
    """Whether a further molecule is far enough from those that are there."""
    if not len(placed):
        return True
    lengths = both.get_all_distances(mic=True)[: len(placed), len(placed) :]
    sums = radii_of(placed)[:, None] + radii_of(trial)
    return bool((lengths / sums).min() > APART)
