"""Diffusion and jumps between sites, against closed forms and against made-up tracks."""

from typing import NamedTuple

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator
from scipy.special import i0

from sikff.surface import find_sites
from sikff.surface.wallpaper import Wallpaper
from sikff.training.evaluation.vibrations import harmonic_frequencies
from sikff.training.simulation.diffusion import diffusion_coefficient
from sikff.training.simulation.jumps import count_jumps, visited_sites
from sikff.training.simulation.rates import counted_rate, flux_rate, harmonic_rate
from sikff.training.simulation.surface_friction import LocalLangevin
from sikff.training.simulation.tracks import centres_of_mass
from surface_potentials import MASS, SIDE, CosineLattice, atoms_at

TEMPERATURE = 580.0
KT = units.kB * TEMPERATURE
SQUARE = SIDE * np.eye(2)
SITES = [[0.0, 0.0]]


class Run(NamedTuple):
    tracks: np.ndarray
    interval: float


def run(calculator: Calculator, friction: float, step: float, steps: int, every: int) -> Run:
    """Dynamics of independent atoms that start in equilibrium at sites, friction in 1/fs."""
    rng, count = np.random.default_rng(0), 240
    atoms = atoms_at(np.zeros((count, 3)), TEMPERATURE, rng)
    atoms.calc = calculator
    frictions = np.full(count, friction / units.fs)
    dynamics = LocalLangevin(atoms, step * units.fs, TEMPERATURE, lambda _: frictions, rng)
    dynamics.run(round(400 / step))
    tracks: list[np.ndarray] = []
    dynamics.attach(lambda: tracks.append(atoms.positions.copy()), interval=every)
    dynamics.run(steps)
    return Run(np.array(tracks[1:]), every * step)


@pytest.fixture(scope="module")
def hopping() -> Run:
    return run(CosineLattice(4 * KT), friction=0.03, step=4.0, steps=2500, every=4)


def test_atoms_in_a_cosine_lattice_jump_less_often_than_transition_state_theory_says(
    hopping: Run,
) -> None:
    """By about Kramers' factor, for those that turn back."""
    jumps = count_jumps(visited_sites(hopping.tracks, SQUARE, SITES), hopping.interval)
    theory = CosineLattice(4 * KT).jump_rate(TEMPERATURE)
    frequency = 2 * np.pi / SIDE * np.sqrt(2 * KT / MASS) * units.fs  # at the saddle, 1/fs
    damping = 0.03 / (2 * frequency)
    kramers = np.sqrt(1 + damping**2) - damping
    assert jumps.rate.events > 500
    assert jumps.rate.error == pytest.approx(jumps.rate.events**-0.5 * jumps.rate.value)
    assert jumps.rate.value + 3 * jumps.rate.error < theory
    assert jumps.rate.value / theory == pytest.approx(kramers, rel=0.2)
    lengths = np.linalg.norm(jumps.steps, axis=1)
    assert np.bincount(np.round(lengths / SIDE).astype(int))[1] > 0.95 * len(lengths)


def test_diffusion_from_jumps_is_that_from_displacements(hopping: Run) -> None:
    jumps = count_jumps(visited_sites(hopping.tracks, SQUARE, SITES), hopping.interval)
    found = diffusion_coefficient(hopping.tracks, hopping.interval, lags=(1.0, 3.0))
    assert found.error < 0.12 * found.coefficient
    assert found.coefficient == pytest.approx(jumps.diffusion, abs=3.5 * found.error)


def test_strong_friction_gives_the_diffusion_of_lifson_and_jackson() -> None:
    """D = kT / (m gamma) / I_0(barrier / 2kT)^2, up to inertia; x coth x is of the time step."""
    tracks, interval = run(CosineLattice(2 * KT), friction=0.25, step=4.0, steps=2500, every=10)
    found = diffusion_coefficient(tracks, interval, lags=(0.5, 2.5))
    free = KT / MASS / 0.25 * (1000 * units.fs) ** 2 / 1000 * 0.5 / np.tanh(0.5)  # Å²/ps
    assert found.error < 0.06 * found.coefficient
    assert found.coefficient == pytest.approx(free / i0(1.0) ** 2, rel=0.12)
    assert found.displacements[-1] > found.displacements[0] > 0
    assert (np.diff(found.lags) > 0).all()


def test_a_random_walk_has_its_diffusion_and_error() -> None:
    """Steps across the plane do not count; a lone molecule is cut into blocks."""
    rng, spread, interval = np.random.default_rng(0), 0.2, 10.0
    expected = spread**2 / (2 * interval / 1000)
    normal = np.array([1.0, 2.0, 2.0]) / 3
    for count, length in ((64, 4000), (1, 60000)):
        steps = spread * rng.standard_normal((length, count, 3))
        steps += normal * rng.standard_normal((length, count, 1))
        tracks = np.cumsum(steps, axis=0)
        found = diffusion_coefficient(tracks, interval, lags=(0.05, 1.0), normal=normal)
        assert found.error < 0.15 * expected
        assert abs(found.coefficient - expected) < 4 * found.error
        still = diffusion_coefficient(tracks * 0, interval, lags=(0.05, 1.0))
        assert (still.coefficient, still.error) == (0.0, 0.0)


def test_tracks_that_are_too_short_raise() -> None:
    with pytest.raises(ValueError, match=r"30 frames in 8 blocks are 0.02 ps each, too short"):
        diffusion_coefficient(np.zeros((30, 1, 3)), 10.0)
    with pytest.raises(ValueError, match="too short for lags from 1 to 2 ps"):
        diffusion_coefficient(np.zeros((30, 9, 3)), 10.0, lags=(1.0, 2.0))
    with pytest.raises(ValueError, match=r"shape \(30, 3\); expected \[frames, molecules, 3\]"):
        diffusion_coefficient(np.zeros((30, 3)), 10.0)


def test_the_harmonic_rate_is_that_of_the_frequencies_of_the_potential() -> None:
    """omega / 2 pi exp(-barrier / kT) for each of four saddles; exact in the cold."""
    calculator = CosineLattice(0.2)
    found = []
    for x in (0.0, SIDE / 2):
        atoms = atoms_at(np.array([[x, 0.0, 0.0]]), 0.0, np.random.default_rng(0))
        atoms.calc = calculator
        found.append(harmonic_frequencies(atoms, step=1e-3).wavenumbers)
    frequency = np.sqrt(0.1 / MASS) / SIDE * 1000 * units.fs  # omega / 2 pi, 1/ps
    for temperature in (60.0, 300.0):
        rate = harmonic_rate(0.2, *found, temperature, paths=4)
        kt = units.kB * temperature
        assert rate == pytest.approx(4 * frequency * np.exp(-0.2 / kt), rel=1e-4)
        exact = calculator.jump_rate(temperature)
        assert rate / exact == pytest.approx(1, abs=kt / 0.2)
        assert rate > exact


def test_modes_that_are_no_minimum_or_no_saddle_raise() -> None:
    with pytest.raises(ValueError, match="lowest wavenumber at the minimum is -5"):
        harmonic_rate(0.1, [-5.0, 20.0], [-30.0, 20.0], 300.0)
    with pytest.raises(ValueError, match=r"has 2 modes, 2 of them not positive; expected 2"):
        harmonic_rate(0.1, [5.0, 20.0], [-30.0, -20.0], 300.0)
    with pytest.raises(ValueError, match="has 1 modes, 1 of them"):
        harmonic_rate(0.1, [5.0, 20.0], [-30.0], 300.0)


def test_rates_of_counts_have_errors_of_poisson() -> None:
    rate = counted_rate(100, 50.0)
    assert (rate.value, rate.error) == pytest.approx((2.0, 0.2))
    assert counted_rate(0, 50.0)[:2] == pytest.approx((0.0, 0.02))
    with pytest.raises(ValueError, match="the time is 0"):
        counted_rate(0, 0.0)
    mean = np.sqrt(KT / (2 * np.pi * MASS)) * 1000 * units.fs
    assert flux_rate(0.3, MASS, TEMPERATURE) == pytest.approx(0.3 * mean)


@pytest.mark.parametrize(
    ("wallpaper", "lattice", "which"),
    [
        ("p4mm", [[3.0, 0, 0], [0, 3.0, 0]], 0),
        ("p6mm", [[2.5, 0, 0], [-1.25, 2.165063509, 0]], 1),  # two hollow sites
        ("p1", [[3.0, 0, 0], [7.1, 3.2, 0]], None),  # far from reduced
        ("p2mm", [[0, 3.0, 0], [0, 0, 4.0]], 0),  # another plane
    ],
)
def test_sites_are_found_whatever_the_lattice(
    wallpaper: str, lattice: list, which: int | None
) -> None:
    """A walk over sites of random cells, with noise and excursions that are no jumps."""
    group, rng = Wallpaper(wallpaper, lattice), np.random.default_rng(0)
    sites = np.array([[0.2, 0.7]]) if which is None else find_sites(group)[which].positions
    vectors, origin = group.lattice, np.array([0.3, -0.2, 1.0])
    across = np.cross(*vectors) / np.linalg.norm(np.cross(*vectors))
    cells = rng.integers(-4, 5, (40, 3, 2))
    kinds = rng.integers(0, len(sites), (40, 3))
    points = (cells + sites[kinds]) @ vectors + origin
    noise = 0.2 * rng.standard_normal((40, 3, 1)) * vectors[0] / np.linalg.norm(vectors[0])
    tracks = points + 0.3 * np.tanh(noise) + rng.normal(size=(40, 3, 1)) * across
    tracks[10:20] += 0.5 * vectors.sum(axis=0)  # between sites, where the last one counts
    if which is None:
        tracks[10:20] += 0.07 * vectors[0]
    found = visited_sites(tracks, vectors, sites, origin=origin, core=0.4)
    if which != 1:
        assert np.abs(found[:10] - points[:10]).max() < 1e-9
        assert np.abs(found[10:20] - points[9]).max() < 1e-9
    assert np.abs(found[20:] - points[20:]).max() < 1e-9
    jumps = count_jumps(found[20:], 500.0)
    moved = np.linalg.norm(np.diff(points[20:], axis=0), axis=-1) > 0.1
    assert jumps.rate.events == moved.sum() > 30
    assert jumps.rate.time == pytest.approx(3 * 19 * 0.5)
    squares = (jumps.steps**2).sum(axis=1).mean()
    assert jumps.diffusion == pytest.approx(jumps.rate.value * squares / 4)


def test_a_molecule_that_turns_back_has_not_jumped() -> None:
    x = np.array([1.2, 0.1, 0.9, 1.4, 1.7, 1.3, 0.3, 1.4, 2.4, 1.5, 2.6])
    tracks = np.zeros((len(x), 1, 3))
    tracks[:, 0, 0] = x
    visited = visited_sites(tracks, SQUARE, SITES)
    assert np.isnan(visited[0]).all()
    assert visited[1:, 0, 0].tolist() == [0.0] * 7 + [2.5] * 3
    jumps = count_jumps(visited, 1000.0)
    assert (jumps.rate.events, jumps.rate.time) == (1, 9.0)
    assert jumps.steps.tolist() == [[2.5, 0.0, 0.0]]
    with pytest.raises(ValueError, match=r"below 1\.25 Å, half of the shortest distance"):
        visited_sites(tracks, SQUARE, SITES, core=1.3)
    with pytest.raises(ValueError, match=r"below 0\.625 Å"):
        visited_sites(tracks, SQUARE, [[0, 0], [0.5, 0.0]], core=0.7)
    with pytest.raises(ValueError, match="expected a longer trajectory"):
        count_jumps(np.full((5, 1, 3), np.nan), 1.0)


@pytest.mark.parametrize("wrapped", [False, True])
def test_centres_of_mass_cross_periodic_boundaries(wrapped: bool) -> None:
    cell = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [0, 0, 20.0]])
    velocity = np.array([[0.31, -0.43, 0.0], [-0.6, 0.2, 0.1]])
    water = np.array([[0, 0, 0], [0.76, 0.1, 0.59], [-0.76, 0, 0.59]])
    frames, expected = [], []
    for k in range(60):
        molecules = [
            water + start + k * v for start, v in zip(([1, 1, 2], [2, 3, 4]), velocity, strict=True)
        ]
        atoms = ase.Atoms("OH2OH2", np.concatenate(molecules), cell=cell, pbc=(True, True, False))
        expected.append([atoms[:3].get_center_of_mass(), atoms[3:].get_center_of_mass()])
        if wrapped and k:
            atoms.wrap()
        frames.append(atoms)
    assert np.abs(centres_of_mass(frames, 3) - expected).max() < 1e-9
    with pytest.raises(ValueError, match="molecules of 4 atoms do not add up to the 6"):
        centres_of_mass(frames, 4)
    with pytest.raises(ValueError, match="frame 1 holds other atoms"):
        centres_of_mass([frames[0], frames[1][[1, 0, 2, 3, 4, 5]]], 3)
    with pytest.raises(ValueError, match="got no frames"):
        centres_of_mass([], 3)
