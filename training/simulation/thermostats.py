"""Thermostats that scale all momenta alike: Nosé-Hoover chains, and Bussi's rescaling.

The momentum of the centre of mass stays zero, so it is no degree of freedom that they may count.
ASE 3.29 counts it, in `NoseHooverChainNVT`, the MTK classes and `Bussi`: four atoms at 300 K move
as at 400 K relative to each other.
"""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.md.bussi import Bussi
from ase.md.verlet import VelocityVerlet

LENGTH = 3  # of a chain
# of the time step, for an integrator of fourth order (Yoshida, Phys. Lett. A 150, 262 (1990))
OUTER = 1 / (2 - 2 ** (1 / 3))
PARTS = (OUTER, 1 - 2 * OUTER, OUTER)


def bussi(
    atoms: ase.Atoms, timestep: float, temperature: float, tau: float, dof: int, rng: object
) -> Bussi:
    """Bussi's stochastic velocity rescaling, of so many degrees of freedom."""
    dynamics = Bussi(atoms, timestep, temperature, tau, rng)
    dynamics.ndof = dof
    dynamics.target_kinetic_energy = 0.5 * units.kB * temperature * dof
    return dynamics


class NoseHooverChain(VelocityVerlet):
    """Velocity Verlet between two halves of a Nosé-Hoover chain of three.

    Martyna, Klein and Tuckerman, J. Chem. Phys. 97, 2635 (1992). Unlike ASE's it scales the momenta
    of the atoms themselves, within whatever constraints they have.

    Args:
        temperature: K.
        tau: period of the chain over 2 pi, in ASE's unit of time.
        dof: degrees of freedom that have the temperature.

    Attributes:
        eta, p_eta: variables of the chain [3] and their momenta.
    """

    def __init__(
        self, atoms: ase.Atoms, timestep: float, temperature: float, tau: float, dof: int
    ) -> None:
        super().__init__(atoms, timestep)
        self._kt = units.kB * temperature
        self._weights = np.ones(LENGTH)
        self._weights[0] = dof
        self._q = self._weights * self._kt * tau**2
        self.eta, self.p_eta = np.zeros(LENGTH), np.zeros(LENGTH)

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """One time step; returns the forces at its end."""
        self._scale_momenta()
        forces = super().step(forces)
        self._scale_momenta()
        return forces

    def conserved_energy(self) -> float:
        """What does not change but for the time step, eV."""
        of_chain = (self.p_eta**2 / (2 * self._q)).sum() + self._kt * self._weights @ self.eta
        return float(self.atoms.get_total_energy() + of_chain)

    def _scale_momenta(self) -> None:
        """Half a time step of the chain."""
        doubled, scale = 2 * self.atoms.get_kinetic_energy(), 1.0
        for part in PARTS:
            time = part * self.dt / 2
            for j in reversed(range(LENGTH)):
                self._push(j, doubled * scale**2, time)
            scale *= np.exp(-time * self.p_eta[0] / self._q[0])
            self.eta += time * self.p_eta / self._q
            for j in range(LENGTH):
                self._push(j, doubled * scale**2, time)
        self.atoms.set_momenta(scale * self.atoms.get_momenta())

    def _push(self, j: int, doubled: float, time: float) -> None:
        """Half of a time of the force on a variable, and of the drag of the next one."""
        p, q = self.p_eta, self._q
        drag = np.exp(-time / 4 * p[j + 1] / q[j + 1]) if j + 1 < LENGTH else 1.0
        force = (doubled if j == 0 else p[j - 1] ** 2 / q[j - 1]) - self._weights[j] * self._kt
        p[j] = (p[j] * drag + time / 2 * force) * drag
