"""Trajectories of N particles whose surroundings single out an axis.

Everything is without units, and every mass is one. Frame f is the state at time f / 10.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from sikff.groups.matrices import minimal_rotation, unit_vector

Array = np.ndarray

SPRING_CONSTANT = 0.1
INITIAL_SPEED = 0.5
MAX_FORCE = 100.0
FRAME_INTERVAL = 0.1


class Attributes(NamedTuple):
    """Attributes of the n particles of T trajectories; those that a system lacks are zero.

    Attributes:
        springs: which pairs are joined, [T, n, n], boolean and symmetric.
        lengths: of the springs to the plane at rest, [T, n].
        charges: [T, n].
    """

    springs: Array
    lengths: Array
    charges: Array


@dataclass(frozen=True)
class Springs:
    """Particles joined by springs and held to a plane across the axis.

    Each pair is joined with probability 1/2; the force on i is then -0.1 (x_i - x_j). Each particle
    also hangs on a spring that slides freely in the plane: -stiffness (h_i - length_i) along the
    axis, with h_i its height above the plane and length_i uniform in [0, 1).

    Attributes:
        stiffness: of the springs to the plane; 0 leaves the full symmetry O(3).

    Raises:
        ValueError: a stiffness that is negative or not finite.
    """

    stiffness: float = 0.0
    initial_spread: ClassVar[float] = 0.5  # standard deviation of each coordinate

    def __post_init__(self) -> None:
        if not (math.isfinite(self.stiffness) and self.stiffness >= 0):
            raise ValueError(f"stiffness must be finite and not negative; got {self.stiffness}")

    def draw(self, stream: np.random.Generator, shape: tuple[int, int]) -> Attributes:
        """Random springs and lengths for a shape (T, n)."""
        spring_stream, length_stream = stream.spawn(2)
        n_trajectories, n = shape
        pairs = np.triu_indices(n, 1)
        springs = np.zeros((n_trajectories, n, n), dtype=bool)
        springs[:, *pairs] = spring_stream.random((n_trajectories, len(pairs[0]))) < 0.5
        springs |= springs.transpose(0, 2, 1)
        return Attributes(springs, length_stream.random(shape), np.zeros(shape))

    def forces(self, attributes: Attributes) -> Callable[[Array], Array]:
        """The forces [3, n, T] as a function of the positions [3, n, T], with the axis along z."""
        coupling = SPRING_CONSTANT * attributes.springs.transpose(1, 2, 0).astype(np.float64)
        lengths = attributes.lengths.T.copy()

        def forces(x: Array) -> Array:
            total = np.zeros_like(x)
            total[2] = -self.stiffness * (x[2] - lengths)
            for j in range(x.shape[1]):
                total -= coupling[j] * (x - x[:, j, None])
            return total

        return forces


@dataclass(frozen=True)
class Charged:
    """Charged particles in a uniform field along the axis.

    Charges are +1 or -1 with equal odds; the force on i is the sum of the softened Coulomb forces
    q_i q_j (x_i - x_j) / (r^2 + softening^2)^(3/2) and of q_i * field along the axis.

    The charged particles of the literature are not softened: close encounters are left to the
    clipping, which has no rotational symmetry and does not conserve energy. At the default
    softening a pair's force stays below 39 of the 100 that are clipped: energy is conserved and the
    symmetry is C_inf_v.

    Attributes:
        field: its strength; 0 leaves the full symmetry O(3).
        softening: distance below which the Coulomb force is weakened.

    Raises:
        ValueError: a field that is not finite, or a softening that is not finite and positive.
    """

    field: float = 1.0
    softening: float = 0.1
    initial_spread: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.field):
            raise ValueError(f"field must be finite; got {self.field}")
        if not (math.isfinite(self.softening) and self.softening > 0):
            raise ValueError(f"softening must be finite and positive; got {self.softening}")

    def draw(self, stream: np.random.Generator, shape: tuple[int, int]) -> Attributes:
        """Random charges for a shape (T, n)."""
        charges = np.where(stream.random(shape) < 0.5, 1.0, -1.0)
        return Attributes(np.zeros((*shape, shape[1]), dtype=bool), np.zeros(shape), charges)

    def forces(self, attributes: Attributes) -> Callable[[Array], Array]:
        """The forces [3, n, T] as a function of the positions [3, n, T], with the axis along z."""
        charges = attributes.charges.T.copy()

        def forces(x: Array) -> Array:
            total = np.zeros_like(x)
            total[2] = self.field * charges
            for j in range(x.shape[1]):
                separation = x - x[:, j, None]
                squared = (separation**2).sum(axis=0) + self.softening**2
                total += charges * charges[j] / (squared * np.sqrt(squared)) * separation
            return total

        return forces


@dataclass(frozen=True, eq=False)
class Trajectories:
    """T trajectories of n particles: the state in a first frame, and in a second as the target.

    Attributes:
        axis: unit vector of the symmetry axis, [3].
        times: of the two frames.
        positions, velocities: in the first frame, [T, n, 3].
        target_positions, target_velocities: in the second frame, [T, n, 3].
    """

    system: Springs | Charged
    axis: Array
    times: tuple[float, float]
    attributes: Attributes
    positions: Array
    velocities: Array
    target_positions: Array
    target_velocities: Array

    def __len__(self) -> int:
        return len(self.positions)


def simulate(
    system: Springs | Charged,
    n_trajectories: int,
    *,
    n_particles: int = 5,
    axis: Sequence[float] | Array = (0, 0, 1),
    seed: int = 0,
    frames: tuple[int, int] = (30, 40),
    dt: float = 0.001,
) -> Trajectories:
    """Draws initial states and integrates them by the leapfrog method, in float64.

    Initial positions are Gaussian, initial velocities have one speed and any direction. Each
    component of the force is clipped to +-100, in a frame whose z is the axis.

    A trajectory depends on the seed and on its number only, not on how many are drawn. Another axis
    gives the same trajectories, turned by the smallest rotation that takes z there.

    Args:
        axis: direction of the symmetry axis, [3], of any length.
        frames: the first frame and the second; frame 0 is the initial state.
        dt: time step; a frame must last a whole number of steps.

    Raises:
        ValueError: an argument out of its range.
    """
    if n_trajectories < 1 or n_particles < 1:
        raise ValueError(
            f"expected one trajectory and one particle at least; got {n_trajectories} and "
            f"{n_particles}"
        )
    if not 0 <= frames[0] < frames[1]:
        raise ValueError(f"frames must be two rising numbers from 0 on; got {frames}")
    steps_per_frame = round(FRAME_INTERVAL / dt) if dt > 0 else 0
    if not math.isclose(steps_per_frame * dt, FRAME_INTERVAL):
        raise ValueError(f"dt must divide {FRAME_INTERVAL}, the time between two frames; got {dt}")
    rotation = minimal_rotation(unit_vector(axis))

    shape = (n_trajectories, n_particles)
    position_stream, velocity_stream, attribute_stream = np.random.default_rng(seed).spawn(3)
    positions = system.initial_spread * position_stream.normal(size=(*shape, 3))
    velocities = velocity_stream.normal(size=(*shape, 3))
    velocities *= INITIAL_SPEED / np.linalg.norm(velocities, axis=-1, keepdims=True)
    attributes = system.draw(attribute_stream, shape)

    start, end = frames[0] * FRAME_INTERVAL, frames[1] * FRAME_INTERVAL
    first = integrate(system, attributes, positions, velocities, time=start, dt=dt)
    second = integrate(system, attributes, *first, time=end - start, dt=dt)
    states = (x @ rotation.T for x in (*first, *second))
    return Trajectories(system, rotation[:, 2], (start, end), attributes, *states)


def integrate(
    system: Springs | Charged,
    attributes: Attributes,
    positions: Array,
    velocities: Array,
    *,
    time: float,
    dt: float = 0.001,
) -> tuple[Array, Array]:
    """Positions and velocities [T, n, 3] a time, a multiple of dt, later; z is the axis."""
    # Trajectories last: every operation then runs along long rows, and none mixes two trajectories.
    x, v = positions.transpose(2, 1, 0).copy(), velocities.transpose(2, 1, 0).copy()
    leapfrog(x, v, system.forces(attributes), dt, round(time / dt))
    return x.transpose(2, 1, 0), v.transpose(2, 1, 0)


def leapfrog(x: Array, v: Array, forces: Callable[[Array], Array], dt: float, n_steps: int) -> None:
    """Integrates x and v in place: half a kick, a drift, half a kick, with clipped forces.

    A negative dt goes back in time.
    """
    force = forces(x).clip(-MAX_FORCE, MAX_FORCE)
    for _ in range(n_steps):
        v += dt / 2 * force
        x += dt * v
        force = forces(x).clip(-MAX_FORCE, MAX_FORCE)
        v += dt / 2 * force
