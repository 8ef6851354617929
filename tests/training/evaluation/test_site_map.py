"""Places in the cell, the lowest energies there, minima and hops: against closed forms and EMT."""

import ase
import numpy as np
import pytest
from ase.build import fcc111, molecule
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms, FixedLine
from ase.optimize import BFGS

from corrugated import BARRIER, DEPTH, ORIGIN, SIDE, SQUARE, STIFF, adsorbate, lowest
from sikff.surface import Wallpaper, find_sites, find_wallpaper
from sikff.training.evaluation.adsorbate import Adsorbate, Surface, chirality
from sikff.training.evaluation.hops import find_hops
from sikff.training.evaluation.place_grid import PlaceGrid
from sikff.training.evaluation.site_map import at_sites, find_minima, map_sites
from wallpaper_cases import NAMES, wallpaper


@pytest.mark.parametrize("name", NAMES)
def test_places_of_a_grid_are_equivalent_as_the_group_says(name: str) -> None:
    group = wallpaper(name)
    grid = PlaceGrid(group, 12)
    order = len(group.operations)
    assert grid.multiplicities.sum() == 144
    assert grid.multiplicities.max() == order
    for site in find_sites(group):
        index = grid.index(site.positions[0])
        if index is not None:  # the others are those of centred groups with odd twelfths
            first = grid.representatives.index(grid.first[index])
            assert grid.multiplicities[first] == len(site.positions)
    for place in range(0, 144, 5):
        o = group.operations[grid.operation[place]]
        image = o.matrix @ grid.places[grid.first[place]] + o.shift
        assert np.allclose((image - grid.places[place] + 0.5) % 1, 0.5)


def test_a_grid_that_operations_do_not_fit_uses_fewer_of_them() -> None:
    shifted = PlaceGrid(wallpaper("p2gg"), 5)  # half a lattice vector is no whole step
    assert len(shifted.operations) == 2
    assert len(PlaceGrid(wallpaper("p4mm"), 5).operations) == 8
    assert len(PlaceGrid(wallpaper("p4mm"), 5, proper=True).operations) == 4
    assert shifted.index(np.array([0.5, 0.0])) is None
    with pytest.raises(ValueError, match="grid of 0 places"):
        PlaceGrid(SQUARE, 0)


def test_the_map_of_an_atom_is_the_closed_form() -> None:
    atom = adsorbate()
    found = map_sites(atom, 6)
    expected = lowest(found.grid.places).reshape(6, 6)
    assert found.energies == pytest.approx(expected, abs=1e-4)
    assert np.ptp(found.energies) > 0.07
    assert found.minima == [0]


def test_sites_are_told_apart_and_the_minimum_vibrates_as_its_curvature() -> None:
    atom = adsorbate()
    sites = map_sites(atom, 6)
    (minimum,) = find_minima(atom, sites)
    assert minimum.energy == pytest.approx(-DEPTH, abs=1e-5)
    assert minimum.symmetry == "4mm"
    curvatures = np.array([BARRIER / 4 * (2 * np.pi / SIDE) ** 2] * 2 + [2 * DEPTH * STIFF**2])
    wavenumbers = 521.471 * np.sqrt(curvatures / atom.free.get_masses()[0])
    assert minimum.vibrations.wavenumbers == pytest.approx(wavenumbers, rel=2e-3)
    kinds = [(found.symmetry, found.kind) for found in at_sites(atom, sites)]
    assert kinds == [("4mm", "minimum"), ("4mm", "2 imaginary"), ("2mm", "saddle point")]


def test_an_atom_hops_over_the_bridge() -> None:
    atom = adsorbate()
    (minimum,) = find_minima(atom, map_sites(atom, 6))
    hops = find_hops(atom, minimum.atoms)
    assert len(hops) == 1, "all lattice points are reached by hops of this kind"
    assert hops[0].converged
    assert hops[0].distance == pytest.approx(SIDE, abs=1e-3)
    saddle = float(lowest(np.array([0.5, 0.0])))
    assert hops[0].barrier == pytest.approx(saddle + DEPTH, abs=5e-4)
    assert hops[0].vibrations.n_imaginary == 1


def test_minima_beside_a_site_are_joined_by_hops_to_their_images() -> None:
    atom = adsorbate(well=0.06)
    sites = map_sites(atom, 6)
    minima = find_minima(atom, sites)
    assert minima[0].symmetry == "2mm"  # at the middle of a side, two in a cell
    assert minima[0].kind == "minimum"
    hops = find_hops(atom, minima[0].atoms)
    # to the middle of the next side; that leads on to everywhere
    assert len(hops) == 1
    assert hops[0].distance == pytest.approx(SIDE / np.sqrt(2), abs=1e-2)


def test_hops_are_added_until_they_lead_everywhere() -> None:
    """In p2 the two lattice vectors are not equivalent, so hops along both are needed."""
    atom = adsorbate()
    surface = Surface(Wallpaper("p2", SQUARE.lattice), ORIGIN, atom.surface.normal)
    poorer = Adsorbate(atom.free, surface, atom.calculator, 0, info=atom.info)
    (minimum,) = find_minima(poorer, map_sites(poorer, 2))
    hops = find_hops(poorer, minimum.atoms)
    ends = [poorer.positions(hop.path[-1])[0] - poorer.positions(hop.path[0])[0] for hop in hops]
    assert np.linalg.norm(ends, axis=1) == pytest.approx([SIDE, SIDE], abs=1e-3)
    assert abs(np.dot(*ends)) < 1e-2
    assert hops[0].barrier == pytest.approx(hops[1].barrier, abs=5e-4)
    assert len(find_hops(poorer, minimum.atoms, most=1)) == 1


def test_a_molecule_is_lowest_in_its_best_orientation() -> None:
    pair = adsorbate("ClH", tilts=0.05)
    found = map_sites(pair, 2, starts=3)
    grid = found.grid
    assert found.energies.ravel() == pytest.approx(lowest(grid.places) - 0.05, abs=2e-3)
    (minimum,) = find_minima(pair, found)
    apart = np.diff(pair.positions(minimum.atoms), axis=0)[0]
    assert apart[2] / np.linalg.norm(apart) == pytest.approx(-1, abs=1e-3)
    assert minimum.vibrations.n_imaginary == 0
    assert minimum.vibrations.kinds[-1] == "internal"


def test_a_slab_with_any_calculator_is_mapped() -> None:
    """An atom on Cu(111) in EMT, against a relaxation along the normal without this module."""
    slab = fcc111("Cu", (2, 2, 2), vacuum=8.0)
    slab.pbc = (True, True, True)
    found = find_wallpaper(slab)
    free = ase.Atoms("H", cell=[20, 20, 20], pbc=True)
    free.calc = EMT()
    atom = Adsorbate(free, Surface.of_slab(found), EMT(), slab=slab)
    sites = map_sites(atom, 3)
    # top and two kinds of hollows, and all else on mirror lines
    assert sorted(sites.grid.multiplicities) == [1, 1, 1, 6]
    for place in list(sites.structures)[:2]:
        direct = slab.copy() + ase.Atoms("H", [atom.surface.points(sites.grid.places[place])])
        direct.positions[-1, 2] += 1.5
        direct.set_constraint([FixAtoms(range(len(slab))), FixedLine(len(slab), (0, 0, 1))])
        direct.calc = EMT()
        BFGS(direct, logfile=None).run(fmax=1e-3)
        alone = slab.copy()
        alone.calc = EMT()
        expected = direct.get_potential_energy() - alone.get_potential_energy()
        expected -= free.get_potential_energy()
        energy = sites.energies.ravel()[place]
        assert energy == pytest.approx(expected, abs=2e-3)
    minimum = find_minima(atom, sites)[0]
    assert len(minimum.vibrations.wavenumbers) == 3, "the slab does not move"


def test_chiral_molecules_are_known() -> None:
    for name in ("H2O", "CH3OH", "CH4", "C6H6", "CO2"):
        atoms = molecule(name)
        atoms.rattle(3e-4, seed=1)
        assert abs(chirality(atoms)) < 5e-5
    bromide = molecule("CH4")
    bromide.symbols = ["C", "F", "Cl", "Br", "H"]
    mirrored = bromide.copy()
    mirrored.positions[:, 0] *= -1
    assert chirality(bromide) == pytest.approx(-chirality(mirrored))
    assert abs(chirality(bromide)) > 1e-4
    assert abs(chirality(molecule("H2O2"))) > 1e-4


def test_bad_requests_are_refused() -> None:
    atom = adsorbate()
    with pytest.raises(ValueError, match="anchor is 1; expected the number of an atom, 0 to 0"):
        Adsorbate(atom.free, atom.surface, atom.calculator, anchor=1)
    flat = Adsorbate(atom.free, Surface(None, ORIGIN, np.array([0, 0, 1.0])), atom.calculator)
    with pytest.raises(ValueError, match="the surface is flat"):
        map_sites(flat, 6)
    with pytest.raises(ValueError, match="no calculator"):
        Adsorbate(ase.Atoms("Ar"), atom.surface, atom.calculator)
