"""Stars of reciprocal vectors: plane waves as representations of the point group.

For a reciprocal vector G let chi_G(r) = exp(i G.r). Under an operation {R|t} of the wallpaper group
chi_G(R r + t) = exp(i G.t) chi_{R^T G}(r), so that the cosines and sines of a star, the orbit of
G under the point group with -G, transform among themselves; glides become phases.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sikff.groups.matrices import Matrices
from sikff.surface.wallpaper import Wallpaper

Array = np.ndarray

SAME_LENGTH = 1e-6  # relative
_MORE_MIRRORS = ("p2gg", "p4", "p4gm", "p6")  # see fewest_stars


class Star(NamedTuple):
    """The orbit of a reciprocal vector under the point group, with -G.

    Attributes:
        length: |G| (1/Å).
        indices: whole numbers m [k, 2] of one of each pair G, -G: G = 2 pi m @ wallpaper.dual.
    """

    length: float
    indices: Array


def first_stars(wallpaper: Wallpaper, count: int) -> tuple[Star, ...]:
    """The stars with the shortest G, without G = 0: ``count``, and those as long as the last.

    Stars of one length stay together, so that a subgroup of the wallpaper group can have the same
    functions (in more stars).

    Raises:
        ValueError: count is not a whole number >= 0.
    """
    if int(count) != count or count < 0:
        raise ValueError(f"the number of stars is a whole number >= 0; got {count!r}")
    if count == 0:
        return ()
    reach = 2.1 * np.pi * np.linalg.norm(wallpaper.dual, axis=1).max()
    stars = _stars_within(wallpaper, reach)
    # until a star is known that is longer than those wanted
    while len(stars) <= count or stars[-1].length < stars[count - 1].length * (1 + SAME_LENGTH):
        reach *= 1.5
        stars = _stars_within(wallpaper, reach)
    longest = stars[count - 1].length * (1 + SAME_LENGTH)
    return tuple(star for star in stars if star.length < longest)


def fewest_stars(wallpaper: Wallpaper) -> int:
    """The number of shortest stars that tell all places of the cell apart.

    Their vectors span the reciprocal lattice. In the groups of ``_MORE_MIRRORS`` the invariants of
    these stars, and the invariants of second order, have mirrors which the group does not have;
    the next star in another direction breaks them.
    """
    count = 1
    while not _spans(first_stars(wallpaper, count)):
        count += 1
    if wallpaper.name in _MORE_MIRRORS:
        shortest = np.concatenate([star.indices for star in first_stars(wallpaper, count)])
        while _all_parallel(first_stars(wallpaper, count)[-1].indices, shortest):
            count += 1
    return count


def _spans(stars: Sequence[Star]) -> bool:
    """True if the vectors of the stars span the reciprocal lattice."""
    indices = np.concatenate([star.indices for star in stars])
    return math.gcd(*_cross(indices, indices).ravel().tolist()) == 1


def _all_parallel(indices: Array, others: Array) -> bool:
    """True if each vector is parallel to one of the others."""
    return bool((_cross(indices, others) == 0).any(axis=1).all())


def _cross(a: Array, b: Array) -> Array:
    return np.outer(a[:, 0], b[:, 1]) - np.outer(a[:, 1], b[:, 0])


def _stars_within(wallpaper: Wallpaper, reach: float) -> list[Star]:
    """All stars with 0 < |G| <= reach (1/Å), by length."""
    most = np.ceil(reach * np.linalg.norm(wallpaper.lattice, axis=1) / (2 * np.pi)).astype(int)
    first, second = (np.arange(-n, n + 1) for n in most)
    candidates = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    lengths = 2 * np.pi * np.linalg.norm(candidates @ wallpaper.dual, axis=1)
    matrices = np.array([o.matrix for o in wallpaper.operations])
    stars: dict[tuple, float] = {}
    for m, length in zip(candidates, lengths, strict=True):
        if 0 < length <= reach:
            orbit = {max(tuple(g), tuple(-g)) for g in m @ matrices}  # G.(R r) = (m W).x
            stars[tuple(sorted(orbit, reverse=True))] = float(length)
    shortest = min(stars.values())

    def order(star: tuple) -> tuple:
        """By length; equal ones, which rounding must not order, by their numbers."""
        whole = round(stars[star] / shortest / SAME_LENGTH)
        return (whole, *(-number for m in star for number in m))

    return [Star(stars[star], np.array(star)) for star in sorted(stars, key=order)]


def star_representation(wallpaper: Wallpaper, star: Star, matrices: Matrices) -> Array:
    """D_s [n, 2k, 2k] at elements [n, 3, 3] of the point group: f(R r + t) = D_s(R) f(r).

    The components of f are the cosines of the star's k vectors, then their sines.

    Raises:
        ValueError: a matrix that is no element of the point group.
    """
    k = len(star.indices)
    place = {tuple(sign * m): (j, sign) for j, m in enumerate(star.indices) for sign in (1, -1)}
    result = []
    for index in wallpaper.operation_indices(matrices):
        operation = wallpaper.operations[index]
        d = np.zeros((2 * k, 2 * k))
        for i, m in enumerate(star.indices):
            j, sign = place[tuple(m @ operation.matrix)]
            phase = 2 * np.pi * (m @ operation.shift)
            d[i, j], d[i, k + j] = np.cos(phase), -sign * np.sin(phase)
            d[k + i, j], d[k + i, k + j] = np.sin(phase), sign * np.cos(phase)
        result.append(d)
    return np.array(result)
