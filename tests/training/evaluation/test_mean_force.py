"""Potentials of mean force: integrals against closed forms, trajectories against integrals."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase import units

from corrugated import NORMAL, ORIGIN, SIDE, SQUARE, Corrugated, adsorbate, lowest
from sikff.training.evaluation.adsorbate import Adsorbate, Surface
from sikff.training.evaluation.mean_force import (
    MeanForce,
    PlaceMap,
    from_trajectory,
    integrate,
    largest_difference,
    molecules_in,
)
from sikff.training.evaluation.mean_force_files import describe, draw_mean_force, save_tables
from sikff.training.evaluation.place_grid import PlaceGrid
from sikff.training.evaluation.rigid_samples import energies_of
from sikff.training.evaluation.trajectories import read_trajectories

TEMPERATURE, HIGHEST = 300.0, 6.0
KT = units.kB * TEMPERATURE
HALVES = np.array([[0, 0], [0, 0.5], [0.5, 0.5]])


def energies(positions: np.ndarray) -> np.ndarray:
    """Of many atoms [B, 1, 3] at once."""
    return potential(positions[:, 0].T)[0]


def potential(positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies and forces of many atoms, positions [3, ...]."""
    r = positions - ORIGIN.reshape(3, *[1] * (positions.ndim - 1))
    return Corrugated().of_first(r)


@pytest.fixture(scope="module")
def integrated() -> MeanForce:
    return integrate(adsorbate(), energies, TEMPERATURE, HIGHEST, n=12)


@pytest.fixture(scope="module")
def frames() -> list[ase.Atoms]:
    """1000 atoms in equilibrium, by Metropolis' algorithm."""
    rng = np.random.default_rng(0)
    r = ORIGIN[:, None] + rng.uniform([[0], [0], [2.3]], [[SIDE], [SIDE], [2.8]], (3, 1000))
    energy, found = potential(r)[0], []
    for step in range(4000):
        trial = r + rng.normal(scale=0.35, size=r.shape)
        new = potential(trial)[0]
        height = trial[2] - ORIGIN[2]
        accepted = (rng.random(1000) < np.exp(-(new - energy) / KT)) & (height < HIGHEST)
        accepted &= height > 0
        r, energy = np.where(accepted, trial, r), np.where(accepted, new, energy)
        if step >= 200 and step % 20 == 0:
            found.append(ase.Atoms("Ar1000", r.T))
    return found


def test_the_integral_over_heights_is_that_of_a_fine_quadrature(integrated: MeanForce) -> None:
    heights = (np.arange(60000) + 0.5) * 1e-4
    for place, value in ((0, (0.0, 0.0)), (6, (0.0, 0.5)), (78, (0.5, 0.5))):
        points = np.zeros((3, len(heights))) + ORIGIN[:, None]
        points[:2] += SIDE * np.array(value)[:, None]
        points[2] += heights
        direct = -KT * np.log(np.exp(-potential(points)[0] / KT).sum() * 1e-4)
        if place == 0:
            first = direct
        assert integrated.places.values.flat[place] == pytest.approx(direct - first, abs=1e-5)
    assert integrated.places.values.max() > 2 * KT
    assert integrated.places.errors.max() == 0


def test_the_profile_is_measured_from_vacuum(integrated: MeanForce) -> None:
    depth = integrated.vacuum - np.interp(5.9, integrated.heights, integrated.profile)
    x = (np.stack(np.meshgrid(*[np.arange(60)] * 2), axis=0).reshape(2, -1)) / 60 * SIDE
    points = np.vstack([x, np.full(x.shape[1], 5.9)]) + ORIGIN[:, None]
    direct = KT * np.log(np.exp(-potential(points)[0] / KT).mean())
    assert depth == pytest.approx(direct, abs=2e-3)


def test_a_trajectory_shows_the_mean_force_within_2_mev(
    integrated: MeanForce, frames: list[ase.Atoms]
) -> None:
    observed = from_trajectory(adsorbate(), frames, TEMPERATURE, HIGHEST, n=12)
    apart, scaled = largest_difference(
        observed.places, integrated.averaged_places(), KT, within=4 * KT
    )
    assert apart < 2e-3
    assert scaled < 2, "errors are as large as they are said to be"
    assert 0 < np.nanmax(observed.places.errors) < 2e-3
    deep = integrated.profile < 3 * KT
    assert observed.profile[deep] == pytest.approx(integrated.profile[deep], abs=4e-3)


def test_averages_over_the_cells_of_places_are_those_of_a_histogram() -> None:
    def density(x: np.ndarray) -> np.ndarray:
        return 1 + 0.5 * np.cos(2 * np.pi * x[..., 0]) + 0.3 * np.cos(2 * np.pi * x.sum(axis=-1))

    grid = PlaceGrid(SQUARE, 6)
    within = (np.stack(np.meshgrid(*[np.arange(40)] * 2), axis=-1) + 0.5) / 40 - 0.5
    cells = density(grid.places[:, None, None] + within / 6).mean(axis=(1, 2)).reshape(6, 6)
    values = -KT * np.log(density(grid.places).reshape(6, 6))
    places = PlaceMap(grid, values, 0 * values)
    found = MeanForce(TEMPERATURE, np.ones(1), np.ones(1), np.ones(1), places).averaged_places()
    expected = -KT * np.log(cells)
    assert found.values == pytest.approx(expected - expected.min(), abs=1e-5)
    assert abs(found.values - values + values.min()).max() > 1e-3


def test_samples_of_a_molecule_agree_with_the_closed_form() -> None:
    """A dipole in the field of a wall: the mean of exp(-b cos / kT) is sinh(b / kT) kT / b."""
    tilts = 0.15
    pair, atom = adsorbate("ClH", tilts=tilts), adsorbate()

    def of_pair(positions: np.ndarray) -> np.ndarray:
        along = positions[:, 1] - positions[:, 0]
        cosines = along @ NORMAL / np.linalg.norm(along, axis=1)
        return energies(positions) + tilts * cosines

    pair.floors = np.full(2, -9.0)
    found = integrate(pair, of_pair, TEMPERATURE, HIGHEST, n=2, samples=2048)
    exact = integrate(atom, energies, TEMPERATURE, HIGHEST, n=2)
    gain = KT * np.log(np.sinh(tilts / KT) * KT / tilts)
    apart = found.places.values - exact.places.values
    assert abs(apart).max() < 4 * found.places.errors.max()
    assert 1e-4 < found.places.errors.max() < 2e-3
    assert found.vacuum - exact.vacuum == pytest.approx(gain, abs=5e-3)


def test_strong_binding_at_low_temperature_does_not_overflow() -> None:
    found = integrate(adsorbate(), lambda r: 20 * energies(r), 20.0, HIGHEST, n=2)
    assert found.vacuum > 5
    assert found.places.values.max() == pytest.approx(20 * np.ptp(lowest(HALVES)), abs=0.01)


def test_energies_of_any_calculator_are_taken_one_by_one() -> None:
    atom = adsorbate()
    positions = ORIGIN + np.array([[[0.3, 0.1, 2.5]], [[1.5, 1.5, 3.0]]])
    assert energies_of(atom)(positions) == pytest.approx(energies(positions))


def test_wrapped_molecules_are_put_together_and_others_refused() -> None:
    free = ase.Atoms("ClH", [[0, 0, 0], [0, 0, 1.0]])
    pair = ase.Atoms("ClHClH", [[0.1, 0, 2], [5.9, 0, 2], [1, 1, 2], [1, 1, 3]], cell=[6, 6, 20])
    pair.pbc = (True, True, False)
    found = molecules_in([pair] * 10, free)
    assert found.shape == (10, 2, 2, 3)
    assert found[0, 0, 1] == pytest.approx([-0.1, 0, 2])
    with pytest.raises(ValueError, match="expected molecules with the atoms Cl H"):
        molecules_in([ase.Atoms("HCl")] * 10, free)
    with pytest.raises(ValueError, match="got 3 frames"):
        molecules_in([pair] * 3, free)
    with pytest.raises(ValueError, match="different numbers"):
        molecules_in([pair] * 10 + [pair[:2]], free)


def test_a_temperature_that_momenta_do_not_have_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    atoms = ase.Atoms("Ar200", rng.uniform(0, 50, (200, 3)))
    atoms.set_momenta(rng.normal(size=(200, 3)) * np.sqrt(units.kB * 300 * 39.948))
    ase.io.write(tmp_path / "md.traj", [atoms] * 20)
    assert len(read_trajectories([tmp_path / "md.traj"], 0.1, 300.0)) == 18
    with pytest.warns(UserWarning, match="but the temperature given is 450 K"):
        read_trajectories([tmp_path / "md.traj"], 0.1, 450.0)


def test_flat_surfaces_have_a_profile_only_and_nothing_is_lost_in_files(
    tmp_path: Path, integrated: MeanForce, frames: list[ase.Atoms]
) -> None:
    atom = adsorbate()
    flat = Adsorbate(atom.free, Surface(None, ORIGIN, NORMAL), atom.calculator, info=atom.info)
    profile = integrate(flat, energies, TEMPERATURE, HIGHEST)
    observed = from_trajectory(flat, frames[:20], TEMPERATURE, HIGHEST)
    assert profile.places is observed.places is None
    assert len(describe(profile, observed)) == 1
    assert save_tables(tmp_path / "flat", profile, observed) == [tmp_path / "flat/profile.csv"]
    assert len(draw_mean_force(flat, profile, observed).axes) == 1
    seen = from_trajectory(atom, frames[:20], TEMPERATURE, HIGHEST)
    assert any("standard errors in the mean" in line for line in describe(integrated, seen))
    save_tables(tmp_path, integrated, seen)
    table = np.genfromtxt(tmp_path / "map.csv", delimiter=",", names=True)
    assert table["F_meV"] == pytest.approx(1000 * integrated.places.values.ravel(), abs=1e-3)
    assert table["F_trajectory_meV"].min() == 0
    assert len(draw_mean_force(atom, integrated, seen).axes) == 4
    with pytest.raises(ValueError, match="expected positive numbers"):
        integrate(atom, energies, -1.0, HIGHEST)
