"""Structures that make sense, and thermal ones before any label."""

import ase
import numpy as np
import pytest
from ase import units
from ase.build import bulk, fcc111, molecule
from ase.constraints import FixAtoms, FixedLine

from sikff.training.learn.geometry import Physical, Springs, check_start, strained, turned


def test_atoms_in_each_other_and_atoms_that_left_are_noticed() -> None:
    ethanol = molecule("CH3CH2OH")
    physical = Physical([ethanol])
    assert physical.problem(ethanol) == ""
    near, far = ethanol.copy(), ethanol.copy()
    near.positions[1] = near.positions[0] + 0.5 * (near.positions[1] - near.positions[0])
    assert "is in another one" in physical.problem(near)
    far.positions[-1] += [0.0, 0.0, 4.0]
    assert "has left the others" in physical.problem(far)
    far.positions[0] = np.nan
    assert physical.problem(far) == "positions are not finite"
    copper = bulk("Cu", cubic=True)
    assert Physical([copper]).problem(copper) == ""
    argon = bulk("Ar", "fcc", a=5.3)  # far apart from the beginning
    assert Physical([argon]).problem(argon) == ""
    with pytest.raises(ValueError, match="would explode"):
        check_start(ase.Atoms("Cu2", positions=[[0, 0, 0], [0, 0, 1.0]]), "start structure 0")


def test_other_constraints_than_fixed_atoms_end_a_run_before_it_begins() -> None:
    atom = ase.Atoms("Cu")
    atom.set_constraint(FixedLine(0, (0, 0, 1)))
    with pytest.raises(ValueError, match=r"start structure 2: .* FixAtoms alone; remove FixedLine"):
        check_start(atom, "start structure 2")


def test_springs_are_thermal_and_do_not_move_the_whole() -> None:
    """Half k T for each mode, but for those that are too soft; no net translation."""
    atoms, rng = molecule("CH4"), np.random.default_rng(0)
    springs = Springs(atoms)
    drawn = np.array([springs.draw(300.0, rng) for _ in range(400)])
    energy = np.mean([springs.energy(each) for each in drawn])
    assert energy == pytest.approx(0.5 * 9 * units.kB * 300, rel=0.1)
    assert abs(drawn.sum(1)).max() < 1e-9
    springs.scale = 4.0
    assert np.std(springs.draw(300.0, rng)) < np.std(drawn)
    assert not Springs(ase.Atoms("Cu")).draw(300.0, rng).any()
    slab = fcc111("Cu", (1, 1, 3), vacuum=6.0)
    slab.set_constraint(FixAtoms([0]))
    moved = Springs(slab).draw(300.0, rng)
    assert not moved[0].any() and moved[1:].any()


def test_single_bonds_turn_and_no_bond_breaks() -> None:
    rng, start = np.random.default_rng(1), molecule("CH3CH2OH")
    physical = Physical([start])
    angles = []
    for _ in range(12):
        found = turned(start, rng)
        assert physical.problem(found) == ""
        angles.append(found.get_dihedral(0, 1, 2, 3) % 360)
        bonds = start.get_all_distances() < 1.6
        assert found.get_all_distances()[bonds] == pytest.approx(start.get_all_distances()[bonds])
    assert np.ptp(angles) > 90
    for rigid in ("C6H6", "C2H4", "H2O"):  # a ring, a double bond, nothing to turn
        atoms = molecule(rigid)
        assert np.array_equal(turned(atoms, rng).positions, atoms.positions)


def test_cells_of_crystals_are_strained_alone() -> None:
    rng = np.random.default_rng(0)
    crystal, free = bulk("Cu", cubic=True), molecule("H2O")
    assert abs(strained(crystal, rng).get_volume() / crystal.get_volume() - 1) > 1e-4
    assert strained(crystal, rng).get_scaled_positions() == pytest.approx(
        crystal.get_scaled_positions()
    )
    assert np.array_equal(strained(free, rng).positions, free.positions)
