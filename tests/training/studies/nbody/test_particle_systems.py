"""The simulator against plain loops, conservation laws and the symmetry it claims."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sikff.training.studies.nbody.particle_systems import (
    Charged,
    Springs,
    Trajectories,
    leapfrog,
    simulate,
)
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]
SYSTEMS = [Springs(stiffness=3.0), Charged(field=2.0)]
SMOOTH = [Springs(stiffness=3.0), Charged(field=2.0, softening=0.5)]  # resolved by the time step
Z = np.array([0.0, 0.0, 1.0])

by_name = {"ids": lambda system: type(system).__name__}


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for the order of sums."""
    return bool(np.abs(a - b).max() <= TOLERANCE.parity * max(1, np.abs(b).max()))


def energies(t: Trajectories, positions: np.ndarray, velocities: np.ndarray) -> np.ndarray:
    """Total energy [T] by the textbook, for an axis along z, pair by pair."""
    springs, lengths, charges = t.attributes
    total = (velocities**2).sum(axis=(1, 2)) / 2
    for i in range(positions.shape[1]):
        z = positions[:, i, 2]
        if isinstance(t.system, Springs):
            total += t.system.stiffness * (z - lengths[:, i]) ** 2 / 2
        else:
            total -= t.system.field * charges[:, i] * z
        for j in range(i):
            squared = ((positions[:, i] - positions[:, j]) ** 2).sum(axis=1)
            if isinstance(t.system, Springs):
                total += 0.1 * springs[:, i, j] * squared / 2
            else:
                product = charges[:, i] * charges[:, j]
                total += product / np.sqrt(squared + t.system.softening**2)
    return total


@pytest.mark.parametrize("system", SYSTEMS, **by_name)
def test_a_trajectory_does_not_depend_on_how_many_are_drawn(system: Springs | Charged) -> None:
    options = {"n_particles": 9, "seed": 3, "frames": (1, 2), "axis": (1, 2, 2)}
    many = simulate(system, 20, **options)
    for count in (1, 7):
        few = simulate(system, count, **options)
        assert len(few) == count
        for name in ("positions", "velocities", "target_positions", "target_velocities"):
            # exact but for numpy 1.26, which sums arrays of other lengths in another order
            some, expected = getattr(few, name), getattr(many, name)[:count]
            assert np.abs(some - expected).max() <= TOLERANCE.rounding * np.abs(expected).max()
        for mine, all_of_them in zip(few.attributes, many.attributes, strict=True):
            np.testing.assert_array_equal(mine, all_of_them[:count])
    assert not np.allclose(many.positions[0], many.positions[1])
    other = simulate(system, 20, **(options | {"seed": 4}))
    assert not np.allclose(many.positions, other.positions)


@pytest.mark.parametrize("axis", [(1, 2, 2), (0, 0, -3)], ids=str)
@pytest.mark.parametrize("system", SYSTEMS, **by_name)
def test_a_tilted_axis_gives_the_same_trajectories_rotated(
    system: Springs | Charged, axis: tuple[float, ...]
) -> None:
    upright = simulate(system, 4, frames=(3, 6))
    tilted = simulate(system, 4, frames=(3, 6), axis=axis)
    unit = np.array(axis) / np.linalg.norm(axis)
    about = np.cross(Z, unit) if axis != (0, 0, -3) else np.array([1.0, 0.0, 0.0])
    turn = Rotation.from_rotvec(about / np.linalg.norm(about) * np.arccos(unit[2])).as_matrix()
    assert close(tilted.axis, unit)
    assert close(tilted.target_positions, upright.target_positions @ turn.T)
    assert close(tilted.velocities, upright.velocities @ turn.T)
    assert not np.allclose(tilted.positions, upright.positions)


@pytest.mark.parametrize("system", SYSTEMS, **by_name)
def test_the_initial_state(system: Springs | Charged) -> None:
    t = simulate(system, 4000, n_particles=3, frames=(0, 1))
    assert close(np.linalg.norm(t.velocities, axis=-1), np.full((4000, 3), 0.5))
    spread = 0.5 if isinstance(system, Springs) else 1.0
    sampling = 4 / np.sqrt(t.positions.size)  # four standard errors
    assert abs(t.positions.std() / spread - 1) < sampling
    assert abs(t.velocities.mean()) < sampling
    springs, lengths, charges = t.attributes
    if isinstance(system, Springs):
        assert not charges.any()
        assert (springs == springs.transpose(0, 2, 1)).all() and not springs[
            :, [0, 1], [0, 1]
        ].any()
        assert abs(springs[:, [0, 0, 1], [1, 2, 2]].mean() - 0.5) < sampling
        assert lengths.min() >= 0 and lengths.max() < 1 and abs(lengths.mean() - 0.5) < sampling
    else:
        assert not springs.any() and not lengths.any()
        assert set(np.unique(charges)) == {-1.0, 1.0} and abs(charges.mean()) < 2 * sampling


def test_frames_are_a_tenth_of_a_unit_apart() -> None:
    t = simulate(Springs(1.0), 2, frames=(2, 3))
    start = simulate(Springs(1.0), 2, frames=(0, 3))
    assert t.times == (0.2, pytest.approx(0.3))
    assert close(t.target_positions, start.target_positions)
    moved = t.target_positions - t.positions
    mean_velocity = (t.target_velocities + t.velocities) / 2
    assert np.abs(moved - 0.1 * mean_velocity).max() < 1e-2 * np.abs(moved).max()


@pytest.mark.parametrize("system", SMOOTH, **by_name)
def test_energy_is_conserved_to_second_order(system: Springs | Charged) -> None:
    drifts = []
    for dt in (0.01, 0.005):
        t = simulate(system, 6, frames=(0, 20), dt=dt)
        before = energies(t, t.positions, t.velocities)
        after = energies(t, t.target_positions, t.target_velocities)
        drifts.append(np.abs(after - before).max() / np.abs(before).max())
    assert drifts[0] < 1e-2
    assert round(np.log2(drifts[0] / drifts[1]), 1) == 2.0


@pytest.mark.parametrize("system", [*SYSTEMS, Springs(0.0), Charged(0.0)], ids=repr)
def test_momenta_are_conserved_where_the_symmetry_says_so(system: Springs | Charged) -> None:
    """Momentum across the axis and angular momentum about it stay; the rest feels the axis."""
    t = simulate(system, 6, frames=(5, 10))
    before, after = t.velocities.sum(axis=1), t.target_velocities.sum(axis=1)
    assert close(after[:, :2], before[:, :2])
    turning_before = np.cross(t.positions, t.velocities).sum(axis=1)
    turning_after = np.cross(t.target_positions, t.target_velocities).sum(axis=1)
    assert close(turning_after[:, 2], turning_before[:, 2])
    if isinstance(system, Charged):
        push = system.field * t.attributes.charges.sum(axis=1) * (t.times[1] - t.times[0])
        assert close(after[:, 2] - before[:, 2], push)
    symmetric = system in (Springs(0.0), Charged(0.0))
    assert close(after[:, 2], before[:, 2]) == symmetric
    assert close(turning_after, turning_before) == symmetric


def test_coulomb_forces_pair_by_pair() -> None:
    system = Charged(field=2.0, softening=0.3)
    t = simulate(system, 2, n_particles=4, frames=(0, 1))
    forces = system.forces(t.attributes)(t.positions.transpose(2, 1, 0)).transpose(2, 1, 0)
    for trajectory, charges in enumerate(t.attributes.charges):
        for i in range(4):
            expected = 2.0 * charges[i] * Z
            for j in set(range(4)) - {i}:
                r = t.positions[trajectory, i] - t.positions[trajectory, j]
                expected = expected + charges[i] * charges[j] * r / (r @ r + 0.3**2) ** 1.5
            assert close(forces[trajectory, i], expected)


def test_each_component_of_a_force_is_clipped() -> None:
    pull = np.array([-1e6, 7.0, 101.0])
    x, v = np.zeros(3), np.zeros(3)
    leapfrog(x, v, lambda _: pull, 0.001, 200)
    assert close(v, 0.2 * np.array([-100.0, 7.0, 100.0]))
    assert close(x, 0.02 * np.array([-100.0, 7.0, 100.0]))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_trajectories": 0}, "at least; got 0 and 5"),
        ({"n_particles": 0}, "at least; got 3 and 0"),
        ({"axis": (0, 0, 0)}, "axis must be three finite numbers"),
        ({"axis": (0, 1)}, "axis must be three finite numbers"),
        ({"frames": (3, 3)}, "two rising numbers"),
        ({"frames": (-1, 3)}, "two rising numbers"),
        ({"dt": 0.03}, "dt must divide 0.1"),
        ({"dt": -0.1}, "dt must divide 0.1"),
    ],
    ids=str,
)
def test_invalid_arguments_raise(wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        simulate(Springs(), **({"n_trajectories": 3} | wrong))


def test_invalid_systems_raise() -> None:
    with pytest.raises(ValueError, match="stiffness must be finite and not negative; got -1"):
        Springs(-1)
    with pytest.raises(ValueError, match="field must be finite; got nan"):
        Charged(float("nan"))
    with pytest.raises(ValueError, match="softening must be finite and positive; got 0"):
        Charged(softening=0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Springs().stiffness = 1.0  # type: ignore[misc]
