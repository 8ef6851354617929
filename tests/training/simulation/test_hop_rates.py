"""Rates of hops along paths: saddles are counted, and the closed form comes out."""

import ase
import numpy as np
import pytest
from ase import units
from ase.calculators.calculator import Calculator
from ase.calculators.emt import EMT

from sikff.surface.wallpaper import Wallpaper
from sikff.training.evaluation.adsorbate import Adsorbate, Surface
from sikff.training.evaluation.hops import find_hops
from sikff.training.simulation.hop_rates import count_exits, hop_rate
from surface_potentials import MASS, SIDE, WAVE, CosineLattice

BARRIER = 0.2  # eV
FLAT = np.array([0.0, 0.0, 1.0])


class Tilted(Calculator):
    """Minima beside the points of a square lattice, on the lines to two of four neighbours: with
    the symmetry p2mm, as if atoms leaned."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()) -> None:
        x, y, z = atoms.positions.T
        energy = 0.05 * np.cos(WAVE * x) + 0.06 * np.cos(2 * WAVE * x) - 0.2 * np.cos(WAVE * y)
        forces = np.stack(
            [
                WAVE * (0.05 * np.sin(WAVE * x) + 0.12 * np.sin(2 * WAVE * x)),
                -0.2 * WAVE * np.sin(WAVE * y),
                -z,
            ],
            axis=1,
        )
        self.results = {"energy": (energy + z**2 / 2).sum(), "forces": forces}


def adsorbate(calculator: Calculator, wallpaper: str) -> Adsorbate:
    atom = ase.Atoms("H", masses=[MASS])
    atom.calc = EMT()
    surface = Surface(Wallpaper(wallpaper, SIDE * np.eye(3)[:2]), np.zeros(3), FLAT)
    return Adsorbate(atom, surface, calculator)


def test_an_atom_leaves_a_cosine_well_over_four_saddles() -> None:
    on = adsorbate(CosineLattice(BARRIER), "p4mm")
    minimum = on.above(np.array([[2 * SIDE, -SIDE, 0.0]]))
    (hop,) = find_hops(on, minimum, most=1, images=3)
    assert count_exits(on, hop) == 4
    frequency = np.sqrt(BARRIER / 2 / MASS) / SIDE * 1000 * units.fs
    for temperature in (100.0, 300.0):
        expected = 4 * frequency * np.exp(-BARRIER / (units.kB * temperature))
        assert hop_rate(on, hop, temperature) == pytest.approx(expected, rel=0.02)


def test_exits_are_those_of_one_minimum_of_several() -> None:
    """Two minima in a cell: each has a low saddle to one side, a high one to the other, and two
    along y."""
    on = adsorbate(Tilted(), "p2mm")
    place = np.arccos(-0.05 / 0.24) / WAVE  # dV/dx = 0
    minimum = on.above(np.array([[place, 0.0, 0.0]]))
    assert np.abs(minimum.get_forces()).max() < 1e-9
    exits = {}
    for hop in find_hops(on, minimum, most=3, images=3):
        exits[round(hop.distance, 2)] = count_exits(on, hop)
    apart = round(2 * place, 2)
    assert exits == {round(SIDE - apart, 2): 1, apart: 1, SIDE: 2}
