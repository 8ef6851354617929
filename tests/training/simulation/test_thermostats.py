"""Thermostats that scale momenta, and the degrees of freedom that have their temperature."""

from typing import Any

import ase
import numpy as np
import pytest
from ase import units
from ase.constraints import FixAtoms, FixBondLengths, FixCom
from ase.md.bussi import Bussi
from ase.md.nose_hoover_chain import NoseHooverChainNVT

from sikff.training.simulation.md import run_md, thermal_momenta
from sikff.training.simulation.momenta import degrees_of_freedom
from sikff.training.simulation.settings import MDSettings
from sikff.training.simulation.thermostats import NoseHooverChain
from spring_crystal import spring_crystal

T = 300.0
KT = units.kB * T


def crystal(stiffness: float = 0.3) -> ase.Atoms:
    """So soft that modes exchange energy, which a chain needs."""
    atoms = spring_crystal(stiffness)
    atoms.set_momenta(thermal_momenta(atoms, T, np.random.default_rng(0)))
    return atoms


def kinetic_energies(dynamics: Any, steps: int = 5000) -> np.ndarray:
    """Over kT, after a start."""
    found = [dynamics.atoms.get_kinetic_energy() for _ in dynamics.irun(steps)]
    return np.array(found[500:]) / KT


@pytest.mark.parametrize("thermostat", ["nose-hoover", "bussi"])
def test_energies_of_relative_motion_are_canonical(thermostat: str) -> None:
    """The kinetic energy of nine degrees of freedom has the mean 9/2 kT and as a variance 9/2."""
    given = {"thermostat": thermostat, "temperature": T, "timestep": 12.0, "friction": 0.033}
    settings = MDSettings.model_validate(given | {"steps": 5000, "every": 1})
    frames, atoms = [], crystal()
    energies = []

    def keep(step: int) -> None:
        energies.append(atoms.get_kinetic_energy() / KT)
        frames.append(atoms.get_momenta().sum(0))

    summary = run_md(atoms, settings, on_step=keep)
    found = np.array(energies[500:])
    assert found.mean() == pytest.approx(4.5, rel=0.05)
    assert found.var() == pytest.approx(4.5, rel=0.25)
    assert summary["temperature_K"] == pytest.approx(T, rel=0.06)
    assert abs(np.array(frames)).max() < 1e-9


@pytest.mark.parametrize("thermostat", ["nose-hoover", "bussi"])
def test_ase_counts_the_drift(thermostat: str) -> None:
    """What is worked around: if this fails, ASE has mended it."""
    atoms, step = crystal(), 12 * units.fs
    if thermostat == "bussi":
        rng = np.random.default_rng(0)
        dynamics: Any = Bussi(atoms, step, T, 100 * units.fs, rng)
    else:
        dynamics = NoseHooverChainNVT(atoms, step, T, 100 * units.fs)
    assert kinetic_energies(dynamics, 3000).mean() == pytest.approx(6.0, rel=0.1)


def test_a_chain_conserves_its_energy_to_second_order() -> None:
    errors = []
    for timestep in (4.0, 2.0):
        dynamics = NoseHooverChain(crystal(5.0), timestep * units.fs, T, 30 * units.fs, 9)
        energies = [dynamics.conserved_energy() for _ in dynamics.irun(round(1600 / timestep))]
        errors.append(np.ptp(energies))
        assert np.ptp(energies) < 0.5 * KT
        assert abs(dynamics.p_eta).max() > 0
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.4)


@pytest.mark.parametrize("thermostat", ["nose-hoover", "bussi"])
@pytest.mark.parametrize(
    ("constraint", "dof"),
    [
        (FixAtoms([0]), 9),
        (FixBondLengths([(0, 1), (2, 3)]), 7),
        (FixCom(), 9),
        (None, 9),
    ],
    ids=["held", "bonds", "centre", "free"],
)
def test_constraints_are_counted_and_kept(thermostat: str, constraint: Any, dof: int) -> None:
    atoms = spring_crystal(pbc=False)
    atoms.set_constraint(constraint)
    start = atoms.copy()
    assert degrees_of_freedom(atoms) == dof
    atoms.set_momenta(thermal_momenta(atoms, T, np.random.default_rng(1)))
    given = {"thermostat": thermostat, "temperature": T, "timestep": 4.0, "friction": 0.05}
    energies: list[float] = []
    settings = MDSettings.model_validate(given | {"steps": 300, "every": 100})
    run_md(atoms, settings, on_step=lambda step: energies.append(atoms.get_kinetic_energy()))
    assert np.mean(energies[30:]) / KT == pytest.approx(dof / 2, rel=0.3)
    if constraint is not None and dof == 7:
        assert atoms.get_distance(2, 3) == pytest.approx(start.get_distance(2, 3), abs=1e-9)
    if isinstance(constraint, FixAtoms):
        assert np.array_equal(atoms.positions[0], start.positions[0])


def test_a_drift_of_the_start_is_taken_away() -> None:
    atoms = crystal()
    atoms.set_momenta(atoms.get_momenta() + atoms.get_masses()[:, None])
    run_md(atoms, MDSettings(thermostat="nose-hoover", steps=3))
    assert abs(atoms.get_momenta().sum(0)).max() < 1e-9


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"thermostat": "bussi", "ensemble": "npt"}, "thermostat is bussi, which is one of nvt"),
        ({"thermostat": "nose-hoover", "ensemble": "nve"}, "expected it without nve"),
        ({"thermostat": "bussi", "surface_friction": 0.1}, "expected it without surface_friction"),
        ({"thermostat": "bussi", "temperature": 0}, "temperature is 0 K; bussi expects one above"),
        ({"shape": True, "ensemble": "nvt"}, "shape is of the cell, which nvt keeps; take npt"),
    ],
)
def test_settings_that_contradict_each_other_raise(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        MDSettings.model_validate(given)
    assert MDSettings(thermostat="bussi").ensemble == "nvt"
