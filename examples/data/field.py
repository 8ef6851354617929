"""Generate ``molecules_field.xyz`` and ``molecules_field_pbe.xyz``: molecules in a field.

Geometries
    As in ``methanol_field.py``: GFN2-xTB Langevin dynamics of one molecule at 300, 450 and 600 K
    without a field, each snapshot turned by its own rotation, uniform in SO(3). The field is along
    +z; consecutive snapshots take the strengths 0, 0.005, 0.010, 0.015 and 0.020 a.u. in turn.

Labels (``--level``)
    ``gfn2``: GFN2-xTB with tblite. The field enters the Hamiltonian and the energy of the cores;
    the forces contain it.
    ``pbe``: PBE/def2-SVP with PySCF, by the functions of ``methanol_field.py``.
    Both for water, methanol and acetonitrile. In both a charge q has the energy -q F.r, so the
    molecule gains -mu.F to first order.

Units and keys (extended XYZ) are those of ``methanol_field.xyz``: positions Å, ``REF_energy`` eV,
``REF_forces`` eV/Å, ``REF_dipole`` e Å (from negative to positive charge), ``electric_field`` V/Å,
``config_type`` such as ``field_0.010au_T450`` or ``IsolatedAtom``. Positions and forces have five
decimals, energies and dipoles six.

The isolated atoms come first, then the molecules in a shuffled order fixed by the seed. An
interrupted run continues (see ``labelling.py``). Needs ``pip install pyscf tblite ase scipy``::

    OMP_NUM_THREADS=1 python field.py --check                    # test the labels, write nothing
    OMP_NUM_THREADS=1 python field.py                            # molecules_field.xyz
    OMP_NUM_THREADS=1 python field.py --level pbe --workers 4    # molecules_field_pbe.xyz
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import methanol_field
import numpy as np
from ase import Atoms
from ase.units import Bohr, Hartree
from labelling import generate
from methanol_field import FIELD_UNIT, FORCE_UNIT, TEMPERATURES, UNPAIRED, elements
from tblite.interface import Calculator

MOLECULES = ("H2O", "CH3OH", "CH3CN")
STRENGTHS = (0.0, 0.005, 0.01, 0.015, 0.02)  # atomic units, along +z
COUNT = {"gfn2": 20, "pbe": 5}  # frames per molecule, field strength and temperature
OUTPUT = {"gfn2": "molecules_field.xyz", "pbe": "molecules_field_pbe.xyz"}


def label_gfn2(atoms: Atoms) -> Atoms:
    """A copy of ``atoms`` with REF_energy (eV), REF_forces (eV/Å) and REF_dipole (e Å)."""
    labelled = atoms.copy()
    uhf = UNPAIRED[atoms.symbols[0]] if len(atoms) == 1 else 0
    calculator = Calculator("GFN2-xTB", atoms.numbers, atoms.positions / Bohr, uhf=uhf)
    calculator.set("verbosity", 0)
    calculator.set("accuracy", 0.01)
    field = np.asarray(atoms.info["electric_field"], dtype=float) / FIELD_UNIT
    calculator.add("electric-field", field.tolist())
    result = calculator.singlepoint()
    labelled.info["REF_energy"] = float(result.get("energy") * Hartree)
    labelled.info["REF_dipole"] = result.get("dipole") * Bohr
    labelled.arrays["REF_forces"] = -result.get("gradient") * FORCE_UNIT
    return labelled


LABELS = {"gfn2": label_gfn2, "pbe": methanol_field.label}


def label(atoms: Atoms, level: str) -> Atoms:
    """A copy of ``atoms`` with the labels of ``level``, rounded as the file stores them."""
    labelled = LABELS[level](atoms)
    labelled.info["REF_energy"] = round(labelled.info["REF_energy"], 6)
    labelled.info["REF_dipole"] = np.round(labelled.info["REF_dipole"], 6) + 0.0  # no -0
    labelled.arrays["REF_forces"] = np.round(labelled.arrays["REF_forces"], 5)
    return labelled


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Molecules in a uniform electric field.")
    parser.add_argument("--level", choices=LABELS, default="gfn2")
    parser.add_argument("--output", type=Path, help="default: see above, beside the script")
    parser.add_argument("--molecules", nargs="+", help="names of ase.build.molecule")
    parser.add_argument("--count", type=int, help="frames per molecule, strength and temperature")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="frames labelled at a time")
    parser.add_argument("--check", action="store_true", help="test the labels, write nothing")
    options = parser.parse_args()
    level = options.level
    names = tuple(options.molecules or MOLECULES)
    if options.check:
        for name in names:
            methanol_field.check(name, max(STRENGTHS), LABELS[level], options.seed)
        return
    output = options.output or Path(__file__).with_name(OUTPUT[level])
    count = options.count or COUNT[level]
    sample = partial(
        methanol_field.sample_geometries, names, STRENGTHS, count, options.seed, decimals=5
    )
    expected = len(elements(names)) + count * len(names) * len(STRENGTHS) * len(TEMPERATURES)
    generate(output, sample, partial(label, level=level), expected, options.workers)


if __name__ == "__main__":
    main()
