"""Structures near a start: whether they make sense, and thermal ones before any label is known."""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.data import covalent_radii
from ase.geometry import get_distances
from ase.neighborlist import neighbor_list

from sikff.graph import has_volume

from ..simulation.walkers import free_atoms

NEAREST = 0.6  # of the sum of covalent radii; nearer atoms are in each other
FURTHEST = 1.6  # likewise; an atom with no other nearer than this has left
BOND = 1.25  # likewise, of two atoms that are bonded
RIGID = 0.93  # likewise; shorter bonds are not turned
REACH = 5.0  # Å, of springs
STIFFNESS = 35.0  # eV/Å^2, of the spring of a single bond
DECAY = 1.5  # of the logarithm of the stiffness with the distance in sums of radii
SOFTEST = 0.5  # eV/Å^2; softer modes move no further than one of this stiffness
STRAIN = 0.02  # of cells, standard deviation
ATTEMPTS = 50


def radii_of(atoms: ase.Atoms) -> np.ndarray:
    """Covalent radii [N], Å."""
    return covalent_radii[atoms.numbers]


class Physical:
    """Tells structures that make sense from those whose atoms are in each other or have left.

    Args:
        starts: structures that make sense; atoms may be as far apart as in these.
    """

    def __init__(self, starts: list[ase.Atoms]) -> None:
        ratios = [_nearest(atoms) for atoms in starts if len(atoms) > 1]
        largest = max((float(each.max()) for each in ratios), default=0.0)
        least = min((float(each.min()) for each in ratios), default=np.inf)
        self._furthest = max(FURTHEST, 1.25 * largest)
        self._nearest = min(NEAREST, 0.9 * least)

    def problem(self, atoms: ase.Atoms) -> str:
        """What is wrong with a structure, in words; "" if nothing is."""
        if not np.isfinite(atoms.positions).all():
            return "positions are not finite"
        if len(atoms) < 2:
            return ""
        ratios = _nearest(atoms)
        if ratios.min() < self._nearest:
            atom = int(ratios.argmin())
            return f"atom {atom} ({atoms.symbols[atom]}) is in another one"
        if ratios.max() > self._furthest:
            atom = int(ratios.argmax())
            return f"atom {atom} ({atoms.symbols[atom]}) has left the others"
        return ""


def check_start(atoms: ase.Atoms, name: str) -> None:
    """Raises ValueError for a start structure whose atoms are in each other, or are held by other
    constraints than FixAtoms."""
    try:
        free_atoms(atoms)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if len(atoms) < 2:
        return
    ratios = _nearest(atoms)
    if ratios.min() < NEAREST:
        atom = int(ratios.argmin())
        raise ValueError(
            f"{name}: atom {atom} ({atoms.symbols[atom]}) is at {ratios.min():.2g} of the sum of "
            "covalent radii from another one, which would explode; expected a structure near a "
            "minimum, in Å"
        )


def _nearest(atoms: ase.Atoms) -> np.ndarray:
    """The distance of each atom [N] to its nearest one, over the sum of their covalent radii."""
    if not atoms.pbc.any():
        return _all_ratios(atoms).min(1)
    radii = radii_of(atoms)
    found = np.full(len(atoms), np.inf)
    first, second, distance = neighbor_list("ijd", atoms, 2 * FURTHEST * float(radii.max()))
    np.minimum.at(found, first, distance / (radii[first] + radii[second]))
    return np.where(np.isfinite(found), found, 2 * FURTHEST)


def _all_ratios(atoms: ase.Atoms) -> np.ndarray:
    """Distances [N, N] over sums of covalent radii, without periodic images; infinite for i = j."""
    radii = radii_of(atoms)
    _, distances = get_distances(atoms.positions)
    ratios: np.ndarray = distances / (radii[:, None] + radii)
    np.fill_diagonal(ratios, np.inf)
    return ratios


class Springs:
    """A harmonic model of a structure: springs between atoms, stiff for bonds, soft further apart.

    Its thermal displacements leave bonds nearly as they are and bend and turn what is soft, unlike
    those of atoms that move on their own.

    Args:
        atoms: near a minimum.

    Attributes:
        scale: factor of all stiffnesses, to be set from labels.
    """

    def __init__(self, atoms: ase.Atoms) -> None:
        n, radii = len(atoms), radii_of(atoms)
        first, second, vectors = neighbor_list("ijD", atoms, REACH)
        lengths = np.linalg.norm(vectors, axis=1)
        ratios = lengths / (radii[first] + radii[second])
        stiffness = STIFFNESS * np.exp(-DECAY * np.maximum(ratios - 1, -0.3))
        units_ = vectors / lengths[:, None]
        blocks = stiffness[:, None, None] * units_[:, :, None] * units_[:, None, :]
        hessian = np.zeros((n, n, 3, 3))
        np.add.at(hessian, (first, second), -blocks)
        np.add.at(hessian, (first, first), blocks)
        matrix = hessian.transpose(0, 2, 1, 3).reshape(3 * n, 3 * n)
        self._free = np.repeat(free_atoms(atoms) > 0, 3)
        values, self._modes = np.linalg.eigh(matrix[np.ix_(self._free, self._free)])
        internal = values > 1e-6 * max(values.max(initial=0.0), 1e-12)  # not of the whole
        self._modes, self._values = self._modes[:, internal], values[internal]
        self._hessian, self.scale, self._n = matrix, 1.0, n

    def draw(self, temperature: float, rng: np.random.Generator) -> np.ndarray:
        """Displacements [N, 3] (Å) at a temperature (K)."""
        stiffness = np.maximum(self.scale * self._values, SOFTEST)
        sizes = np.sqrt(units.kB * temperature / stiffness)
        moved = np.zeros(3 * self._n)
        moved[self._free] = self._modes @ (sizes * rng.standard_normal(len(sizes)))
        return moved.reshape(self._n, 3)

    def energy(self, moved: np.ndarray) -> float:
        """Of displacements [N, 3], eV, with the scale 1."""
        flat = moved.ravel()
        return 0.5 * float(flat @ self._hessian @ flat)


def turned(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """A copy with a random angle about every single bond that is in no ring, without clashes.

    Structures that are periodic, or have no such bond, stay as they are.
    """
    if atoms.pbc.any() or atoms.constraints:
        return atoms.copy()
    ratios = _all_ratios(atoms)
    bonded = ratios < BOND
    sides = [
        (a, b, side)
        for a, b in np.argwhere(np.triu(bonded)).tolist()
        if ratios[a, b] > RIGID and (side := _turning(bonded, a, b)) is not None
    ]
    for _ in range(ATTEMPTS if sides else 0):
        result = atoms.copy()
        for a, b, side in sides:
            axis = result.positions[b] - result.positions[a]
            part = result[side]
            part.rotate(360 * rng.random(), axis, center=result.positions[a])
            result.positions[side] = part.positions
        if (_all_ratios(result)[~bonded] > 1.1 * BOND).all():
            return result
    return atoms.copy()


def _turning(bonded: np.ndarray, a: int, b: int) -> list[int] | None:
    """The atoms that turn about a bond; None in a ring, or if there is nothing to turn."""
    side = atoms_beyond(bonded, a, b)
    if side is None or len(side) == 1 or bonded[a].sum() == 1:
        return None
    return sorted(set(side) - {b})


def atoms_beyond(bonded: np.ndarray, a: int, b: int) -> list[int] | None:
    """The atoms on the side of b of a bond between a and b, b too; None in a ring.

    Args:
        bonded: [N, N], which atoms are.
        a: an atom.
        b: another one.
    """
    found, stack = {b}, [b]
    while stack:
        atom = stack.pop()
        for other in np.flatnonzero(bonded[atom]).tolist():
            if (atom, other) == (b, a):
                continue
            if other == a:
                return None
            if other not in found:
                found.add(other)
                stack.append(other)
    return sorted(found)


def strained(atoms: ase.Atoms, rng: np.random.Generator) -> ase.Atoms:
    """A copy whose cell, if it is three-dimensional and periodic, has a small random strain."""
    result = atoms.copy()
    if atoms.pbc.all() and has_volume(atoms):
        strain = STRAIN * rng.standard_normal((3, 3))
        deformation = np.eye(3) + 0.5 * (strain + strain.T)
        result.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return result
