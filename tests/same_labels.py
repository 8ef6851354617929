"""Structures that were read, compared with those that were written."""

import ase
import numpy as np
from ase.units import GPa

from sikff.training.data.labels import find_label

KBAR = 0.1 * GPa


def expect_equal(found: list[ase.Atoms], expected: list[ase.Atoms], stress: bool = True) -> None:
    """Checks that structures and labels are the same; `expected` have results of ASE's EMT."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.numbers.tolist() == other.numbers.tolist()
        assert one.pbc.tolist() == other.pbc.tolist()
        np.testing.assert_allclose(one.positions, other.positions, atol=1e-9)
        np.testing.assert_allclose(one.cell, other.cell, atol=1e-9)
        for name in ("energy", "forces", *["stress"][: int(stress)]):
            labels = [find_label(atoms, name) for atoms in (one, other)]
            assert labels[0] is not None and labels[1] is not None
            assert abs(labels[1].value).max() > 1e-3
            np.testing.assert_allclose(labels[0].value, labels[1].value, atol=1e-9)


def molecules(frames: list[ase.Atoms]) -> list[ase.Atoms]:
    """Structures of the same atoms without a cell."""
    chosen = frames[::6]
    for atoms in chosen:
        atoms.calc.atoms.set_cell(None)
        atoms.set_cell(None)
        atoms.pbc = atoms.calc.atoms.pbc = False
    return chosen
