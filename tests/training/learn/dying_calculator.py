"""A calculator that ends its process; imported there by its name."""

import os
from typing import Any

from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT


class Dying(EMT):
    """Ends its process for structures with a short bond; fails for long ones."""

    def calculate(self, atoms: Any = None, *arguments: Any) -> None:
        length = atoms.get_distance(0, 1)
        if length < 1.0:
            os._exit(1)
        if length > 2.0:
            raise CalculationFailed("SCF not converged\nin 250 cycles")
        super().calculate(atoms, *arguments)
