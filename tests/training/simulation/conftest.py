"""A crystal on a pair potential."""

import ase
import pytest
from ase.build import bulk

from pair_model import PairModel
from sikff.calculators import SIKFFCalculator


@pytest.fixture
def atoms() -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.02, seed=0)
    atoms.calc = SIKFFCalculator(PairModel().double(), device="cpu")
    return atoms
