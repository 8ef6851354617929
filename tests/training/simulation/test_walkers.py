"""Several structures that move in one batch."""

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom
from ase.md.verlet import VelocityVerlet

from force_fields import crystal, ethanol, force_field
from sikff.calculators import SIKFFCalculator
from sikff.training.simulation.md import thermal_momenta
from sikff.training.simulation.walkers import Walker, Walkers
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]


def moving(atoms: ase.Atoms, seed: int = 0, temperature: float = 300.0) -> ase.Atoms:
    atoms.set_momenta(thermal_momenta(atoms, temperature, np.random.default_rng(seed)))
    return atoms


def test_without_friction_each_walker_moves_as_by_verlet() -> None:
    """Against ASE, structure by structure; one has atoms that are fixed, one does not move."""
    model = force_field()
    starts = [moving(ethanol()), moving(crystal()), moving(ethanol(1), 1), moving(ethanol(2), 2)]
    starts[2].set_constraint(FixAtoms([0, 4]))
    walkers = [Walker(atoms.copy(), 300.0) for atoms in starts]
    walkers[3].moves = False
    batch = Walkers(model, walkers, 0.5, 0.0, np.random.default_rng(0))
    batch.run(4)
    energies = batch.run(8)
    for walker, atoms in zip(walkers[:3], starts[:3], strict=True):
        atoms.calc = SIKFFCalculator(model, device="cpu")
        VelocityVerlet(atoms, 0.5 * units.fs).run(12)
        assert walker.atoms.positions == pytest.approx(atoms.positions, abs=100 * LIMITS.invariance)
        assert walker.atoms.get_momenta() == pytest.approx(
            atoms.get_momenta(), abs=100 * LIMITS.invariance
        )
    assert energies[0] == pytest.approx(starts[0].get_potential_energy())
    assert np.array_equal(walkers[3].atoms.positions, starts[3].positions)


def test_each_walker_has_its_temperature() -> None:
    """Atoms too far apart to feel each other."""
    gas = ase.Atoms("O40", positions=[[10.0 * k, 0, 0] for k in range(40)])
    walkers = [Walker(gas.copy(), temperature) for temperature in (200.0, 600.0)]
    batch = Walkers(force_field(), walkers, 1.0, 0.2, np.random.default_rng(0))
    batch.run(20)
    found = []
    for _ in range(30):
        batch.run(5)
        found.append([walker.atoms.get_temperature() for walker in walkers])
    assert np.mean(found, axis=0) == pytest.approx([200.0, 600.0], rel=0.1)


def test_volumes_follow_the_pressure() -> None:
    """At rest: by the compressibility times the pressure that is too much, in a hundred steps."""
    model = force_field()
    start = bulk("Al", cubic=True)
    start.calc = SIKFFCalculator(model, device="cpu")
    internal = -start.get_stress()[:3].mean() / units.GPa
    for more, temperature in ((2.0, 0.0), (-2.0, 0.0), (2.0, 300.0)):
        walkers = [Walker(start.copy(), temperature) for _ in range(2)]
        rng = np.random.default_rng(0)
        Walkers(model, walkers, 1.0, 0.05, rng, internal + more).run(1)
        changes = [np.log(each.atoms.get_volume() / start.get_volume()) for each in walkers]
        if not temperature:
            assert changes == pytest.approx(2 * [-more / 20 * 0.05 / 5], rel=1e-6)
        else:
            assert changes[0] != changes[1]


def test_a_walker_whose_atoms_overlap_stops_alone() -> None:
    overlapping = ethanol()
    overlapping.positions[1] = overlapping.positions[0] + [0.0, 0.0, 0.01]
    walkers = [Walker(moving(ethanol()), 300.0), Walker(overlapping, 300.0)]
    start = walkers[0].atoms.positions.copy()
    energies = Walkers(force_field(), walkers, 0.5, 0.01, np.random.default_rng(0)).run(3)
    assert np.isnan(energies).tolist() == [False, True]
    assert [walker.moves for walker in walkers] == [True, False]
    assert abs(walkers[0].atoms.positions - start).max() > 1e-4


def test_other_constraints_are_refused() -> None:
    atoms = ethanol()
    atoms.set_constraint(FixCom())
    with pytest.raises(ValueError, match="remove FixCom"):
        Walkers(force_field(), [Walker(atoms, 300.0)], 0.5, 0.01, np.random.default_rng(0))
