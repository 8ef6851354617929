"""A cell whose shape changes, against closed forms and the virial theorem."""

from typing import Any

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import CalculationFailed, Calculator
from ase.stress import full_3x3_to_voigt_6_stress

from sikff.training.simulation import barostats
from sikff.training.simulation.averages import average
from sikff.training.simulation.barostats import FlexibleCell
from sikff.training.simulation.md import run_md
from sikff.training.simulation.settings import MDSettings
from spring_crystal import spring_crystal

T = 300.0
KT = units.kB * T


class Elastic(Calculator):
    """Atoms that do not feel each other, in a cell with the energy k/2 tr L^2 of its logarithmic
    strain L from a cube; without stiffness an ideal gas."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, side: float, stiffness: float) -> None:
        super().__init__()
        self.side, self.stiffness = side, stiffness

    def strain(self, atoms: ase.Atoms) -> np.ndarray:
        """In the directions of space: the cell is a cube times a rotation times exp(L)."""
        stretch = atoms.cell.array / self.side
        squares, directions = np.linalg.eigh(stretch.T @ stretch)
        return (directions * np.log(squares) / 2) @ directions.T

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        strain = self.strain(atoms) if self.stiffness else np.zeros((3, 3))
        stress = self.stiffness * strain / atoms.get_volume()
        self.results = {
            "energy": 0.5 * self.stiffness * (strain**2).sum(),
            "forces": np.zeros((len(atoms), 3)),
            "stress": full_3x3_to_voigt_6_stress(stress),
        }


def free_atoms(count: int, side: float, stiffness: float) -> ase.Atoms:
    atoms = ase.Atoms(f"Ar{count}", np.zeros((count, 3)), cell=3 * [side], pbc=True)
    atoms.calc = Elastic(side, stiffness)
    return atoms


def run(atoms: ase.Atoms, steps: int, **given: Any) -> list[np.ndarray]:
    """The cells after every step."""
    cells: list[np.ndarray] = []
    settings = {"ensemble": "npt", "shape": True, "temperature": T, "steps": steps, "every": 100}
    run_md(
        atoms,
        MDSettings.model_validate(settings | given),
        on_step=lambda step: cells.append(atoms.cell.array.copy()),
    )
    return cells


@pytest.fixture
def _every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strains at every step, of atoms that need no small ones."""
    monkeypatch.setattr(barostats, "EVERY", 1)


@pytest.mark.usefixtures("_every_step")
def test_strains_have_the_fluctuations_of_their_stiffness() -> None:
    """With N atoms and no pressure: means (N + 1) kT / k on the diagonal and 0 beside it, variances
    kT / k and kT / 2k (for small strains, of which the next order is a few per cent here)."""
    count, k = 5, 100 * KT
    atoms = free_atoms(count, 4.0, k)
    cells = run(atoms, 5000, timestep=50.0, friction=0.2)
    strains = np.array([atoms.calc.strain(ase.Atoms(cell=cell)) for cell in cells[100:]])
    means, variances = strains.mean(0) * k / KT, strains.var(0) * k / KT
    off = [(0, 1), (0, 2), (1, 2)]
    assert np.mean(np.diag(means)) == pytest.approx(count + 1, rel=0.2)
    assert np.abs([means[each] for each in off]).max() < 1.5
    assert np.mean(np.diag(variances)) == pytest.approx(1.0, rel=0.2)
    assert np.mean([variances[each] for each in off]) == pytest.approx(0.5, rel=0.2)


@pytest.mark.usefixtures("_every_step")
def test_an_ideal_gas_has_the_volumes_of_its_ensemble() -> None:
    """V^N exp(-PV/kT), as if its shape did not change: mean (N + 1) kT/P, and sqrt(N + 1) kT/P."""
    count, pressure = 4, 20.0
    unit = KT / (pressure * units.GPa)
    atoms = free_atoms(count, (5 * unit) ** (1 / 3), 0.0)
    cells = run(atoms, 2500, timestep=50.0, friction=0.02, pressure=pressure)
    volumes = np.abs(np.linalg.det(np.array(cells)))[200:] / unit
    assert volumes.mean() == pytest.approx(count + 1, rel=0.15)
    assert volumes.std() == pytest.approx((count + 1) ** 0.5, rel=0.25)
    assert np.ptp(ase.cell.Cell(cells[200]).angles()) > 1


def test_a_crystal_obeys_the_virial_theorem() -> None:
    """<V (Pi - P)> = -kT 1 with the pressure tensor Pi; a cell that starts strained gets cubic."""
    atoms, pressure = spring_crystal(), 5.0
    atoms.set_cell(atoms.cell.array * [1.03, 0.97, 1.0], scale_atoms=True)
    tensors: list[np.ndarray] = []
    sides: list[np.ndarray] = []

    def keep(step: int) -> None:
        if step > 1000 and step % 5 == 0:
            stress = atoms.get_stress(voigt=False, include_ideal_gas=True)
            excess = -stress - pressure * units.GPa * np.eye(3)
            tensors.append(atoms.get_volume() * excess / KT)
            sides.append(atoms.cell.lengths())

    given = {"ensemble": "npt", "shape": True, "temperature": T, "pressure": pressure}
    given |= {"steps": 8000, "timestep": 5.0, "friction": 0.02, "every": 1000}
    run_md(atoms, MDSettings.model_validate(given), on_step=keep)
    series = np.array(tensors).reshape(-1, 9)
    found = [average(column) for column in series.T]
    for each, expected in zip(found, -np.eye(3).ravel(), strict=True):
        assert abs(each.mean - expected) < 4 * each.error
        assert each.error < 8  # of a pressure that is 57
    assert np.ptp(np.mean(sides, axis=0)) < 0.03


def test_a_cell_that_would_jump_ends_the_run() -> None:
    atoms = free_atoms(1, 4.0, 0.0)
    with pytest.raises(CalculationFailed, match=r"strained by .* in 10 steps; expected less"):
        run(atoms, 100, timestep=10.0, friction=0.1, pressure=2000.0)


def test_the_temperature_of_atoms_in_a_flexible_cell() -> None:
    atoms = free_atoms(20, 4.0, 300 * KT)
    energies: list[float] = []
    rng = np.random.default_rng(0)
    dynamics = FlexibleCell(atoms, 10 * units.fs, T, 0.0, 0.1 / units.fs, 1000 * units.fs, rng)
    for _ in dynamics.irun(600):
        energies.append(atoms.get_kinetic_energy())
    assert np.mean(energies[100:]) / KT == pytest.approx(30, rel=0.06)
