"""A barostat that changes the shape of a cell."""

from __future__ import annotations

import ase
import numpy as np
from ase import units
from ase.calculators.calculator import CalculationFailed
from ase.md.langevinbaoab import LangevinBAOAB
from scipy.linalg import expm

COMPRESSIBILITY = 1 / (50 * units.GPa)  # Å^3/eV, between those of molecular crystals and metals
EVERY = 10  # steps between changes of the cell, each of which needs the forces anew
LARGEST_STRAIN = 0.3


class FlexibleCell(LangevinBAOAB):
    """Langevin dynamics in a cell that is strained in all directions, by Brownian motion.

    Every ten steps the cell h becomes h exp(A), with the symmetric

        A = D t / kT (V (Pi - P) + kT 1) + sqrt(2 D t) xi

    and positions with it; momenta become p exp(-A). Pi is the pressure tensor with the part of the
    momenta, and xi has the variance 1 on the diagonal and 1/2 beside it: products of such
    exponentials leave the invariant measure of matrices alone, so that the distribution is that of
    Martyna, Tobias and Klein (1994) (cf. Del Tatto et al., Appl. Sci. 12, 1139 (2022)), of shapes
    too. The diffusion D makes a volume of the compressibility 1/(50 GPa) relax in `period`; others
    are as much faster as they are stiffer.

    ASE 3.29 has two integrators of this kind. `MTKNPT` counts the drift of all atoms, which it
    keeps at zero, as degrees of freedom; `LangevinBAOAB` adds the trace of the strain rate to all
    components of the friction instead of the diagonal.

    Args:
        temperature: K.
        pressure: eV/Å^3.
        friction: of the atoms, in ASE's unit of inverse time.
        period: in ASE's unit of time.

    Attributes:
        diffusion: D, that of the first volume.
    """

    def __init__(
        self,
        atoms: ase.Atoms,
        timestep: float,
        temperature: float,
        pressure: float,
        friction: float,
        period: float,
        rng: np.random.Generator,
    ) -> None:
        super().__init__(atoms, timestep, temperature_K=temperature, T_tau=1 / friction, rng=rng)
        self._pressure, self._kt = pressure, units.kB * temperature
        self.diffusion = COMPRESSIBILITY * self._kt / (3 * atoms.get_volume() * period)

    def step(self) -> None:
        """One time step."""
        if self.nsteps % EVERY == 0:
            self._strain_cell()
        super().step()

    def _strain_cell(self) -> None:
        atoms, time = self.atoms, EVERY * self.dt
        stress = atoms.get_stress(voigt=False, include_ideal_gas=True)
        force = -atoms.get_volume() * (stress + self._pressure * np.eye(3)) + self._kt * np.eye(3)
        noise = self.rng.standard_normal((3, 3))
        strain = self.diffusion * time / self._kt * force
        strain += np.sqrt(2 * self.diffusion * time) * (noise + noise.T) / 2
        if not abs(strain).max() < LARGEST_STRAIN:
            raise CalculationFailed(
                f"the cell would be strained by {abs(strain).max():.2g} in {EVERY} steps; expected "
                f"less than {LARGEST_STRAIN}: take a lower friction, or relax the cell first"
            )
        change = expm(strain)
        atoms.set_cell(atoms.cell.array @ change, scale_atoms=True)
        atoms.set_momenta(atoms.get_momenta() @ np.linalg.inv(change))
        self.accel = atoms.get_forces() / self.masses
