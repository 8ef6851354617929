"""Wallpaper groups found from slabs."""

import ase.build
import numpy as np
import pytest
from ase.build import bcc110, bulk, fcc100, fcc111, graphene, hcp0001, surface

from sikff.surface import SlabSurface, find_wallpaper
from symmetry_cases import turn_about
from wallpaper_cases import NAMES as WALLPAPERS
from wallpaper_cases import wallpaper


def salt() -> ase.Atoms:
    return surface(bulk("NaCl", "rocksalt", a=5.64, cubic=True), (0, 0, 1), 2, vacuum=6.0)


def rumpled(name: str) -> ase.Atoms:
    """Two kinds of atoms in a rectangle, placed by the operations of a group with glides."""
    x, y = 0.13, 0.21
    sites = {
        "pg": [(x, y), (-x, y + 0.5)],
        "p2gg": [(x, y), (-x, -y), (0.5 - x, 0.5 + y), (0.5 + x, 0.5 - y)],
        "p2mg": [(x, y), (-x, -y), (0.5 - x, y), (0.5 + x, -y)],
        "p4gm": [(x, x + 0.5), (-x, 0.5 - x), (0.5 - x, x), (x + 0.5, -x)],
    }[name]
    a, b = (6.0, 6.0) if name == "p4gm" else (5.0, 7.0)
    more = {"pg": [(x + 0.2, y + 0.3), (-x - 0.2, y + 0.8)], "p4gm": [(0, 0), (0.5, 0.5)]}
    places = [*((*s, 1.0) for s in sites), *((*s, 0.0) for s in more.get(name, []))]
    positions = [(a * u, b * v, 4 + h) for u, v, h in places]
    symbols = ["O"] * len(sites) + ["Ti"] * (len(places) - len(sites))
    return ase.Atoms(symbols, positions, cell=[a, b, 20], pbc=[True, True, False])


SLABS = {
    "fcc(111)": (lambda: fcc111("Cu", (1, 1, 4), vacuum=8), "p3m1", 2.55),
    "fcc(111), 3x2": (lambda: fcc111("Cu", (3, 2, 3), vacuum=8), "p3m1", 2.55),
    "fcc(111), rectangular": (
        lambda: fcc111("Cu", (2, 2, 3), vacuum=8, orthogonal=True), "p3m1", 2.55,
    ),
    "fcc(111), one layer": (lambda: fcc111("Cu", (2, 2, 1), vacuum=8), "p6mm", 2.55),
    "fcc(100)": (lambda: fcc100("Al", (2, 3, 4), vacuum=8), "p4mm", 2.86),
    "bcc(110)": (lambda: bcc110("Fe", (1, 2, 3), vacuum=8), "c2mm", 2.48),
    "bcc(110), rectangular": (
        lambda: bcc110("Fe", (2, 2, 3), vacuum=8, orthogonal=True), "c2mm", 2.48,
    ),
    "hcp(0001)": (lambda: hcp0001("Mg", (2, 2, 4), vacuum=8), "p3m1", 3.21),
    "NaCl(001)": (salt, "p4mm", 3.99),
    "graphene": (lambda: graphene(size=(2, 2, 1), vacuum=8), "p6mm", 2.46),
    "BN": (lambda: graphene(formula="BN", vacuum=8), "p3m1", 2.46),
    **{n: (lambda n=n: rumpled(n), n, None) for n in ("pg", "p2gg", "p2mg", "p4gm")},
}  # fmt: skip


def assert_is_symmetric(slab: ase.Atoms, found: SlabSurface, tolerance: float = 1e-6) -> None:
    """Every operation about the origin maps atoms to atoms; the cell has the lattice."""
    w = found.wallpaper
    assert w.normal @ found.normal == pytest.approx(1)
    in_plane = [v for v in slab.cell.array if abs(v @ found.normal) < 1e-6]
    assert w.lattice_misfit(np.array(in_plane)) < 2 * tolerance
    for rotation, t in zip(w.rotations, w.translations, strict=True):
        images = found.origin + (slab.positions - found.origin) @ rotation.T + t
        for number in set(slab.numbers):
            like = slab.positions[slab.numbers == number]
            for image in images[slab.numbers == number]:
                assert min(w.lattice_misfit((image - x)[None]) for x in like) < tolerance


@pytest.mark.parametrize("name", SLABS)
def test_wallpaper_groups_of_surfaces(name: str) -> None:
    make, expected, shortest = SLABS[name]
    slab = make()
    found = find_wallpaper(slab)
    assert found.wallpaper.name == expected
    assert found.misfit < 1e-6
    assert_is_symmetric(slab, found)
    if shortest:
        lengths = np.linalg.norm(found.wallpaper.lattice, axis=1)
        assert lengths.min() == pytest.approx(shortest, abs=0.01)
    heights = slab.positions @ found.normal
    assert found.origin @ found.normal == pytest.approx(heights.max())


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", WALLPAPERS)
def test_the_group_that_a_slab_was_made_with_is_found(name: str, seed: int) -> None:
    """Atoms in general positions and all their images, in a supercell, in any order."""
    rng = np.random.default_rng(seed)
    w = wallpaper(name)
    symbols, positions = [], []
    for symbol, height in (("O", 0.0), ("Ti", -1.1), ("O", -2.0), ("Ti", -3.2)):
        place = rng.uniform(size=2) @ w.lattice + height * w.normal
        symbols += [symbol] * len(w.operations)
        positions += list(w.rotations @ place + w.translations)
    shift = rng.normal(size=3)
    unit = ase.Atoms(symbols, shift + positions, cell=[*w.lattice, 15 * w.normal], pbc=True)
    slab = ase.build.make_supercell(unit, [[2, 1, 0], [-1, 1, 0], [0, 0, 1]])
    slab = slab[rng.permutation(len(slab))]
    found = find_wallpaper(slab, tolerance=0.01)
    assert found.wallpaper.name == name
    assert found.wallpaper.point_group == w.point_group
    assert w.lattice_misfit(found.wallpaper.lattice) < 1e-9
    assert_is_symmetric(slab, found)


def test_a_centred_lattice_that_happens_to_be_square() -> None:
    places = [(0.1, 0), (-0.1, 0), (0.6, 0.5), (0.4, 0.5)]
    positions = [(5 * u, 5 * v, 4) for u, v in places]
    slab = ase.Atoms("O4", positions, cell=[5, 5, 20], pbc=[True, True, False])
    found = find_wallpaper(slab)
    assert found.wallpaper.name == "c2mm"
    assert_is_symmetric(slab, found)


@pytest.mark.parametrize("name", ["fcc(111)", "NaCl(001)", "pg", "p4gm"])
def test_slabs_may_be_turned_moved_repeated_wrapped_and_periodic(name: str) -> None:
    make, expected, _ = SLABS[name]
    turn = turn_about(np.array([1.0, 2.0, -0.5]), 1.1)
    slab = make().repeat((2, 1, 1))
    slab.translate([0.37, 1.1, 0])
    slab.pbc = True
    slab.translate([0, 0, -3.7 - slab.positions[:, 2].min()])
    slab.wrap()  # part of it comes in from above
    slab.set_cell(slab.cell.array @ turn.T)
    slab.positions = slab.positions @ turn.T
    order = np.random.default_rng(0).permutation(len(slab))
    for each in (slab, slab[order]):
        found = find_wallpaper(each)
        assert found.wallpaper.name == expected
        assert found.normal @ turn[:, 2] == pytest.approx(1)
        assert_is_symmetric(each, found)


def test_the_origin_is_the_site_nearest_to_the_outermost_atom() -> None:
    for name in ("fcc(111)", "NaCl(001)"):
        slab = SLABS[name][0]()
        found = find_wallpaper(slab)
        distances = np.linalg.norm(slab.positions - found.origin, axis=1)
        assert distances.min() < 1e-6
    hexagon = find_wallpaper(SLABS["graphene"][0]())
    slab = SLABS["graphene"][0]()
    assert np.linalg.norm(slab.positions - hexagon.origin, axis=1).min() == pytest.approx(
        1.42, abs=0.01
    )


def test_both_sides_of_a_slab() -> None:
    slab = fcc111("Cu", (1, 1, 3), vacuum=8)
    slab.symbols[[a.index for a in slab if a.tag == 1]] = "Au"
    top, bottom = find_wallpaper(slab), find_wallpaper(slab, side="bottom")
    assert top.normal @ bottom.normal == pytest.approx(-1)
    assert bottom.origin[2] == pytest.approx(slab.positions[:, 2].min())
    assert_is_symmetric(slab, bottom)


def test_depth_leaves_lower_layers_out() -> None:
    slab = fcc111("Cu", (2, 2, 3), vacuum=8)
    slab.positions[0] += [0.3, 0.1, 0]  # an atom of the lowest layer
    assert find_wallpaper(slab).wallpaper.name == "p1"
    found = find_wallpaper(slab, depth=3.0)
    assert found.wallpaper.name == "p3m1"
    assert np.linalg.norm(found.wallpaper.lattice[0]) == pytest.approx(2.55, abs=0.01)


def test_small_displacements_are_within_the_tolerance() -> None:
    slab = SLABS["NaCl(001)"][0]()
    slab.rattle(0.004, seed=0)
    found = find_wallpaper(slab, tolerance=0.05)
    assert found.wallpaper.name == "p4mm"
    assert 0.002 < found.misfit < 0.05
    assert_is_symmetric(slab, found, tolerance=0.05)
    assert find_wallpaper(slab, tolerance=0.001).wallpaper.name == "p1"
    a, b = found.wallpaper.lattice
    assert a @ b == pytest.approx(0, abs=1e-12)


def test_what_is_no_slab_raises() -> None:
    with pytest.raises(ValueError, match=r"no vacuum: .* between its layers is 1\.8 Å"):
        find_wallpaper(bulk("Cu", cubic=True))
    with pytest.raises(ValueError, match="periodic in 0 directions"):
        find_wallpaper(ase.Atoms("H2", [[0, 0, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="got 0 atoms"):
        find_wallpaper(ase.Atoms(cell=[1, 1, 1], pbc=True))
    with pytest.raises(ValueError, match="expected one of top, bottom"):
        find_wallpaper(fcc111("Cu", (1, 1, 3), vacuum=8), side="left")
    with pytest.raises(ValueError, match="got the tolerance -1 Å; expected a positive number"):
        find_wallpaper(fcc111("Cu", (1, 1, 3), vacuum=8), tolerance=-1)
    with pytest.raises(ValueError, match="choose another tolerance"):
        find_wallpaper(fcc111("Cu", (2, 2, 3), vacuum=8), tolerance=2.0)
    flat = fcc111("Cu", (1, 1, 3))  # without a third cell vector
    flat.pbc = True
    with pytest.raises(ValueError, match=r"have the lengths \[2.5527, 2.5527, 0.0\] Å; set pbc"):
        find_wallpaper(flat)
    upright = fcc111("Cu", (2, 2, 3), vacuum=8)
    upright.pbc = [True, False, True]
    with pytest.raises(
        ValueError, match=r"vector \[0.0, 0.0, 20.1.*\] Å the slab has a gap of 16 Å"
    ):
        find_wallpaper(upright)
    upright.positions[0] = np.nan
    with pytest.raises(ValueError, match="that are not finite numbers"):
        find_wallpaper(upright)


def test_large_slabs_are_compared_layer_by_layer() -> None:
    """Two species, rumpled and disordered: the same answer as that of a small cell."""
    slab = SLABS["NaCl(001)"][0]()
    slab.positions[slab.numbers == 17, 2] += 0.15
    small = find_wallpaper(slab)
    slab = slab.repeat((4, 3, 1))
    slab.rattle(0.003, seed=0)
    found = find_wallpaper(slab, tolerance=0.03)
    assert found.wallpaper.name == small.wallpaper.name == "p4mm"
    assert_is_symmetric(slab, found, tolerance=0.03)


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # of spglib
@pytest.mark.parametrize(
    "name", [n for n in SLABS if n not in ("fcc(111), 3x2", "fcc(111), rectangular", "fcc(100)")]
)
def test_as_many_operations_as_spglib_finds(name: str) -> None:
    """In cells that have all turns of their lattice, without which spglib leaves some out."""
    spglib = pytest.importorskip("spglib")
    slab = SLABS[name][0]()
    slab.pbc = True
    if slab.cell[2, 2] == 0:
        slab.cell[2, 2] = 20.0
    cell = (slab.cell.array, slab.get_scaled_positions(), slab.numbers)
    symmetry = spglib.get_symmetry(cell, symprec=1e-3)
    keeps_normal = [
        r[2, 2] == 1 and not r[:2, 2].any() and not r[2, :2].any() for r in symmetry["rotations"]
    ]
    found = find_wallpaper(slab)
    whole = np.linalg.norm(np.cross(*slab.cell.array[:2]))
    cells = whole / np.linalg.norm(np.cross(*found.wallpaper.lattice))
    assert sum(keeps_normal) == round(cells) * len(found.wallpaper.operations)
