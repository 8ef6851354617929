"""Tools of ASE with a calculator: finite differences, relaxation, NEB, vibrations."""

from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.constraints import FixAtoms
from ase.filters import FrechetCellFilter
from ase.mep import NEB
from ase.optimize import BFGS, FIRE
from ase.vibrations import Vibrations

from force_fields import crystal, force_field
from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def pair_calculator(**kwargs: object) -> SIKFFCalculator:
    return SIKFFCalculator(PairModel().double(), device="cpu", **kwargs)


@pytest.mark.parametrize("case", ["pair model, crystal", "pair model, slab", "force field"])
def test_forces_and_stress_agree_with_finite_differences(case: str) -> None:
    """The steps stay within the skin, so one search serves all."""
    atoms = crystal() if case == "force field" else structures()[case.endswith("slab")]
    atoms.calc = pair_calculator()
    if case == "force field":
        atoms.calc = SIKFFCalculator(force_field(), device="cpu")
    forces = calculate_numerical_forces(atoms, 1e-5)
    assert np.abs(forces).max() > 1e-3
    assert np.abs(atoms.get_forces() - forces).max() < LIMITS.forces_fd
    stress = calculate_numerical_stress(atoms, 1e-6)
    assert np.abs(stress).max() > 1e-4
    assert np.abs(atoms.get_stress() - stress).max() < LIMITS.stress_fd
    assert atoms.calc.neighbour_rebuilds == 1


@pytest.mark.parametrize("method", [BFGS, FIRE])
@pytest.mark.parametrize("with_cell", [False, True], ids=["atoms", "atoms and cell"])
def test_relaxations_equal_those_without_a_skin(method: type, with_cell: bool) -> None:
    """Step by step, and the energy is lower at the end."""
    ends = []
    for skin in (0.8, 0.0):
        atoms = bulk("Cu", a=3.3, cubic=True)
        atoms.rattle(0.1, seed=0)
        atoms.calc = pair_calculator(skin=skin)
        start = atoms.get_potential_energy()
        with method(FrechetCellFilter(atoms) if with_cell else atoms, logfile=None) as optimiser:
            optimiser.run(fmax=0.01, steps=30)
        assert atoms.get_potential_energy() < start - 1e-3
        ends.append((atoms.positions, atoms.cell.array, atoms.get_forces()))
    for with_skin, fresh in zip(*ends, strict=True):
        np.testing.assert_array_equal(with_skin, fresh)


def path(shared: bool) -> list[ase.Atoms]:
    """Relaxed band of an H that hops between two octahedral sites of a rigid Cu crystal."""
    host = bulk("Cu", a=4.2, cubic=True)
    ends = [host + ase.Atoms("H", positions=[site]) for site in ([2.1, 0, 0], [0, 2.1, 0])]
    images = [ends[0], *(ends[0].copy() for _ in range(3)), ends[1]]
    calculator = pair_calculator()
    for image in images:
        image.set_constraint(FixAtoms(range(4)))
        image.calc = calculator if shared else pair_calculator()
    band = NEB(images, k=0.5, allow_shared_calculator=shared, method="improvedtangent")
    band.interpolate(mic=True)
    for n, image in enumerate(images[1:-1]):
        image.positions[4] += [0, 0, 0.1 * (n + 1)]  # off the line, so that there is work
    with FIRE(band, logfile=None) as optimiser:
        optimiser.run(fmax=0.05, steps=15)
    return images


def test_bands_are_equal_with_one_calculator_or_several() -> None:
    one, several = path(True), path(False)
    energies = np.array([image.get_potential_energy() for image in several])
    assert np.ptp(energies) > 0.1
    assert abs(energies[0] - energies[-1]) < LIMITS.parity
    for a, b, energy in zip(one, several, energies, strict=True):
        assert np.abs(a.positions - b.positions).max() < LIMITS.parity
        assert abs(a.get_potential_energy() - energy) < LIMITS.parity


def energy_hessian(atoms: ase.Atoms, step: float) -> np.ndarray:
    """Second derivatives [3N, 3N] (eV/Å^2) from differences of energies alone."""
    size = 3 * len(atoms)
    moved, start = atoms.copy(), atoms.positions.copy()
    moved.calc = pair_calculator_of_trimer()
    hessian = np.zeros((size, size))
    for a in range(size):
        for b in range(a + 1):
            for sign_a, sign_b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
                shift = np.zeros(size)
                shift[a] += sign_a * step
                shift[b] += sign_b * step
                moved.positions = start + shift.reshape(-1, 3)
                hessian[a, b] += sign_a * sign_b * moved.get_potential_energy()
            hessian[b, a] = hessian[a, b] = hessian[a, b] / (4 * step**2)
    return hessian


def pair_calculator_of_trimer() -> SIKFFCalculator:
    """H and Cu attract, H and H repel: H-Cu-H is bound, and linear."""
    model = PairModel().double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[3.0, -2.5], [-2.5, 1.0]]))
    return SIKFFCalculator(model, device="cpu")


def test_vibrations_agree_with_differences_of_energies(tmp_path: Path) -> None:
    atoms = ase.Atoms("HCuH", positions=[[0.1, 0, -1], [0, 0, 0], [0, 0.2, 1.1]])
    atoms.calc = pair_calculator_of_trimer()
    with BFGS(atoms, logfile=None) as optimiser:
        assert optimiser.run(fmax=1e-7, steps=200)
    delta = 1e-3
    vibrations = Vibrations(atoms, name=tmp_path / "vib", delta=delta)
    vibrations.run()
    hessian = energy_hessian(atoms, delta)
    found = vibrations.get_vibrations().get_hessian_2d()
    assert np.abs(found - hessian).max() < LIMITS.forces_fd / delta
    weights = np.repeat(atoms.get_masses(), 3) ** -0.5
    squares = np.linalg.eigvalsh(weights[:, None] * hessian * weights)
    to_wavenumbers = units._hbar * 1e10 / np.sqrt(units._e * units._amu) / units.invcm
    expected = to_wavenumbers * np.sqrt(squares[5:])  # four modes of a linear molecule
    assert expected.min() > 100
    frequencies = vibrations.get_frequencies()
    np.testing.assert_allclose(frequencies[5:].real, expected, rtol=LIMITS.forces_fd / delta)
    assert np.abs(frequencies[5:].imag).max() == 0
