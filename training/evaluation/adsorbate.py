"""One molecule above a surface that does not move: places, heights, and relaxation at a place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

import ase
import numpy as np
from ase.calculators.calculator import Calculator
from ase.constraints import FixAtoms
from ase.optimize import BFGS
from scipy.spatial.transform import Rotation

from sikff.calculators import SIKFFCalculator
from sikff.forcefield import ForceField
from sikff.graph.conditions import SURFACE, VACUUM, Conditions
from sikff.surface import SlabSurface, Wallpaper

Array = np.ndarray

FMAX = 0.01  # eV/Å
TIGHT = 0.001  # eV/Å, for what is to vibrate
ROUGH = 5  # times the limit of forces, until the best of several is known
MOST_STEPS = 300
INTO_WALL = 0.5  # Å; there the wall is 10 eV high
HIGHEST, STEP, TOO_HIGH = 5.0, 0.25, 0.5  # Å, Å, eV: of the scan of heights of a start
CHIRAL = 5e-5  # relaxed molecules that are not chiral have some 1e-5


class Surface(NamedTuple):
    """A plane, and what repeats along it.

    Attributes:
        wallpaper: None for a flat surface.
        origin: a point [3] (Å) of the plane, the origin of the lattice.
        normal: unit vector [3] towards the molecules.
    """

    wallpaper: Wallpaper | None
    origin: Array
    normal: Array

    @classmethod
    def of_model(cls, model: ForceField, info: dict[str, Any]) -> Surface:
        """The surface that a force field sees under conditions as in ``atoms.info``.

        Raises:
            ValueError: it sees none.
        """
        environment, conditions = model.environment, Conditions.of(info)
        if not environment.has_plane or conditions.surface == VACUUM:
            raise ValueError(
                "the force field sees no surface here; expected one with environment.plane_origin, "
                "and a structure that is not in vacuum"
            )
        index, walls = conditions.surface_index(model.surfaces), environment.config.wallpapers
        origin = conditions.origin or environment.config.plane_origin
        wallpaper = walls[index] if walls else None
        return cls(wallpaper, np.array(origin, float), environment.constants["normal"])

    @classmethod
    def of_slab(cls, found: SlabSurface) -> Surface:
        """The surface of a slab."""
        return cls(found.wallpaper, found.origin, found.normal)

    @property
    def along(self) -> Array:
        """Projection [3, 3] on the plane."""
        return np.eye(3) - np.outer(self.normal, self.normal)

    @property
    def lattice(self) -> Array:
        """The lattice vectors [2, 3] (Å), as of :attr:`corrugated`."""
        return self.corrugated.lattice

    @property
    def corrugated(self) -> Wallpaper:
        """The wallpaper group.

        Raises:
            ValueError: the surface is flat.
        """
        if self.wallpaper is None:
            raise ValueError(
                "the surface is flat: all places are the same; expected a model with "
                "environment.lattice, or a slab"
            )
        return self.wallpaper

    def heights(self, positions: Array) -> Array:
        """Heights [...] (Å) of positions [..., 3]."""
        return (positions - self.origin) @ self.normal

    def places(self, positions: Array) -> Array:
        """Lattice coordinates [..., 2] of positions [..., 3]."""
        return (positions - self.origin) @ self.corrugated.dual.T

    def points(self, places: Array) -> Array:
        """Points [..., 3] (Å) of the plane with these lattice coordinates [..., 2]."""
        return places @ self.lattice + self.origin

    def images(self, positions: Array, operation: int, steps: Array) -> Array:
        """Positions [..., 3] under an operation of the wallpaper group, and a translation by whole
        numbers [2] of lattice vectors."""
        wallpaper = self.corrugated
        shift = wallpaper.translations[operation] + steps @ wallpaper.lattice
        turned = (positions - self.origin) @ wallpaper.rotations[operation].T
        return turned + shift + self.origin


class HeldPlace:
    """ASE constraint: a weighted mean of positions does not move along the surface.

    Args:
        weights: [n], with the sum 1.
        along: projection [3, 3] on the surface.
    """

    def __init__(self, weights: Array, along: Array) -> None:
        self.weights, self.along = weights, along

    def get_removed_dof(self, atoms: ase.Atoms) -> int:
        return 2

    def adjust_positions(self, atoms: ase.Atoms, new: Array) -> None:
        new -= self._lateral(new - atoms.positions)

    def adjust_forces(self, atoms: ase.Atoms, forces: Array) -> None:
        forces -= self._lateral(forces)

    def _lateral(self, vectors: Array) -> Array:
        """The part of [n, 3] that moves the mean along the surface."""
        mean = self.weights @ vectors @ self.along
        return np.outer(self.weights, mean) / (self.weights @ self.weights)


class Adsorbate:
    """A molecule above a surface, and how any ASE calculator evaluates it.

    Args:
        free: the molecule far from the surface, with a calculator; its geometry is relaxed.
        surface: below the molecule.
        calculator: of the molecule above the surface.
        anchor: index of the atom whose place is that of the molecule; None: its centre of mass.
        slab: atoms that the calculator sees besides; they do not move. Their energy alone, by the
            same calculator, is subtracted.
        info: conditions of the molecule above the surface, as in ``atoms.info``.

    Attributes:
        free: the relaxed molecule.
        zero: energy (eV) of the molecule far from the surface (and of the slab).
        weights: [n] of the atoms in the mean whose place counts.
        floors: [n] heights (Å) below which atoms never are.
        reach: height (Å) from which on the surface does not act.

    Raises:
        ValueError: no calculator, or an anchor that is not one of the atoms.
    """

    def __init__(
        self,
        free: ase.Atoms,
        surface: Surface,
        calculator: Calculator,
        anchor: int | None = None,
        slab: ase.Atoms | None = None,
        info: dict[str, Any] | None = None,
    ) -> None:
        if free.calc is None:
            raise ValueError("the free molecule has no calculator; expected one that relaxes it")
        if anchor is not None and not 0 <= anchor < len(free):
            raise ValueError(
                f"anchor is {anchor}; expected the number of an atom, 0 to {len(free) - 1}"
            )
        self.surface, self.calculator, self.slab = surface, calculator, slab
        self.info, self.floors = dict(info or {}), np.zeros(len(free))
        self.reach = np.inf
        masses = free.get_masses()
        self.weights = masses / masses.sum()
        if anchor is not None:
            self.weights = np.eye(len(free))[anchor]
        self.free = free.copy()
        self.free.set_constraint()
        self.free.calc = free.calc
        relax(self.free, TIGHT)
        self.zero = self.free.get_potential_energy()
        if slab is not None:
            alone = slab.copy()
            alone.calc = calculator
            self.zero += alone.get_potential_energy()

    @classmethod
    def of_model(
        cls, molecule: ase.Atoms, calculator: SIKFFCalculator, anchor: int | None = None
    ) -> Adsorbate:
        """The molecule above the surface that a force field sees; conditions are in its info."""
        free = molecule.copy()
        free.info[SURFACE] = VACUUM
        free.calc = calculator
        model = cast(ForceField, calculator.models[0])
        surface = Surface.of_model(model, molecule.info)
        adsorbate = cls(free, surface, calculator, anchor, info=molecule.info)
        environment = model.environment
        adsorbate.reach = environment.range
        if environment.has_wall:
            lowest = environment.config.lowest_of(list(molecule.symbols))
            adsorbate.floors = np.array(lowest) - INTO_WALL
        return adsorbate

    def __len__(self) -> int:
        return len(self.free)

    @property
    def is_chiral(self) -> bool:
        """Whether mirrors map the molecule to another one."""
        return abs(chirality(self.free)) > CHIRAL

    def above(self, positions: Array) -> ase.Atoms:
        """The structure with the molecule at positions [n, 3], and its calculator."""
        atoms = ase.Atoms(self.free.numbers, positions)
        atoms.set_masses(self.free.get_masses())
        if self.slab is not None:
            cell, pbc = self.slab.cell, self.slab.pbc
            atoms = atoms + self.slab
            atoms.set_cell(cell)
            atoms.pbc = pbc
            atoms.set_constraint(self._held_slab())
        atoms.info = dict(self.info)
        atoms.calc = self.calculator
        return atoms

    def positions(self, atoms: ase.Atoms) -> Array:
        """Positions [n, 3] of the molecule in a structure."""
        return atoms.positions[: len(self)]

    def energy(self, atoms: ase.Atoms) -> float:
        """Energy (eV) of a structure, from that of the free molecule."""
        return float(atoms.get_potential_energy() - self.zero)

    def anchor(self, positions: Array) -> Array:
        """The point [..., 3] whose place is that of a molecule [..., n, 3]."""
        return np.einsum("n,...ni->...i", self.weights, positions)

    def place(self, atoms: ase.Atoms) -> Array:
        """Lattice coordinates [2] of the molecule."""
        return self.surface.places(self.anchor(self.positions(atoms)))

    def lateral_force(self, atoms: ase.Atoms) -> float:
        """How strongly (eV/Å) the surface pulls the molecule along itself."""
        forces = atoms.get_forces(apply_constraint=False)[: len(self)]
        return float(np.linalg.norm(forces.sum(axis=0) @ self.surface.along))

    def relaxed(self, atoms: ase.Atoms, fmax: float = FMAX, held: bool = True) -> ase.Atoms:
        """The structure after relaxation.

        Args:
            held: the place of the molecule stays.
        """
        atoms = self.above(self.positions(atoms))
        constraints = self._held_slab()
        if held:
            weights = np.zeros(len(atoms))
            weights[: len(self)] = self.weights
            constraints.append(HeldPlace(weights, self.surface.along))
        atoms.set_constraint(constraints)
        relax(atoms, fmax)
        atoms.set_constraint(self._held_slab())
        return atoms

    def lowest(self, point: Array, turns: Iterable[Rotation], fmax: float = FMAX) -> ase.Atoms:
        """The relaxed structure of the lowest energy with the molecule above a point [3].

        Each orientation starts at the height where its energy is lowest, found from above.
        """
        found = [self.relaxed(self._start(point, turn), ROUGH * fmax) for turn in turns]
        return self.relaxed(min(found, key=self.energy), fmax)

    def _start(self, point: Array, turn: Rotation) -> ase.Atoms:
        """The rigid molecule, turned, above a point, at its best height."""
        turned = turn.apply(self.free.positions - self.anchor(self.free.positions))
        offset = self.surface.heights(turned + point).min()
        best, least = self.above(turned), np.inf
        for height in np.arange(HIGHEST, 0.0, -STEP):
            atoms = self.above(turned + point + (height - offset) * self.surface.normal)
            energy = self.energy(atoms)
            if energy < least:
                best, least = atoms, energy
            elif energy > least + TOO_HIGH:
                break
        return best

    def _held_slab(self) -> list:
        n_slab = 0 if self.slab is None else len(self.slab)
        return [FixAtoms(range(len(self), len(self) + n_slab))] if n_slab else []


def relax(atoms: ase.Atoms, fmax: float) -> bool:
    """Relaxes atoms in place; returns whether their forces are then below fmax (eV/Å)."""
    if len(atoms) == 1 and not atoms.get_forces().any():
        return True
    return bool(BFGS(atoms, logfile=None).run(fmax=fmax, steps=MOST_STEPS))


def orientations(count: int, n_atoms: int) -> Rotation:
    """Orientations to start from, the same in each call; one for an atom."""
    return Rotation.random(1 if n_atoms == 1 else count, random_state=0)


def chirality(atoms: ase.Atoms) -> float:
    """A pseudoscalar of a molecule between -1 and 1: zero if a mirror image is the molecule itself
    (after Osipov, Pickup, Dunmur, Mol. Phys. 84, 1193, 1995, here with weights that tell apart the
    atoms of a regular tetrahedron)."""
    r, m = atoms.positions, atoms.get_masses()
    apart = r[:, None] - r
    unit = apart / (np.linalg.norm(apart, axis=-1) + np.eye(len(r)))[..., None]
    cosines = np.einsum("ijx,jkx->ijk", unit, unit)
    powers = m / m.max(), (m / m.max()) ** 2, np.ones(len(m)), np.sqrt(m / m.max())
    weights = np.einsum("i,j,k,l,ijk,jkl->ijkl", *powers, cosines, cosines)
    triple = np.einsum("ijklx,ilx->ijkl", np.cross(unit[:, :, None, None], unit), unit)
    return float((weights * triple).sum() / max(abs(weights).sum(), 1e-9))
