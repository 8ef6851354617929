"""Symmetry at larger tolerances and below adsorbates."""

import ase
import numpy as np
import pytest
from ase.build import add_adsorbate, fcc111, molecule

from sikff.surface import find_wallpaper
from sikff.surface.near_symmetry import find_at_larger_tolerance, find_without_top


@pytest.fixture
def copper() -> ase.Atoms:
    return fcc111("Cu", (2, 2, 3), vacuum=9)


def test_a_disordered_slab_has_more_symmetry_at_a_larger_tolerance(copper: ase.Atoms) -> None:
    copper.rattle(0.01, seed=0)
    found = find_wallpaper(copper)
    assert found.wallpaper.name == "p1"
    tolerance, other = find_at_larger_tolerance(copper, found, 0.02)
    assert other.wallpaper.name == "p3m1"
    assert 0.02 < other.misfit < tolerance < 0.3


@pytest.mark.parametrize("name", ["CO", "CH3OH"])
def test_adsorbates_are_found(copper: ase.Atoms, name: str) -> None:
    bare = find_wallpaper(copper)
    adsorbate = molecule(name)
    add_adsorbate(copper, adsorbate, 2.5, position=(0.4, 0.3))
    found = find_wallpaper(copper)
    assert found.wallpaper.name != "p3m1"
    without = find_without_top(copper, found, 0.02)
    assert set(without.removed) == set(range(12, len(copper)))
    assert without.found.wallpaper == bare.wallpaper


def test_adsorbates_at_high_symmetry_make_the_lattice_larger(copper: ase.Atoms) -> None:
    add_adsorbate(copper, "O", 1.2, "fcc")
    found = find_wallpaper(copper)
    assert found.wallpaper.name == "p3m1"
    without = find_without_top(copper, found, 0.02)
    assert without.removed.tolist() == [12]
    ratio = np.linalg.norm(found.wallpaper.lattice[0]) / np.linalg.norm(
        without.found.wallpaper.lattice[0]
    )
    assert ratio == pytest.approx(2)


def test_a_clean_slab_has_all_its_symmetry(copper: ase.Atoms) -> None:
    found = find_wallpaper(copper)
    assert find_at_larger_tolerance(copper, found, 0.02) is None
    assert find_without_top(copper, found, 0.02) is None
