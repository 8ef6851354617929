"""Desorption: free energies along the height, rates in theory and in dynamics."""

import ase
import numpy as np
import pytest
from ase import units
from ase.build import molecule

from force_fields import force_field, predict
from sikff.training.simulation.desorption import (
    HeightProfile,
    binding_energies,
    desorption_curve,
    desorption_rate,
    escape_rate,
    height_profile,
)
from sikff.training.simulation.surface_friction import LocalLangevin, SurfaceFriction
from surface_potentials import MASS, SIDE, CorrugatedWell, atoms_at

TEMPERATURE = 1100.0
GONE = 5.0  # Å, where the well ends
LATTICE = SIDE * np.eye(3)[:2]
FLAT = {"plane_origin": (0.0, 0.0, 0.5), "plane_range": 8.0, "surfaces": ("a", "b")}
PLACES = {**FLAT, "lattice": ((4.0, 0.0), (0.0, 4.0)), "wallpaper": "p4mm", "stars": 1}


@pytest.mark.parametrize("temperature", [300.0, 900.0])
def test_the_free_energy_of_an_atom_is_that_of_the_closed_form(temperature: float) -> None:
    """Within 2 meV, and within its errors."""
    well, heights = CorrugatedWell(), np.linspace(1.8, 7.0, 20)
    found = height_profile(
        well.energies, ase.Atoms("H"), heights, temperature, LATTICE, samples=40000
    )
    off = np.abs(found.values - well.free_energies(heights, temperature))
    assert off[heights > 2.2].max() < 2e-3
    assert (off < 4 * found.errors + 1e-6).all()
    assert found.errors[-1] < 1e-5 < found.errors[2]
    flat = height_profile(well.energies, ase.Atoms("H"), heights, temperature)
    assert np.abs(flat.values - found.values).max() > 5e-3


def test_molecules_escape_about_as_fast_as_transition_state_theory_says() -> None:
    """From equilibrium below, heated by the surface that they leave: few turn back."""
    well, rng, kt = CorrugatedWell(), np.random.default_rng(0), units.kB * TEMPERATURE
    drawn = rng.uniform([0, 0, 1.4], [SIDE, SIDE, GONE], (200000, 3))
    keep = np.exp(-(well.energies(drawn[:, None]) + 0.7) / kt) > rng.random(len(drawn))
    start = drawn[keep][:500]
    assert len(start) == 500
    atoms = atoms_at(start, TEMPERATURE, rng)
    atoms.calc = well
    shape = SurfaceFriction(0.05, 3.0, 1.0, 8.0)
    dynamics = LocalLangevin(
        atoms,
        4 * units.fs,
        TEMPERATURE,
        lambda atoms: shape.at(atoms.positions[:, 2]) / units.fs,
        rng,
    )
    heights: list[np.ndarray] = []
    dynamics.attach(lambda: heights.append(atoms.positions[:, 2].copy()), interval=2)
    dynamics.run(1200)
    found = escape_rate(np.array(heights), 8.0, GONE)
    grid = np.linspace(1.3, GONE, 400)
    values = well.free_energies(grid, TEMPERATURE)
    theory = desorption_rate(HeightProfile(grid, values, 0 * grid), MASS, TEMPERATURE)
    assert found.events > 150
    assert found.error < 0.09 * theory
    assert found.value == pytest.approx(theory, abs=3 * found.error)


def test_escapes_are_counted_once() -> None:
    heights = np.array([[1.0, 1.0], [5.0, 2.0], [1.0, 2.0], [5.0, 2.0]])
    found = escape_rate(heights, 2000.0, 3.0)
    assert (found.events, found.time) == (1, 8.0)
    with pytest.raises(ValueError, match="1 of 2 molecules start above 3 Å"):
        escape_rate(heights[1:], 2000.0, 3.0)
    with pytest.raises(ValueError, match="expected two or more, rising"):
        desorption_rate(HeightProfile(heights[:, 0], heights[:, 0], heights[:, 0]), 1.0, 300.0)


@pytest.mark.parametrize(
    ("environment", "group"), [(FLAT, "C_inf_v"), (PLACES, "C4v")], ids=["flat", "places"]
)
def test_the_profile_of_a_molecule_above_a_model_is_that_of_its_energies(
    environment: dict, group: str
) -> None:
    """Against predictions one by one; zero from the range of the surface on."""
    model, water = force_field(group, environment=environment), molecule("H2O")
    energies = binding_energies(model, water, "b")
    rng = np.random.default_rng(0)
    positions = water.positions + rng.uniform(0, 4, (3, 1, 3)) + np.array([0, 0, 2])
    for each, found in zip(positions, energies(positions), strict=True):
        atoms = ase.Atoms(water.numbers, each + np.array([0, 0, 0.5]))
        expected = [predict(model, atoms, surface=name).energy.item() for name in ("b", "vacuum")]
        assert found == pytest.approx(expected[0] - expected[1], abs=1e-9)
    lattice = [[4.0, 0, 0], [0, 4.0, 0]]
    profile = height_profile(energies, water, [2.5, 9.0], 2000.0, lattice, samples=20)
    assert profile.values[1] == 0.0
    assert abs(profile.values[0]) > 10 * abs(profile.errors[1])
    assert profile.errors[0] > 0
    with pytest.raises(ValueError, match="the model sees no surface whose normal is z"):
        binding_energies(force_field(), water)


def test_thermal_desorption_peaks_where_redhead_says() -> None:
    """E / kT^2 = prefactor / heating exp(-E / kT), of first order with a constant prefactor."""
    energy, prefactor, heating = 0.6, 10.0, 2.0  # eV, 1/ps, K/s
    temperatures = np.linspace(100, 400, 6001)
    rates = prefactor * np.exp(-energy / (units.kB * temperatures))
    coverage, signal = desorption_curve(rates, temperatures, heating)
    peak = temperatures[signal.argmax()]
    left = energy / (units.kB * peak**2)
    right = prefactor * 1e12 / heating * np.exp(-energy / (units.kB * peak))
    assert left == pytest.approx(right, rel=0.01)
    assert coverage[0] == 1.0 > coverage[-1] >= 0.0
    assert np.trapezoid(signal, temperatures) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="expected temperatures that rise"):
        desorption_curve(rates, temperatures[::-1], heating)
