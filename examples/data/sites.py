"""Generate ``water_nacl_sites.json``: water at places of NaCl(001) in GFN1-xTB.

Its energy, height, orientation and harmonic frequencies at the minimum and at the saddle points of
the hop to the next sodium ion and of the turn about one, and with the oxygen held above sodium and
chlorine, as rows of the ``sites.json`` of ``sikff adsorption``. The starts are near, from a force
field, but do not matter. The labels are those of ``surface.py``. Needs ``pip install tblite`` and
sikff; some 250 calls of a few seconds::

    OMP_NUM_THREADS=1 python sites.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes

import surface
from sikff.surface import Wallpaper
from sikff.training.evaluation.adsorbate import Adsorbate, Surface
from sikff.training.evaluation.adsorption import Adsorption
from sikff.training.evaluation.site_map import stationary

FMAX = 0.005  # eV/Å
STARTS = {  # Å; whether the place of the oxygen is held
    "minimum": ([[0.0, 0.73, 2.03], [-0.76, 1.15, 1.60], [0.76, 1.15, 1.60]], False),
    "hop": ([[0.0, 1.994, 2.36], [-0.77, 1.994, 1.77], [0.77, 1.994, 1.77]], False),
    "turn": ([[0.35, 0.35, 2.05], [0.15, 1.21, 1.675], [1.21, 0.15, 1.675]], False),
    "sodium": ([[0.0, 0.0, 2.07], [-0.52, 0.76, 1.79], [-0.52, -0.76, 1.79]], True),
    "chlorine": ([[1.994, 1.994, 3.09], [1.33, 2.66, 3.26], [2.06, 1.93, 2.12]], True),
}


class Labels(Calculator):
    """Energies and forces as in ``surface.py``."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = surface.gfn1(atoms)
        more, pull = surface.interaction(atoms, "nacl")
        self.results = {"energy": energy + more, "forces": forces + pull}


def main() -> None:
    free = molecule("H2O")
    free.positions[:, 2] += surface.CELL_HEIGHT / 2
    free.calc = Labels()
    lattice = surface.primitive("nacl")
    below = Surface(Wallpaper("p4mm", lattice), np.zeros(3), np.array([0.0, 0.0, 1.0]))
    adsorbate = Adsorbate(free, below, Labels(), anchor=0)
    rows = {}
    for name, (positions, held) in STARTS.items():
        atoms = adsorbate.relaxed(Atoms("OHH", positions), FMAX, held)
        found = stationary(adsorbate, atoms, vibrate=not held)
        rows[name] = Adsorption(adsorbate, [found]).row(found)
        rows[name]["positions_A"] = atoms.positions.tolist()
        print(name, rows[name], flush=True)
    rounded = json.loads(json.dumps(rows), parse_float=lambda text: round(float(text), 4) + 0.0)
    path = Path(__file__).with_name("water_nacl_sites.json")
    path.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
