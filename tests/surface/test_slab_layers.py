"""What stands at the sites of surfaces that ASE builds, as textbooks name it."""

import ase
import numpy as np
import pytest
from ase.build import bcc110, bulk, diamond111, fcc100, fcc110, fcc111, graphene, hcp0001, surface

from sikff.surface import find_sites, find_wallpaper, site_symmetry
from sikff.surface.layers import describe_place, find_layers

SALT = surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (0, 0, 1), 2, vacuum=6.0)
# slab, group, and the sites: site group, how many, what is there (the beginning of it)
CASES = {
    "fcc(100)": (fcc100("Al", (2, 2, 4), vacuum=8), "p4mm", [
        ("4mm", 1, "top Al"), ("4mm", 1, "hollow: 4 Al at 2.02 Å, above Al 2.0"),
        ("2mm", 2, "bridge: 2 Al at 1.43"),
    ]),
    "fcc(111)": (fcc111("Cu", (2, 2, 4), vacuum=8), "p3m1", [
        ("3m", 1, "top Cu"), ("3m", 1, "hollow: 3 Cu at 1.47 Å, above Cu 2.08"),
        ("3m", 1, "hollow: 3 Cu at 1.47 Å, above Cu 4.17"),  # hcp and fcc
    ]),
    "hcp(0001)": (hcp0001("Mg", (1, 1, 4), vacuum=8), "p3m1", [
        ("3m", 1, "top Mg"), ("3m", 1, "hollow: 3 Mg at 1.85 Å, above Mg 2.61"),
        ("3m", 1, "hollow: 3 Mg at 1.85 Å"),  # nothing below
    ]),
    "fcc(110)": (fcc110("Cu", (2, 1, 4), vacuum=8), "p2mm", [
        ("2mm", 1, "top Cu"), ("2mm", 1, "bridge: 2 Cu at 1.28"),
        ("2mm", 1, "bridge: 2 Cu at 1.80"), ("2mm", 1, "hollow: 4 Cu at 2.21 Å, above Cu 1.28"),
    ]),
    "bcc(110)": (bcc110("Fe", (1, 1, 3), vacuum=8), "c2mm", [
        ("2mm", 1, "top Fe"), ("2mm", 1, "bridge: 2 Fe at 1.43"), ("2", 2, "bridge: 2 Fe at 1.24"),
    ]),
    "diamond(111)": (diamond111("Si", (1, 1, 6), vacuum=8), "p3m1", [
        ("3m", 1, "top Si"), ("3m", 1, "hollow: 3 Si at 2.22"), ("3m", 1, "hollow: 3 Si at 2.22"),
    ]),
    "graphene": (graphene(size=(2, 1, 1), vacuum=8), "p6mm", [
        ("6mm", 1, "hollow: 6 C at 1.42 Å"), ("3m", 2, "top C"), ("2mm", 3, "bridge: 2 C at 0.71"),
    ]),
    "NaCl(001)": (SALT, "p4mm", [
        ("4mm", 1, "top Na"), ("4mm", 1, "top Cl"), ("2mm", 2, "hollow: 2 Na, 2 Cl at 1.99 Å"),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sites_of_known_surfaces(name: str) -> None:
    slab, group, expected = CASES[name]
    found = find_wallpaper(slab)
    assert found.wallpaper.name == group
    layers, sites = find_layers(found), find_sites(found.wallpaper)
    assert len(sites) == len(expected)
    for site, (symmetry, number, words) in zip(sites, expected, strict=True):
        assert (site.symmetry, len(site.positions)) == (symmetry, number)
        for point in site.positions:
            assert describe_place(found, layers, point).startswith(words)


@pytest.mark.parametrize("name", CASES)
def test_layers_hold_the_atoms_of_a_primitive_cell(name: str) -> None:
    slab, _, _ = CASES[name]
    found = find_wallpaper(slab)
    layers = find_layers(found)
    cells = np.linalg.norm(np.cross(*slab.cell.array[:2]))
    cells /= np.linalg.norm(np.cross(*found.wallpaper.lattice))
    symbols = [symbol for layer in layers for symbol in layer.symbols]
    assert len(symbols) * round(cells) == len(slab)
    assert layers[0].height == pytest.approx(0)
    heights = np.unique(slab.positions[:, 2].round(4)) - slab.positions[:, 2].max()
    assert [layer.height for layer in layers] == pytest.approx(
        sorted(heights, reverse=True), abs=1e-3
    )
    for layer in layers:
        for point in layer.coordinates:
            assert site_symmetry(found.wallpaper, point, 0.01) in ("2mm", "3m", "4mm")


def test_the_bottom_of_a_slab_is_where_its_atoms_are_in_the_file() -> None:
    """Molecules below a slab that is wrapped through the cell keep their heights."""
    slab = fcc111("Cu", (1, 1, 4), vacuum=6)
    slab.pbc = True
    slab.positions[:, 2] += 9.0  # the top comes in from below
    slab.wrap()
    lowest, highest = slab.positions[:, 2].min(), slab.positions[:, 2].max()
    layers = np.sort(slab.positions[:, 2])
    gap = np.diff(layers).argmax()
    assert gap < len(layers) - 1
    assert highest - lowest > 12
    assert find_wallpaper(slab).origin[2] == pytest.approx(layers[gap])
    assert find_wallpaper(slab, side="bottom").origin[2] == pytest.approx(layers[gap + 1])


def test_atoms_of_a_surface_seen_from_below() -> None:
    slab: ase.Atoms = fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.symbols[0] = "Au"
    found = find_wallpaper(slab, side="bottom")
    assert [layer.symbols for layer in find_layers(found)] == [("Au",), ("Cu",), ("Cu",)]
