"""Stars of reciprocal vectors, and how their plane waves transform."""

from collections.abc import Callable

import numpy as np
import pytest

from sikff.field_types import FieldType
from sikff.surface import Star, Wallpaper, first_stars, star_representation
from wallpaper_cases import NAMES, lattice_of, moved_wallpaper, wallpaper

EXACT = 1e-12


def waves(w: Wallpaper, star: Star, r: np.ndarray) -> np.ndarray:
    phases = 2 * np.pi * r @ (star.indices @ w.dual).T
    return np.concatenate([np.cos(phases), np.sin(phases)], axis=-1)


@pytest.mark.parametrize("make", [wallpaper, moved_wallpaper])
@pytest.mark.parametrize("name", NAMES)
def test_plane_waves_of_a_star_transform_with_its_representation(
    name: str, make: Callable[[str], Wallpaper]
) -> None:
    w = make(name)
    r = np.random.default_rng(0).normal(size=(5, 3)) * 4
    for star in first_stars(w, 6):
        d = star_representation(w, star, w.rotations)
        for rotation, t, matrix in zip(w.rotations, w.translations, d, strict=True):
            moved = waves(w, star, r @ rotation.T + t)
            np.testing.assert_allclose(moved, waves(w, star, r) @ matrix.T, atol=EXACT)
        products = np.einsum("aij,bjk->abik", w.rotations, w.rotations).reshape(-1, 3, 3)
        expected = np.einsum("aij,bjk->abik", d, d).reshape(-1, *d.shape[1:])
        np.testing.assert_allclose(star_representation(w, star, products), expected, atol=EXACT)


@pytest.mark.parametrize("name", NAMES)
def test_invariants_of_a_star_are_counted_by_characters_and_by_averaging(name: str) -> None:
    """The mean of the characters; and the rank of the waves' averages over all operations."""
    w = wallpaper(name)
    r = np.random.default_rng(1).normal(size=(60, 3)) * 4
    for star in first_stars(w, 8):
        d = star_representation(w, star, w.rotations)
        burnside = np.trace(d, axis1=1, axis2=2).mean()
        images = r @ w.rotations.transpose(0, 2, 1) + w.translations[:, None]
        rank = np.linalg.matrix_rank(waves(w, star, images).mean(axis=0), tol=1e-8)
        g = w.point_group
        matrices = star_representation(w, star, g.generators)
        invariants = FieldType.from_representation(g, matrices).n_invariants
        assert burnside == pytest.approx(invariants, abs=1e-9)
        assert rank == invariants


ABSENT = {  # conditions for reflections of the International Tables: which (h, k) have no invariant
    "pg": lambda h, k: h == 0 and k % 2,
    "p2mg": lambda h, k: k == 0 and h % 2,
    "p2gg": lambda h, k: h * k == 0 and (h + k) % 2,
    "p4gm": lambda h, k: h * k == 0 and (h + k) % 2,
}


@pytest.mark.parametrize("name", NAMES)
def test_glides_extinguish_stars(name: str) -> None:
    w = wallpaper(name)
    absent = 0
    for star in first_stars(w, 14):
        matrices = star_representation(w, star, w.rotations)
        has_none = np.abs(matrices.mean(axis=0)).max() < EXACT
        (h, k), rule = star.indices[0], ABSENT.get(name)
        assert has_none == bool(rule and rule(h, k))
        absent += has_none
    assert (absent > 0) == (name in ABSENT)


def test_stars_are_all_vectors_up_to_a_length() -> None:
    for name in NAMES:
        w = wallpaper(name)
        stars = first_stars(w, 9)
        assert [s.length for s in stars] == pytest.approx(sorted(s.length for s in stars))
        found = {tuple(sign * m) for s in stars for m in s.indices for sign in (1, -1)}
        assert len(found) == 2 * sum(len(s.indices) for s in stars)
        grid = np.stack(np.meshgrid(*[np.arange(-20, 21)] * 2), axis=-1).reshape(-1, 2)
        lengths = 2 * np.pi * np.linalg.norm(grid @ w.dual, axis=1)
        inside = (lengths > 0) & (lengths < stars[-1].length * (1 + 1e-9))
        assert found == set(map(tuple, grid[inside]))
        for star in stars:
            np.testing.assert_allclose(
                2 * np.pi * np.linalg.norm(star.indices @ w.dual, axis=1), star.length
            )


def test_stars_of_one_length_come_together() -> None:
    """So the functions of a group are those of its subgroups, in more stars."""
    square = lattice_of("p4mm")
    for count, expected in ((1, 2), (2, 2), (3, 4), (4, 4), (5, 6)):
        assert len(first_stars(Wallpaper("p2", square), count)) == expected
    (first,) = first_stars(Wallpaper("p4mm", square), 1)
    assert sorted(map(tuple, first.indices)) == [(0, 1), (1, 0)]
    assert first.length == pytest.approx(2 * np.pi / 3.1)
    assert first_stars(Wallpaper("p4mm", square), 0) == ()
    long = first_stars(Wallpaper("p1", [[1.0, 0], [0, 50.0]]), 3)
    assert [s.indices.tolist() for s in long] == [[[0, 1]], [[0, 2]], [[0, 3]]]


@pytest.mark.parametrize("count", [-1, 1.5])
def test_bad_numbers_of_stars_raise(count: float) -> None:
    with pytest.raises(ValueError, match="whole number >= 0"):
        first_stars(wallpaper("p1"), count)
