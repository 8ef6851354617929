"""The ASE calculator: units, caching, refusals."""

import copy
import pickle
from pathlib import Path

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk, molecule
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.mixing import SumCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS

from pair_model import PairModel, structures
from sikff import ForceField, ForceFieldConfig
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


class Counted(PairModel):
    """Counts its evaluations and those with stress."""

    evaluations = stresses = 0

    def forward(self, graph, forces=True, stress=False):
        self.evaluations += 1
        self.stresses += stress
        return super().forward(graph, forces, stress)


def with_calculator(atoms: ase.Atoms, **kwargs: object) -> tuple[ase.Atoms, SIKFFCalculator]:
    atoms.calc = SIKFFCalculator(Counted().double(), device="cpu", **kwargs)
    return atoms, atoms.calc


@pytest.mark.parametrize("atoms", structures(), ids=str)
def test_results_have_the_types_ase_expects(atoms: ase.Atoms) -> None:
    atoms, calculator = with_calculator(atoms)
    assert type(atoms.get_potential_energy()) is float
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    assert atoms.get_forces().shape == (len(atoms), 3)
    assert atoms.get_forces().dtype == np.float64
    energies = atoms.get_potential_energies()
    assert abs(energies.sum() - atoms.get_potential_energy()) < LIMITS.parity
    assert calculator.model.evaluations == 1
    assert calculator.model.stresses == 0
    calculator.export_properties()


def test_forces_and_stress_agree_with_finite_differences() -> None:
    for atoms in structures()[:2]:
        atoms, _ = with_calculator(atoms)
        forces = calculate_numerical_forces(atoms, 1e-5)
        assert np.abs(atoms.get_forces() - forces).max() < LIMITS.forces_fd
        stress = calculate_numerical_stress(atoms, 1e-6)
        assert np.abs(atoms.get_stress() - stress).max() < LIMITS.stress_fd


def test_vacuum_scales_the_stress_of_a_slab_like_its_volume() -> None:
    """The given cell is the one divided by, also along an aperiodic direction."""
    atoms, _ = with_calculator(structures()[1])
    virial = atoms.get_stress() * atoms.get_volume()
    cell = atoms.cell.array.copy()
    cell[2] *= 3
    atoms.set_cell(cell)
    assert np.abs(atoms.get_stress() * atoms.get_volume() - virial).max() < LIMITS.gradient


@pytest.mark.parametrize("atoms", structures()[2:], ids=str)
def test_stress_without_a_cell_is_not_implemented(atoms: ase.Atoms) -> None:
    atoms, _ = with_calculator(atoms)
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_stress_is_computed_when_asked_for_only() -> None:
    atoms, calculator = with_calculator(structures()[0])
    atoms.get_stress()
    atoms.get_forces()
    assert (calculator.model.evaluations, calculator.model.stresses) == (1, 1)


def test_nothing_is_recomputed_without_a_change() -> None:
    atoms, calculator = with_calculator(molecule("H2"))
    atoms.info["electric_field"] = [0, 0, 0.1]
    for _ in range(3):
        atoms.get_forces()
        atoms.get_potential_energy()
    assert calculator.model.evaluations == 1


def test_a_changed_field_is_noticed() -> None:
    atoms, calculator = with_calculator(molecule("H2"))
    seen = [atoms.get_forces()]
    atoms.info["electric_field"] = np.array([0, 0, 1])
    seen.append(atoms.get_forces())
    atoms.info["electric_field"][2] = 2
    seen.append(atoms.get_forces())
    atoms.info["electric_field"] = [0.0, 0.0, 3.0]
    seen.append(atoms.get_forces())
    del atoms.info["electric_field"]
    calculator.set(electric_field=[0, 0, 4.0])
    seen.append(atoms.get_forces())
    calculator.parameters["electric_field"][2] = 5.0
    seen.append(atoms.get_forces())
    charge = calculator.model.charges[0].item()
    for strength, forces in enumerate(seen):
        expected = seen[0] + [0, 0, charge * strength]
        assert np.abs(forces - expected).max() < LIMITS.gradient


def test_two_different_fields_are_refused() -> None:
    atoms, _ = with_calculator(molecule("H2"), electric_field=[0, 0, 1])
    atoms.info["electric_field"] = [0, 0, 1.0]
    atoms.get_forces()
    atoms.info["electric_field"] = [0, 0, 2.0]
    with pytest.raises(ValueError, match="expected one of them, or the same in both"):
        atoms.get_forces()


def test_a_field_that_the_model_does_not_read_is_refused() -> None:
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator(tiny_force_field(), device="cpu")
    atoms.info["electric_field"] = [0, 0, 0]
    atoms.get_forces()
    atoms.info["electric_field"] = [0, 0, 1]
    with pytest.raises(ValueError, match="the model reads no field"):
        atoms.get_forces()


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
def test_copies_are_independent_and_equal(clone) -> None:
    atoms, calculator = with_calculator(molecule("H2"))
    forces = atoms.get_forces()
    other = atoms.copy()
    other.calc = clone(calculator)
    other.rattle(0.1)
    other.get_forces()
    assert np.array_equal(atoms.get_forces(), forces)
    other.positions = atoms.positions
    assert np.array_equal(other.get_forces(), forces)


def test_a_given_model_is_left_alone() -> None:
    model = PairModel().train()
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator(model, device="cpu", dtype="float64")
    atoms.get_forces()
    assert model.training
    assert model.weight.dtype == torch.float32


def test_works_in_a_sum() -> None:
    atoms, calculator = with_calculator(molecule("H2"))
    forces = atoms.get_forces()
    atoms.calc = SumCalculator([calculator, SIKFFCalculator(PairModel().double(), device="cpu")])
    assert np.abs(atoms.get_forces() - 2 * forces).max() < LIMITS.gradient


def test_relaxes_a_cell() -> None:
    atoms = bulk("Cu", a=3.3, cubic=True)
    atoms.rattle(0.05, seed=0)
    atoms, _ = with_calculator(atoms)
    start = atoms.get_potential_energy()
    with BFGS(FrechetCellFilter(atoms), logfile=None) as optimiser:
        optimiser.run(fmax=0.05, steps=5)
    assert atoms.get_potential_energy() < start


def test_nan_stops_the_calculation() -> None:
    atoms, calculator = with_calculator(molecule("H2"))
    with torch.no_grad():
        calculator.model.weight.fill_(torch.nan)
    with pytest.raises(CalculationFailed, match="NaN or infinity in energy"):
        atoms.get_potential_energy()
    assert not calculator.results


def tiny_force_field() -> ForceField:
    return ForceField(
        ForceFieldConfig(elements=("H",), layers=1, channels=2, max_frequency=1, correlation=1)
    )


def test_reads_a_model_file(tmp_path: Path) -> None:
    model = tiny_force_field()
    model.save(tmp_path / "m.sikff")
    atoms, other = molecule("H2"), molecule("H2")
    atoms.calc = SIKFFCalculator(tmp_path / "m.sikff", device="cpu", dtype="float64")
    other.calc = SIKFFCalculator(model, device="cpu", dtype=torch.float64)
    assert next(atoms.calc.model.parameters()).dtype == torch.float64
    assert np.abs(atoms.get_forces() - other.get_forces()).max() < LIMITS.parity
    with pytest.raises(FileNotFoundError):
        SIKFFCalculator(tmp_path / "absent.sikff")
    with pytest.raises(ValueError, match="expected float32 or float64"):
        SIKFFCalculator(model, dtype="float16")
