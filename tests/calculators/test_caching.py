"""Cached results are never stale, none is computed twice, and copies are independent."""

import copy
import multiprocessing
import pickle
from collections.abc import Callable

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.mixing import SumCalculator

from force_fields import force_field
from pair_model import PairModel, structures
from sikff.calculators import SIKFFCalculator
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
FIELD = "electric_field"


class Counted(PairModel):
    """Counts its evaluations and those with stress."""

    evaluations = stresses = 0

    def forward(self, graph, forces=True, stress=False, dipole=False):
        self.evaluations += 1
        self.stresses += stress
        return super().forward(graph, forces, stress, dipole)


def calculator(**kwargs: object) -> SIKFFCalculator:
    return SIKFFCalculator(Counted().double(), device="cpu", **kwargs)


def results(atoms: ase.Atoms) -> list[np.ndarray]:
    return [
        np.array(atoms.get_potential_energy()),
        atoms.get_potential_energies(),
        atoms.get_forces(),
        atoms.get_stress(),
    ]


def move(atoms: ase.Atoms) -> None:
    atoms.positions[0, 1] += 1e-9


def cross(atoms: ase.Atoms) -> None:
    atoms.positions[1] += [4, -9, 2]
    atoms.wrap()


CHANGES: dict[str, Callable[[ase.Atoms], object]] = {
    "one coordinate in place": move,
    "all positions": lambda atoms: atoms.rattle(0.1, seed=3),
    "across cell faces": cross,
    "one atomic number in place": lambda atoms: atoms.numbers.__setitem__(1, 1),
    "cell, atoms stay": lambda atoms: atoms.set_cell(atoms.cell * 1.01),
    "cell, atoms follow": lambda atoms: atoms.set_cell(atoms.cell * 1.02, scale_atoms=True),
    "cell element in place": lambda atoms: atoms.cell.__setitem__((0, 1), 0.2),
    "pbc": lambda atoms: atoms.set_pbc((True, True, False)),
    "pbc element in place": lambda atoms: atoms.pbc.__setitem__(2, True),
    "an atom less": lambda atoms: atoms.__delitem__(0),
    "an atom more": lambda atoms: atoms.append(ase.Atom("H", (0.5, 2.2, 1.1))),
    "a field": lambda atoms: atoms.info.__setitem__(FIELD, np.array([0, 0, 0.1])),
    "a field element in place": lambda atoms: atoms.info[FIELD].__setitem__(0, 0.2),
    "another field": lambda atoms: atoms.info.__setitem__(FIELD, (0.3, 0, 0)),
    "no field": lambda atoms: atoms.info.pop(FIELD),
    "field as a parameter": lambda atoms: atoms.calc.set(electric_field=[0, 0.3, 0]),
    "parameter in place": lambda atoms: atoms.calc.parameters[FIELD].__setitem__(1, 0.5),
    "parameter removed": lambda atoms: atoms.calc.set(electric_field=None),
}


def test_results_are_those_of_a_new_calculator_after_every_change() -> None:
    """All changes in turn on one calculator, so that each starts from the caches of the others."""
    atoms = structures()[0]
    atoms.calc = calculator()
    before = results(atoms)
    for name, apply in CHANGES.items():
        apply(atoms)
        fresh = atoms.copy()
        fresh.calc = calculator(electric_field=atoms.calc.parameters[FIELD])
        present, expected = results(atoms), results(fresh)
        for one, other in zip(present, expected, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=name)
        assert any(not np.array_equal(a, b) for a, b in zip(present, before, strict=True)), name
        before = present


def test_a_changed_field_changes_the_forces() -> None:
    atoms = molecule("H2")
    atoms.calc = calculator()
    free = atoms.get_forces()
    atoms.info[FIELD] = np.array([0, 0, 1])
    atoms.get_forces()
    atoms.info[FIELD][2] = 2
    charge = atoms.calc.models[0].charges[0].item()
    assert np.abs(atoms.get_forces() - free - [0, 0, 2 * charge]).max() < LIMITS.gradient


def test_nothing_is_recomputed_without_a_change() -> None:
    atoms = structures()[0]
    atoms.calc = calculator()
    atoms.info[FIELD] = [0, 0, 0.1]
    for _ in range(3):
        atoms.get_forces()
        atoms.get_potential_energy()
    assert (atoms.calc.models[0].evaluations, atoms.calc.models[0].stresses) == (1, 0)
    assert not atoms.calc.calculation_required(atoms, ["energy", "forces"])
    atoms.get_stress()
    atoms.get_forces()
    assert (atoms.calc.models[0].evaluations, atoms.calc.models[0].stresses) == (2, 1)
    assert atoms.calc.get_property("stress", atoms, allow_calculation=False) is not None
    move(atoms)
    atoms.get_forces()
    atoms.get_stress()  # came with the forces, as it was asked for before
    assert (atoms.calc.models[0].evaluations, atoms.calc.models[0].stresses) == (3, 2)
    flat = structures()[3]
    flat.calc = atoms.calc
    assert flat.cell.rank < 3 and flat.get_forces().any()  # has no stress, nor needs one
    atoms.calc.set(electric_field=[0, 0, 0.1])  # the same as before
    move(atoms)
    assert atoms.calc.get_property("energy", atoms, allow_calculation=False) is None


def test_changing_returned_arrays_does_not_change_results() -> None:
    atoms = molecule("H2")
    atoms.calc = calculator()
    atoms.get_forces()[:] = 7
    assert np.abs(atoms.get_forces()).max() < 7


def test_a_failed_calculation_leaves_no_result() -> None:
    atoms = molecule("H2")
    atoms.calc = calculator()
    expected = atoms.get_forces()
    far = atoms.positions[1].copy()
    atoms.positions[1] = atoms.positions[0]
    for _ in range(2):
        with pytest.raises(ValueError, match="apart"):
            atoms.get_forces()
    atoms.positions[1] = far
    np.testing.assert_array_equal(atoms.get_forces(), expected)


def pickled(calc: SIKFFCalculator) -> SIKFFCalculator:
    return pickle.loads(pickle.dumps(calc))


@pytest.mark.parametrize("clone", [copy.deepcopy, pickled])
@pytest.mark.parametrize("real", [False, True], ids=["pair model", "force field"])
def test_copies_are_independent_and_equal(
    clone: Callable[[SIKFFCalculator], SIKFFCalculator], real: bool
) -> None:
    atoms = molecule("H2")
    atoms.calc = SIKFFCalculator(force_field(), device="cpu") if real else calculator()
    forces = atoms.get_forces()
    other = atoms.copy()
    other.calc = clone(atoms.calc)
    other.rattle(0.1)
    assert not np.array_equal(other.get_forces(), forces)
    assert np.array_equal(atoms.get_forces(), forces)
    other.positions = atoms.positions
    assert np.array_equal(other.get_forces(), forces)


def test_calculators_work_in_other_processes() -> None:
    systems = structures()[:2]
    for atoms in systems:
        atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    expected = [atoms.get_potential_energy() for atoms in systems]
    for atoms in systems:
        atoms.calc.reset()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        energies = pool.map(ase.Atoms.get_potential_energy, systems)
    assert energies == expected


def test_calculators_work_in_sums() -> None:
    atoms = structures()[0]
    atoms.calc = calculator()
    forces, stress = atoms.get_forces(), atoms.get_stress()
    atoms.calc = SumCalculator([atoms.calc, calculator(skin=0.0)])
    other = atoms.copy()
    other.calc = copy.deepcopy(atoms.calc)
    for each in (atoms, other):
        assert np.abs(each.get_forces() - 2 * forces).max() < LIMITS.gradient
        assert np.abs(each.get_stress() - 2 * stress).max() < LIMITS.gradient
