"""Constraints as users write them."""

import ase
import pytest
from ase.build import molecule
from ase.constraints import FixAtoms, FixBondLengths, FixCartesian, FixCom

from sikff.training.simulation.constraints import add_constraints


@pytest.fixture
def atoms() -> ase.Atoms:
    return molecule("CH3OH")  # C O H H H H


@pytest.mark.parametrize(
    ("specs", "fixed"),
    [
        (["fix=0"], [0]),
        (["fix=1-3,5"], [1, 2, 3, 5]),
        (["fix=3-1"], [1, 2, 3]),
        (["fix=H"], [2, 3, 4, 5]),
        (["fix=C,4", "fix=O,4"], [0, 1, 4]),
    ],
)
def test_atoms_are_fixed_by_number_or_element(
    atoms: ase.Atoms, specs: list[str], fixed: list[int]
) -> None:
    add_constraints(atoms, specs)
    (constraint,) = atoms.constraints
    assert isinstance(constraint, FixAtoms)
    assert constraint.index.tolist() == fixed


def test_bonds_and_centre_of_mass(atoms: ase.Atoms) -> None:
    add_constraints(atoms, ["bonds=0-1,4-2", "com"])
    bonds, com = atoms.constraints
    assert isinstance(bonds, FixBondLengths)
    assert bonds.pairs.tolist() == [[0, 1], [2, 4]]
    assert isinstance(com, FixCom)
    assert atoms.get_number_of_degrees_of_freedom() == 18 - 2 - 3


def test_constraints_of_the_structure_stay_and_count_once(atoms: ase.Atoms) -> None:
    line = FixCartesian(5, (True, False, False))
    atoms.set_constraint([FixAtoms([0, 1]), FixBondLengths([(3, 2)]), line])
    add_constraints(atoms, ["fix=1,4", "bonds=2-3"])
    assert atoms.get_number_of_degrees_of_freedom() == 18 - 9 - 1 - 1
    assert sorted(atoms.constraints[1].index) == [0, 1, 4]
    add_constraints(atoms, [])
    assert len(atoms.constraints) == 3


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("frozen", "'frozen': expected fix=0-3,7 or fix=Pt, bonds=4-5,6-7, or com"),
        ("com=1", "'com=1': expected fix="),
        ("fix=Pt", "'fix=Pt': no atom is Pt; the structure is COH4"),
        ("fix=", "'fix=': '' is not understood"),
        ("fix=1.5", "'1.5' is not understood; expected numbers of atoms, such as 7 or 0-3"),
        ("fix=-1", "'-1' is not understood"),
        ("fix=0-6", "there is no atom 6; the 6 atoms are numbered from 0"),
        ("bonds=0-999999999", "there is no atom 999999999"),
        ("bonds=2-2", "'2-2' names one atom; expected two, such as 4-5"),
        ("bonds=H", "'H' is not understood"),
    ],
)
def test_wrong_specs_raise_and_name_the_error(atoms: ase.Atoms, spec: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        add_constraints(atoms, ["fix=0", spec])
    assert not atoms.constraints


@pytest.mark.parametrize("specs", [["fix=0", "com"], ["fix=0", "bonds=0-1"]])
def test_constraints_that_exclude_each_other_raise(atoms: ase.Atoms, specs: list[str]) -> None:
    with pytest.raises(ValueError, match="fixed atom"):
        add_constraints(atoms, specs)
