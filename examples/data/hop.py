"""Generate ``water_nacl_hop.csv``: where water sits on NaCl(001) in GFN1-xTB, and how it hops.

The molecule is relaxed above a sodium ion, and half-way to the next one, where a mirror plane of
the surface keeps it: there its lowest energy is the barrier of the hop from its mirror image. Both
starts are near, from a force field (examples/water_on_salt.py), but do not matter. The labels are
those of ``surface.py``. Needs ``pip install tblite ase scipy``; half a minute::

    OMP_NUM_THREADS=1 python hop.py
"""

from __future__ import annotations

import csv
from pathlib import Path

from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from ase.optimize import BFGS

import surface

FMAX = 0.01  # eV/Å


class Labels(Calculator):
    """Energies and forces as in ``surface.py``."""

    implemented_properties = ("energy", "forces")

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy, forces = surface.gfn1(atoms)
        more, pull = surface.interaction(atoms, "nacl")
        self.results = {"energy": energy + more, "forces": forces + pull}


def relaxed(atoms: Atoms) -> float:
    """Energy (eV) after relaxation."""
    atoms.calc = Labels()
    BFGS(atoms, logfile=None).run(fmax=FMAX, steps=100)
    print(atoms.positions.round(3).tolist(), atoms.get_potential_energy())
    return atoms.get_potential_energy()


def main() -> None:
    free = molecule("H2O")
    free.positions[:, 2] += surface.CELL_HEIGHT / 2
    starts = (free, Atoms("OHH", surface.SITE), Atoms("OHH", surface.SADDLE))
    energies = [relaxed(atoms) for atoms in starts]
    rows = {"adsorption": energies[1] - energies[0], "barrier": energies[2] - energies[1]}
    path = Path(__file__).with_name("water_nacl_hop.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["quantity", "meV"])
        writer.writerows((name, f"{1000 * energy:.1f}") for name, energy in rows.items())
    print(f"wrote {path}")


if __name__ == "__main__":
    main()
