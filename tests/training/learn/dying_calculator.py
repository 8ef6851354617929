"""Calculators that end their process, or never answer; imported there by their names."""

import os
import time
from pathlib import Path
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


class Waiting(EMT):
    """Writes to a pipe that it holds open, and computes for ever, as far as a test may last."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = Path(path)

    def calculate(self, *arguments: Any) -> None:
        with self.path.open("wb", buffering=0) as pipe:
            pipe.write(b"x")
            time.sleep(60)
        os._exit(1)
