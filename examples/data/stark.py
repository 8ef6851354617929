"""Write ``acetonitrile_stark.csv``: the C-N stretch of acetonitrile in a field, GFN2-xTB.

The molecule lies along z, its nitrogen atom up, and is relaxed in fields along z; its dipole points
down. Columns: field (V/Å), harmonic frequency (1/cm), dipole along z (e Å).

Needs ``pip install pyscf tblite ase``::

    OMP_NUM_THREADS=1 python stark.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Calculator, all_changes
from field import label_gfn2
from labelling import write_text
from vibration import relaxed_stretch

FIELDS = np.linspace(-1.0, 1.0, 9)  # V/Å, along z
BOND = (1, 2)  # C and N in ase.build.molecule("CH3CN")


class InField(Calculator):
    """GFN2-xTB in the uniform field of ``atoms.info["electric_field"]``."""

    implemented_properties = ("energy", "forces", "dipole")

    def calculate(
        self, atoms: Atoms | None = None, properties: Any = (), system_changes: Any = all_changes
    ) -> None:
        super().calculate(atoms, properties, system_changes)
        labelled = label_gfn2(self.atoms)
        self.results = {
            "energy": labelled.info["REF_energy"],
            "forces": labelled.arrays["REF_forces"],
            "dipole": labelled.info["REF_dipole"],
        }


def main() -> None:
    rows = ["field,frequency,dipole"]
    for field in FIELDS:
        atoms = molecule("CH3CN")
        atoms.info["electric_field"] = (0.0, 0.0, field)
        atoms.calc = InField()
        frequency = relaxed_stretch(atoms, BOND)
        rows.append(f"{field:.2f},{frequency:.2f},{atoms.get_dipole_moment()[2]:.5f}")
        print(rows[-1], flush=True)
    write_text(Path(__file__).with_name("acetonitrile_stark.csv"), "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
