"""The Bayes prediction of positions when the springs between the particles are hidden.

Integrated back in time under a graph of springs, the observed state gives an initial state, whose
density under a Gaussian prior is the graph's weight in the posterior. (There is no Jacobian, as the
motion conserves volume in phase space; the prior of graphs is uniform.) The prediction integrates
the motion under the posterior mean of the springs, which are so weak that the posterior mean of the
positions differs from it in second order only.

The initial speed is exactly 1/2, while its prior is a Gaussian of the same variance. The difference
is information about the springs, so the error is a lower bound for smooth predictors only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from sikff.groups.matrices import minimal_rotation

from .normal_modes import HarmonicMotion, hessians
from .particle_systems import INITIAL_SPEED, Springs, Trajectories, integrate, leapfrog

Array = np.ndarray

# Positions, velocities and constant forces [n, m] to positions and velocities under G graphs,
# [G, n, m].
Motion = Callable[[Array, Array, Array], tuple[Array, Array]]

MOST_PARTICLES = 6  # 2^15 graphs
STATES_AT_ONCE = 2**15  # graphs times trajectories: tens of megabytes

# From this stiffness on forces may be clipped, and then there is no closed form. Below, a particle
# would have to be 4 from the end of its spring: six standard deviations of the initial height.
STIFF = 25.0


def squared_errors(trajectories: Trajectories, prediction: Array) -> Array:
    """Mean squared error of each trajectory [T] for predicted positions [T, n, 3]."""
    return ((prediction - trajectories.target_positions) ** 2).mean(axis=(1, 2))


def bayes_prediction(trajectories: Trajectories) -> Array:
    """Positions [T, n, 3] in the second frame under :func:`posterior_springs` of the first."""
    return predict(trajectories, posterior_springs(trajectories))


def predict(trajectories: Trajectories, springs: Array) -> Array:
    """Positions [T, n, 3] in the second frame, from the first under given springs [T, n, n].

    A fraction is a weaker spring. The springs of the trajectories are not used.

    Raises:
        ValueError: the system is not one of springs.
    """
    start, end = trajectories.times
    rotation = minimal_rotation(trajectories.axis)
    positions, _ = integrate(
        _springs_only(trajectories),
        trajectories.attributes._replace(springs=springs),
        trajectories.positions @ rotation,
        trajectories.velocities @ rotation,
        time=end - start,
    )
    return positions @ rotation.T


def posterior_springs(trajectories: Trajectories) -> Array:
    """Posterior probability [T, n, n] that a pair is joined, given the state in the first frame.

    Raises:
        ValueError: the system is not one of springs, or has more than 6 particles.
    """
    stiffness = _springs_only(trajectories).stiffness
    n = trajectories.positions.shape[1]
    if n > MOST_PARTICLES:
        raise ValueError(
            "all 2^(n (n - 1) / 2) graphs of n particles are visited: expected at most "
            f"{MOST_PARTICLES} particles; got {n}"
        )
    graphs = all_graphs(n)
    across, along = hessians(graphs, stiffness)
    start, _ = trajectories.times
    back_across = HarmonicMotion.after(-start, across)
    back_along: Motion = HarmonicMotion.after(-start, along)
    if stiffness >= STIFF:
        back_along = partial(_clipped_motion, graphs, stiffness, -start)

    axis = trajectories.axis
    flat = np.eye(3) - np.outer(axis, axis)
    chunk_size = max(1, STATES_AT_ONCE // len(graphs))
    posterior = []
    for first in range(0, len(trajectories), chunk_size):
        chunk = slice(first, first + chunk_size)
        x, v = trajectories.positions[chunk], trajectories.velocities[chunk]
        pull = stiffness * trajectories.attributes.lengths[chunk]
        in_plane = (each.transpose(1, 0, 2).reshape(n, -1) for each in (x @ flat, v @ flat))
        log_weights = _log_prior(*back_along((x @ axis).T, (v @ axis).T, pull.T))
        log_weights += _log_prior(*back_across(*in_plane)).reshape(len(graphs), -1, 3).sum(axis=-1)
        weights = np.exp(log_weights - log_weights.max(axis=0))
        posterior.append(np.einsum("gt,gij->tij", weights / weights.sum(axis=0), graphs))
    return np.concatenate(posterior)


def all_graphs(n: int) -> Array:
    """Adjacency matrices [2^(n (n - 1) / 2), n, n] of all graphs on n particles, as 0 and 1."""
    pairs = np.triu_indices(n, 1)
    bits = np.arange(len(pairs[0]))
    graphs = np.zeros((2 ** len(bits), n, n))
    graphs[:, *pairs] = np.arange(len(graphs))[:, None] >> bits & 1
    return graphs + graphs.transpose(0, 2, 1)


def _springs_only(trajectories: Trajectories) -> Springs:
    """The system of springs; raises ValueError for another."""
    if not isinstance(trajectories.system, Springs):
        raise ValueError(
            f"expected trajectories of Springs, whose springs can be hidden; got "
            f"{trajectories.system}"
        )
    return trajectories.system


def _log_prior(x: Array, v: Array) -> Array:
    """Log-density [..., m] of initial coordinates [..., n, m], up to a constant."""
    position_variance = Springs.initial_spread**2
    velocity_variance = INITIAL_SPEED**2 / 3
    return -((x**2).sum(axis=-2) / position_variance + (v**2).sum(axis=-2) / velocity_variance) / 2


def _clipped_motion(
    graphs: Array, stiffness: float, time: float, x: Array, v: Array, f: Array
) -> tuple[Array, Array]:
    """The motion along the axis under clipped forces, to first order in the springs.

    It is integrated under half a spring for every pair, and with each pair's half spring made a
    whole one; where the plane is stiff, the springs change the motion so little that changes add.

    Args:
        graphs: [G, n, n].
        stiffness: of the springs to the plane.
        time: a multiple of 0.001.
        x, v, f: heights, their velocities and constant forces, [n, m].
    """
    i, j = np.triu_indices(len(x), 1)
    copies = (1 + len(i), 1, 1)
    changed = np.arange(len(i)) + 1
    springs = np.tile((1 - np.eye(len(x))) / 2, copies)
    springs[changed, i, j] = springs[changed, j, i] = 1
    _, hessian = hessians(springs, stiffness)
    state = np.tile(x, copies), np.tile(v, copies)
    dt = math.copysign(0.001, time)
    leapfrog(*state, lambda y: f - hessian @ y, dt, round(time / dt))

    # +1 where a pair is joined, -1 where it is not: half a spring more or less
    signs = 2 * graphs[:, i, j] - 1
    x, v = (each[0] + np.tensordot(signs, each[1:] - each[0], 1) for each in state)
    return x, v
