"""The motion under springs in closed form, by normal modes: right where no force is clipped."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .particle_systems import SPRING_CONSTANT

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class HarmonicMotion:
    """The linear map from the state of x'' = -H x + f to its state some time t later.

    In a normal mode of H, with frequency w, that is
    x(t) = cos(wt) x + sin(wt)/w v + (1 - cos(wt))/w^2 f.

    Attributes:
        hessian: H [..., n, n].
        cosine, sine, response: cos(wt), sin(wt)/w and (1 - cos(wt))/w^2 in the modes of H,
            [..., n, n]; 1, t and t^2/2 where w = 0.
    """

    hessian: Array
    cosine: Array
    sine: Array
    response: Array

    @classmethod
    def after(cls, time: float, hessian: Array) -> HarmonicMotion:
        """Of a time t, which may be negative, under H [..., n, n], positive semidefinite."""
        squares, modes = np.linalg.eigh(hessian)
        phase = time * np.sqrt(squares.clip(min=0))  # rounding leaves zero a little below zero

        def in_modes(diagonal: Array) -> Array:
            return (modes * diagonal[..., None, :]) @ modes.swapaxes(-1, -2)

        return cls(
            hessian,
            cosine=in_modes(np.cos(phase)),
            sine=in_modes(time * np.sinc(phase / np.pi)),
            response=in_modes(time**2 / 2 * np.sinc(phase / (2 * np.pi)) ** 2),
        )

    def __call__(self, x: Array, v: Array, f: Array | float = 0.0) -> tuple[Array, Array]:
        """Positions and velocities [..., n, m] from those before and the constant force f."""
        pull = f - self.hessian @ x
        return x + self.sine @ v + self.response @ pull, self.cosine @ v + self.sine @ pull


def hessians(springs: Array, stiffness: float) -> tuple[Array, Array]:
    """Second derivatives of the energy [..., n, n] across the axis and along it.

    Along the axis there also is a constant force, stiffness * lengths.

    Args:
        springs: the pairs that are joined [..., n, n]; a fraction is a weaker spring.
        stiffness: of the springs to the plane.
    """
    one = np.eye(springs.shape[-1])
    across = SPRING_CONSTANT * (springs.sum(axis=-1)[..., None] * one - springs)
    return across, across + stiffness * one
