"""Sites, mirror lines and glide lines against the International Tables and their definitions."""

from collections import Counter

import numpy as np
import pytest

from sikff.surface import Wallpaper, find_lines, find_sites, site_symmetry
from sikff.surface.sites import equivalent_points
from wallpaper_cases import NAMES, moved_wallpaper, wallpaper

# International Tables, volume A: (multiplicity in a primitive cell, site group) of the Wyckoff
# positions without free coordinates, and the number of positions on mirror lines
WYCKOFF = {
    "p1": ([], 0),
    "p2": ([(1, "2")] * 4, 0),
    "pm": ([], 2),
    "pg": ([], 0),
    "cm": ([], 1),
    "p2mm": ([(1, "2mm")] * 4, 4),
    "p2mg": ([(2, "2")] * 2, 1),
    "p2gg": ([(2, "2")] * 2, 0),
    "c2mm": ([(1, "2mm"), (1, "2mm"), (2, "2")], 2),
    "p4": ([(1, "4"), (1, "4"), (2, "2")], 0),
    "p4mm": ([(1, "4mm"), (1, "4mm"), (2, "2mm")], 3),
    "p4gm": ([(2, "4"), (2, "2mm")], 1),
    "p3": ([(1, "3")] * 3, 0),
    "p3m1": ([(1, "3m")] * 3, 1),
    "p31m": ([(1, "3m"), (2, "3")], 1),
    "p6": ([(1, "6"), (2, "3"), (3, "2")], 0),
    "p6mm": ([(1, "6mm"), (2, "3m"), (3, "2mm")], 2),
}


@pytest.mark.parametrize("make", [wallpaper, moved_wallpaper])
@pytest.mark.parametrize("name", NAMES)
def test_sites_and_mirror_lines_are_the_wyckoff_positions(name: str, make: object) -> None:
    w = make(name)
    sites, n_mirrors = WYCKOFF[name]
    found = [(len(site.positions), site.symmetry) for site in find_sites(w)]
    assert Counter(found) == Counter(sites)
    assert [n for n, _ in found] == sorted(n for n, _ in found)  # the largest site groups first
    assert sum(orbit[0].glide == 0 for orbit in find_lines(w)) == n_mirrors


def images(w: Wallpaper, point: np.ndarray) -> list[np.ndarray]:
    """Images of a point, by Cartesian matrices."""
    r = point @ w.lattice
    return [rotation @ r + t for rotation, t in zip(w.rotations, w.translations, strict=True)]


@pytest.mark.parametrize("name", NAMES)
def test_positions_of_a_site_are_one_orbit_and_have_its_group(name: str) -> None:
    w = moved_wallpaper(name)
    for site in find_sites(w):
        assert (site.positions >= 0).all()
        assert (site.positions < 1).all()
        for point in site.positions:
            order = sum(
                w.lattice_misfit((r - point @ w.lattice)[None]) < 1e-8 for r in images(w, point)
            )
            assert order * len(site.positions) == len(w.operations)
            assert site_symmetry(w, point) == site.symmetry
            for image in images(w, point):
                apart = image - site.positions @ w.lattice
                assert min(w.lattice_misfit(each[None]) for each in apart) < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_a_reflection_moves_the_points_of_a_line_along_it_by_its_glide(name: str) -> None:
    w = moved_wallpaper(name)
    for orbit in find_lines(w):
        for line in orbit:
            along = line.direction @ w.lattice
            for x in (0.0, 0.37):
                point = line.point + x * np.array(line.direction)
                target = (point @ w.lattice) + line.glide * along
                moved = images(w, point)
                dets = np.linalg.det(w.rotations)
                misfits = [
                    w.lattice_misfit((r - target)[None])
                    for r, det in zip(moved, dets, strict=True)
                    if det < 0
                ]
                assert min(misfits) < 1e-8
                assert line.distance(point, w.lattice) == pytest.approx(0, abs=1e-9)
                expected = "1" if line.glide else "m"
                assert site_symmetry(w, point) == expected
    lines = sum(len(orbit) for orbit in find_lines(w))
    assert lines == 2 * sum(np.linalg.det(w.rotations) < 0)


def test_the_distance_from_a_line_is_in_angstrom() -> None:
    w = Wallpaper("pm", [[3.0, 0.0], [0.0, 4.0]])
    first, second = (orbit[0] for orbit in find_lines(w))
    assert (first.text, second.text) == ("0, y", "1/2, y")
    assert first.distance(np.array([0.9, 0.2]), w.lattice) == pytest.approx(0.3)
    assert second.distance(np.array([0.9, 0.2]), w.lattice) == pytest.approx(1.2)


def test_glides_are_half_a_lattice_vector() -> None:
    for name, texts in (("pg", ["0, y", "1/2, y"]), ("p2mg", ["x, 0", "x, 1/2"])):
        glides = [line for orbit in find_lines(wallpaper(name)) for line in orbit if line.glide]
        assert [line.text for line in glides] == texts
        assert all(line.glide == pytest.approx(0.5) for line in glides)


def test_points_near_a_site_have_its_group_within_the_tolerance() -> None:
    w = wallpaper("p4mm")
    near = np.array([0.5 + 1e-2, 0.5])
    assert site_symmetry(w, near) == "m"
    assert site_symmetry(w, near, tolerance=0.1) == "4mm"
    assert len(equivalent_points(w, near)) == 4
    assert len(equivalent_points(w, np.array([0.1, 0.2]))) == 8
