"""The Bayes error for hidden springs: against Gaussian densities, and below other predictions."""

from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from sikff.training.studies.nbody import bayes_error
from sikff.training.studies.nbody.bayes_error import (
    all_graphs,
    bayes_prediction,
    posterior_springs,
    predict,
    squared_errors,
)
from sikff.training.studies.nbody.particle_systems import Charged, Springs, Trajectories, simulate
from tolerances import TOLERANCES

TOLERANCE = TOLERANCES[torch.float64]


def log_density(t: Trajectories, trajectory: int, graph: np.ndarray) -> float:
    """Of the observed state under a graph, coordinate by coordinate, for an axis along z.

    The state (x, v, 1) at the start is (A, b; 0, 1) times the initial one, whose prior is Gaussian:
    the covariance is A S A^T, and the mean is b.
    """
    n = len(graph)
    stiffness = t.system.stiffness
    prior = np.diag([0.25] * n + [0.25 / 3] * n)
    laplacian = np.diag(graph.sum(axis=1)) - graph
    total = 0.0
    for c in range(3):
        k = stiffness if c == 2 else 0.0
        generator = np.zeros((2 * n + 1, 2 * n + 1))
        generator[:n, n:-1] = np.eye(n)
        generator[n:-1, :n] = -0.1 * laplacian - k * np.eye(n)
        generator[n:-1, -1] = k * t.attributes.lengths[trajectory]
        flow = expm(t.times[0] * generator)
        state = np.concatenate([t.positions[trajectory, :, c], t.velocities[trajectory, :, c]])
        A, b = flow[:-1, :-1], flow[:-1, -1]
        total += multivariate_normal(b, A @ prior @ A.T).logpdf(state)
    return total


def test_all_graphs() -> None:
    graphs = all_graphs(4)
    assert graphs.shape == (64, 4, 4)
    assert len(np.unique(graphs, axis=0)) == 64
    assert set(np.unique(graphs)) == {0.0, 1.0}
    assert (graphs == graphs.transpose(0, 2, 1)).all()
    assert not np.einsum("gii", graphs).any()


@pytest.mark.parametrize("stiffness", [0.0, 5.0])
def test_the_posterior_is_that_of_gaussian_densities(stiffness: float) -> None:
    t = simulate(Springs(stiffness), 3, n_particles=3)
    tilted = simulate(Springs(stiffness), 3, n_particles=3, axis=(1, 2, 2))
    graphs = all_graphs(3)
    found = posterior_springs(t)
    for trajectory in range(3):
        density = np.exp([log_density(t, trajectory, graph) for graph in graphs])
        expected = np.einsum("g,gij->ij", density / density.sum(), graphs)
        assert np.abs(found[trajectory] - expected).max() < TOLERANCE.parity
    assert np.ptp(found) > 0.2
    assert np.abs(posterior_springs(tilted) - found).max() < TOLERANCE.parity


def test_the_posterior_of_the_initial_state_is_the_prior() -> None:
    pairs = np.triu_indices(4, 1)
    found = posterior_springs(simulate(Springs(2.0), 3, n_particles=4, frames=(0, 1)))
    assert np.abs(found[:, *pairs] - 0.5).max() < TOLERANCE.parity


def test_first_order_is_enough_where_the_plane_is_stiff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways at a stiffness that clips nothing, so that the closed form is right."""
    t = simulate(Springs(24.0), 20, n_particles=4)
    closed = posterior_springs(t)
    monkeypatch.setattr(bayes_error, "STIFF", 0.0)
    first_order = posterior_springs(t)
    assert 0 < np.abs(first_order - closed).max() < 0.01  # of a probability
    assert np.ptp(closed) > 0.5


def test_the_true_springs_give_the_target_though_forces_are_clipped() -> None:
    t = simulate(Springs(1000.0), 5, axis=(1, 2, 2), frames=(3, 13))
    prediction = predict(t, t.attributes.springs)
    assert np.abs(prediction - t.target_positions).max() < TOLERANCE.parity
    assert squared_errors(t, prediction).shape == (5,)


@pytest.mark.parametrize(
    ("stiffness", "expected"), [(0.0, 0.00115), (10.0, 0.00082), (200.0, 0.0008)]
)
def test_the_bayes_error_is_near_its_reference_and_below_that_of_half_springs(
    stiffness: float, expected: float
) -> None:
    """Below the mean spring; near what 1500 trajectories gave, within four standard errors."""
    t = simulate(Springs(stiffness), 100, seed=1)
    bayes = squared_errors(t, bayes_prediction(t))
    half_springs = np.tile((np.ones((5, 5)) - np.eye(5)) / 2, (100, 1, 1))
    mean_spring = squared_errors(t, predict(t, half_springs))
    assert abs(bayes.mean() - expected) < 4 * bayes.std() / 10
    assert bayes.mean() < 0.7 * mean_spring.mean()


def test_systems_without_a_bayes_error_raise() -> None:
    charged = simulate(Charged(), 2, frames=(0, 1))
    for function in (posterior_springs, bayes_prediction, partial(predict, springs=None)):
        with pytest.raises(ValueError, match="expected trajectories of Springs"):
            function(charged)
    many = simulate(Springs(), 2, n_particles=7, frames=(0, 1))
    with pytest.raises(ValueError, match="at most 6 particles; got 7"):
        posterior_springs(many)
