"""Normal modes against the matrix exponential, and the simulator against normal modes."""

import numpy as np
import pytest
import torch
from scipy.linalg import expm

from sikff.training.studies.nbody.normal_modes import HarmonicMotion, hessians
from sikff.training.studies.nbody.particle_systems import Springs, Trajectories, simulate
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]


def solved(t: Trajectories, time: float) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities [T, n, 3] a time after the first frame, in closed form."""
    across, along = np.eye(3) - np.outer(t.axis, t.axis), t.axis[:, None]
    in_plane, on_axis = (
        HarmonicMotion.after(time, hessian)
        for hessian in hessians(t.attributes.springs, t.system.stiffness)
    )
    force = t.system.stiffness * t.attributes.lengths[..., None]
    x, v = in_plane(t.positions @ across, t.velocities @ across)
    height, climb = on_axis(t.positions @ along, t.velocities @ along, force)
    return x + height * t.axis, v + climb * t.axis


@pytest.mark.parametrize("time", [0.7, -2.0])
@pytest.mark.parametrize("shift", [0.0, 5.0], ids=["free", "held"])
def test_harmonic_motion_is_the_matrix_exponential(shift: float, time: float) -> None:
    """Of y' = A y with y = (x, v, f), on a chain of three and one free particle."""
    hessian = shift * np.eye(4)
    hessian[:3, :3] += [[1, -1, 0], [-1, 2, -1], [0, -1, 1]]
    x, v, f = np.random.default_rng(0).normal(size=(3, 4, 2))
    generator = np.zeros((12, 12))
    generator[:4, 4:8] = np.eye(4)
    generator[4:8, :4] = -hessian
    generator[4:8, 8:] = np.eye(4)
    expected = (expm(time * generator) @ np.concatenate([x, v, f]))[:8]
    found = np.concatenate(HarmonicMotion.after(time, hessian)(x, v, f))
    assert np.abs(found - expected).max() < TOLERANCE.algebra * np.abs(expected).max()


@pytest.mark.parametrize("stiffness", [0.0, 10.0])
def test_the_simulation_is_right_to_second_order(stiffness: float) -> None:
    errors = []
    for dt in (0.01, 0.005):
        t = simulate(Springs(stiffness), 8, axis=(1, 2, 2), frames=(3, 13), dt=dt)
        x, v = solved(t, 1.0)
        error = (np.abs(x - t.target_positions).max(), np.abs(v - t.target_velocities).max())
        errors.append(error)
    assert max(errors[0]) < 1e-2
    assert (np.round(np.log2(np.divide(*errors)), 1) == 2.0).all()


def test_a_negative_time_inverts_the_motion() -> None:
    t = simulate(Springs(4.0), 5, axis=(1, 2, 2), frames=(0, 1))
    x, v = solved(t, 2.0)
    there = Trajectories(**(vars(t) | {"positions": x, "velocities": v}))
    for back, start in zip(solved(there, -2.0), (t.positions, t.velocities), strict=True):
        assert np.abs(back - start).max() < TOLERANCE.parity
    assert np.abs(x - t.positions).max() > 0.1


def test_clipping_leaves_the_closed_form() -> None:
    errors = {}
    for stiffness in (10.0, 1000.0):
        t = simulate(Springs(stiffness), 10, frames=(0, 5))
        off = np.abs(solved(t, 0.5)[0] - t.target_positions).max(axis=(0, 1))
        errors[stiffness] = off
    assert errors[10.0].max() < 1e-5
    assert errors[1000.0][2] > 0.1
    assert errors[1000.0][:2].max() < 1e-5, "no force across the axis comes near the limit"
