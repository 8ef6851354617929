"""A bath that stands for the frozen surface: friction and noise that depend on the height."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ase
import numpy as np
from ase import units
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixedLine,
    FixedPlane,
    FixScaled,
    Hookean,
)
from ase.md.verlet import VelocityVerlet

from .settings import MDSettings
from .surface import environments, heights_above_surface

OF_SINGLE_ATOMS = FixAtoms | FixCartesian | FixedLine | FixedPlane | FixScaled | Hookean


@dataclass(frozen=True)
class SurfaceFriction:
    """The friction of an atom as a function of its height h above the surface.

        gamma(h) = strength exp(-x / decay) f(x / (range - height)),   x = max(h - height, 0)
        f(s) = 1 - s^3 (10 - 15 s + 6 s^2) between 0 and 1; 0 above

    It is continuous, and exactly zero from the range of the surface on.

    Attributes:
        strength: friction of atoms up to the height, in the unit of the result.
        height: Å, up to which atoms have all of it.
        decay: Å, in which it falls to 1/e.
        range: Å, where the surface ends.
    """

    strength: float
    height: float
    decay: float
    range: float

    @classmethod
    def of(cls, atoms: ase.Atoms, settings: MDSettings) -> SurfaceFriction:
        """That of settings (1/fs) above the surface that the calculator of the atoms has.

        Raises:
            ValueError: without a surface, or if it ends below ``settings.friction_height``.
        """
        found = environments(atoms)
        if not found:
            raise ValueError(
                "surface_friction is the friction near a surface, but the model sees none for "
                "this structure; expected a model with environment.plane_origin and a structure "
                "that is not in vacuum, or friction"
            )
        reach = min(environment.range for environment in found)
        if settings.friction_height >= reach:
            raise ValueError(
                f"friction_height is {settings.friction_height:g} Å; expected one below the range "
                f"of the surface, {reach:g} Å"
            )
        height, decay = settings.friction_height, settings.friction_decay
        return cls(settings.surface_friction or 0.0, height, decay, reach)

    def at(self, heights: np.ndarray) -> np.ndarray:
        """The friction at heights (Å), of their shape."""
        above = np.maximum(heights - self.height, 0.0)
        s = np.minimum(above / (self.range - self.height), 1.0)
        return self.strength * np.exp(-above / self.decay) * (1 - s**3 * (10 - s * (15 - 6 * s)))

    def __call__(self, atoms: ase.Atoms) -> np.ndarray:
        """The friction of each atom [N] in ASE's unit of inverse time, from 1/fs."""
        return self.at(heights_above_surface(atoms)) / units.fs


class LocalLangevin(VelocityVerlet):
    """Langevin dynamics with a friction that depends on the positions.

    A step is half a step of friction and noise, one of velocity Verlet, and again half a step of
    friction and noise (OBABO; Bussi and Parrinello, Phys. Rev. E 75, 056707 (2007)). Friction acts
    at fixed positions and exactly, so that whatever its dependence on them it keeps the canonical
    distribution, without a spurious force: that of positions is as wrong as with constant
    friction, by what velocity Verlet adds to the energy. Without friction it is velocity Verlet.

    Atoms that a constraint ties together get the mean of their frictions, so that friction keeps
    the distribution of the momenta that the constraint allows.

    Args:
        temperature: K.
        friction: of the atoms, [N], in ASE's unit of inverse time; a function of positions only.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        timestep: float,
        temperature: float,
        friction: Callable[[ase.Atoms], np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(atoms, timestep)
        self._friction, self._rng = friction, rng
        self._spread = np.sqrt(self.masses * units.kB * temperature)
        self._ties = _ties(atoms)

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One time step; returns the forces at its end."""
        self._exchange_heat()
        forces = super().step(forces)
        self._exchange_heat()
        return forces

    def _exchange_heat(self) -> None:
        """Half a step of friction and noise."""
        friction = self._friction(self.atoms)
        if not friction.any():
            return
        means = np.bincount(self._ties, friction) / np.maximum(np.bincount(self._ties), 1)
        kept = np.exp(-means[self._ties, None] * self.dt / 2)
        noise = self._spread * self._rng.standard_normal((len(friction), 3))
        # constraints remove the part of the noise that they do not allow
        self.atoms.set_momenta(kept * self.atoms.get_momenta() + np.sqrt(1 - kept**2) * noise)


def _ties(atoms: ase.Atoms) -> np.ndarray:
    """A label of each atom [N]; atoms that constraints tie together have the same."""
    labels = np.arange(len(atoms))
    for constraint in atoms.constraints:
        if isinstance(constraint, OF_SINGLE_ATOMS):
            continue
        bonds = isinstance(constraint, FixBondLengths)
        for group in constraint.pairs if bonds else [labels.copy()]:
            labels[np.isin(labels, labels[group])] = labels[group].min()
    return labels
