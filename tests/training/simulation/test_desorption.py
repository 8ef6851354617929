"""Desorption: free energies along the height, rates in theory and in dynamics."""

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT

from sikff.surface.wallpaper import Wallpaper
from sikff.training.evaluation.adsorbate import Adsorbate, Surface
from sikff.training.evaluation.mean_force import integrate
from sikff.training.simulation.desorption import desorption_curve, desorption_rate, escape_rate
from sikff.training.simulation.surface_friction import LocalLangevin, SurfaceFriction
from surface_potentials import MASS, SIDE, CorrugatedWell, atoms_at

TEMPERATURE = 1100.0
GONE = 5.0  # Å, where the well ends
LATTICE = SIDE * np.eye(3)[:2]


def test_the_rate_from_an_integrated_free_energy_is_that_of_the_closed_form() -> None:
    """Above the mean of a corrugated well; with the free energy of vacuum it is that far away."""
    well, atom = CorrugatedWell(), ase.Atoms("H", masses=[MASS])
    atom.calc = EMT()
    surface = Surface(Wallpaper("p4mm", LATTICE), np.zeros(3), np.array([0.0, 0, 1]))
    adsorbate = Adsorbate(atom, surface, well)
    found = integrate(
        adsorbate, lambda positions: well.energies(positions), TEMPERATURE, 9.05, n=24
    )
    grid = np.linspace(1.0, found.heights[-1], 2000)
    kt = units.kB * TEMPERATURE
    expected = well.free_energies(grid, TEMPERATURE)
    arguments = (found.heights, found.profile, MASS, TEMPERATURE)
    known = desorption_rate(grid, expected, MASS, TEMPERATURE)
    assert desorption_rate(*arguments) == pytest.approx(known, rel=0.01)
    far = desorption_rate(*arguments, found.vacuum)
    assert far == pytest.approx(known * np.exp(expected[-1] / kt), rel=0.01)
    assert far != pytest.approx(known, rel=1e-3)
    unknown = found.profile.copy()
    unknown[-1] = np.nan
    with pytest.raises(ValueError, match=r"the free energy at 9\.05 Å is nan; expected a number"):
        desorption_rate(found.heights, unknown, MASS, TEMPERATURE)
    with pytest.raises(ValueError, match="got 2 heights with 2 free energies"):
        desorption_rate([1.0, 1.0], [0.0, 0.0], MASS, TEMPERATURE)


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
    theory = desorption_rate(grid, values, MASS, TEMPERATURE)
    assert found.events > 150
    assert found.error < 0.09 * theory
    assert found.value == pytest.approx(theory, abs=3 * found.error)


def test_escapes_are_counted_once() -> None:
    heights = np.array([[1.0, 1.0], [5.0, 2.0], [1.0, 2.0], [5.0, 2.0]])
    found = escape_rate(heights, 2000.0, 3.0)
    assert (found.events, found.time) == (1, 8.0)
    with pytest.raises(ValueError, match="1 of 2 molecules start above 3 Å"):
        escape_rate(heights[1:], 2000.0, 3.0)


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
