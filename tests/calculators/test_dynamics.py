"""Molecular dynamics with ASE: a skin changes only the number of searches."""

from collections.abc import Callable

import ase
import numpy as np
import pytest
import torch
from ase import units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.md import MolecularDynamics
from ase.md.nose_hoover_chain import IsotropicMTKNPT, NoseHooverChainNVT
from ase.md.nptberendsen import NPTBerendsen
from ase.md.verlet import VelocityVerlet

from pair_model import PairModel
from sikff.calculators import SIKFFCalculator
from sikff.graph import AtomicGraph

STEP = 2 * units.fs


def fluid(skin: float, temperature: float) -> ase.Atoms:
    """Four atoms, fast, in a box a little larger than the cutoff."""
    atoms = bulk("Cu", a=3.8, cubic=True)
    atoms.numbers[0] = 1
    atoms.set_masses([20.0] * 4)
    rng = np.random.default_rng(0)
    spread = np.sqrt(units.kB * temperature * atoms.get_masses()[:, None])
    momenta = rng.standard_normal((4, 3)) * spread
    atoms.set_momenta(momenta - momenta.mean(axis=0))
    atoms.calc = SIKFFCalculator(PairModel(cutoff=3.0).double(), device="cpu", skin=skin)
    return atoms


def trajectory(
    atoms: ase.Atoms, forces: Callable[[ase.Atoms], np.ndarray], steps: int
) -> tuple[np.ndarray, int]:
    """Velocity Verlet, every 100 steps recorded and wrapped: positions, and atoms wrapped."""
    momenta, masses = atoms.get_momenta(), atoms.get_masses()[:, None]
    pull, frames, wrapped = forces(atoms), [], 0
    for step in range(1, steps + 1):
        momenta += 0.5 * STEP * pull
        atoms.positions += STEP * momenta / masses
        pull = forces(atoms)
        momenta += 0.5 * STEP * pull
        if step % 100 == 0:
            frames.append(atoms.positions.copy())
            atoms.wrap()
            wrapped += int((np.abs(atoms.positions - frames[-1]).max(axis=1) > 1).sum())
    return np.array(frames), wrapped


def test_five_thousand_steps_equal_those_with_fresh_searches() -> None:
    """Bit by bit, although atoms cross cell faces and are wrapped."""
    atoms, fresh = fluid(0.8, 6000), fluid(0.8, 6000)
    model = fresh.calc.models[0]

    def searched(atoms: ase.Atoms) -> np.ndarray:
        return model(AtomicGraph.from_atoms(atoms, model.cutoff, model.elements)).forces.numpy()

    positions, wrapped = trajectory(atoms, ase.Atoms.get_forces, 5000)
    expected, _ = trajectory(fresh, searched, 5000)
    np.testing.assert_array_equal(positions, expected)
    assert wrapped > 50
    assert 100 < atoms.calc.neighbour_rebuilds < 5000 / 8


@pytest.mark.parametrize("name", ["Berendsen", "Martyna-Tobias-Klein"])
def test_changing_cells_give_the_trajectory_of_fresh_searches(name: str) -> None:
    ends, searches = [], []
    for skin in (0.8, 0.0):
        atoms = fluid(skin, 300)
        volume = atoms.get_volume()
        dynamics: MolecularDynamics = (
            NPTBerendsen(
                atoms, STEP, temperature_K=300, pressure_au=0.0, compressibility_au=5.0, taup=50
            )
            if name == "Berendsen"
            else IsotropicMTKNPT(
                atoms, STEP, temperature_K=300, pressure_au=0.0, tdamp=100 * STEP, pdamp=100 * STEP
            )
        )
        dynamics.run(100)
        ends.append((atoms.cell.array, atoms.positions, atoms.get_stress()))
        searches.append(atoms.calc.neighbour_rebuilds)
        assert abs(atoms.get_volume() / volume - 1) > 0.1
    for with_skin, fresh in zip(*ends, strict=True):
        np.testing.assert_array_equal(with_skin, fresh)
    assert searches[0] < 100 / 4
    assert searches[1] > 100


@pytest.mark.parametrize("name", ["Langevin", "Nose-Hoover"])
def test_thermostats_heat_a_crystal(name: str) -> None:
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.01, seed=0)
    atoms.set_momenta(np.zeros((8, 3)))
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    if name == "Langevin":
        rng = np.random.default_rng(1)
        bath = {"friction": 0.05 / units.fs, "fixcm": False, "rng": rng}
        dynamics: MolecularDynamics = Langevin(atoms, STEP, temperature_K=600, **bath)
    else:
        atoms.rattle(0.2, seed=2)
        dynamics = NoseHooverChainNVT(atoms, STEP, temperature_K=600, tdamp=20 * STEP)
    temperatures = []
    dynamics.attach(lambda: temperatures.append(atoms.get_temperature()))
    dynamics.run(200)
    assert temperatures[0] == 0
    assert 300 < np.mean(temperatures[50:]) < 900
    assert atoms.calc.neighbour_rebuilds < 200 / 4


def test_colliding_atoms_stop_the_run() -> None:
    """With far too long a step; the message names the atoms instead of a NaN later on."""
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 2.0]])
    with torch.no_grad():
        model = PairModel().double()
        model.weight.neg_()  # attraction
    atoms.set_momenta([[0, 0, 1.0], [0, 0, -1.0]])
    atoms.calc = SIKFFCalculator(model, device="cpu")
    atoms.set_velocities([[0, 0, 0.98 / STEP], [0, 0, -0.98 / STEP]])
    with pytest.raises(ValueError, match=r"atoms 0 \(H\) and 1 \(H\) are .* Å apart"):
        VelocityVerlet(atoms, STEP).run(5)
