"""The repulsion of nuclei at short range."""

import ase
import numpy as np
import pytest
import torch

from sikff.forcefield.zbl import ZBL
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES

LIMIT = TOLERANCES[torch.float64].parity
ELEMENTS = ("H", "Si")


def pair_energy(symbols: str, r: float) -> float:
    atoms = ase.Atoms(symbols, positions=[[0, 0, 0], [0, 0, r]])
    graph = AtomicGraph.from_atoms(atoms, 5.0, ELEMENTS)
    return float(ZBL(ELEMENTS, 5.0).double()(graph.vectors().norm(dim=-1), graph).sum())


@pytest.mark.parametrize(("symbols", "z"), [("H2", (1, 1)), ("SiH", (14, 1)), ("Si2", (14, 14))])
def test_nuclei_repel_as_in_the_literature(symbols: str, z: tuple[int, int]) -> None:
    """Ziegler, Biersack and Littmark's formula in atomic units, where the fade has hardly begun."""
    r = 0.12
    bohr = r / 0.529177
    a = 0.8854 / (z[0] ** 0.23 + z[1] ** 0.23)
    terms = ((0.1818, 3.2), (0.5099, 0.9423), (0.2802, 0.4028), (0.02817, 0.2016))
    screening = sum(c * np.exp(-e * bohr / a) for c, e in terms)
    expected = z[0] * z[1] / bohr * screening * 27.2114
    assert pair_energy(symbols, r) == pytest.approx(expected, rel=0.01)


def test_the_repulsion_ends_where_bonds_begin() -> None:
    """It falls all the way, and is exactly zero at the sum of the covalent radii (2.22 Å)."""
    energies = [pair_energy("Si2", r) for r in np.linspace(0.2, 2.3, 40)]
    assert energies[0] > 100
    assert np.all(np.diff(energies) <= LIMIT)
    assert energies[-1] == 0.0
    assert pair_energy("Si2", 2.1) > 0


def test_the_repulsion_is_smooth_at_a_short_cutoff() -> None:
    atoms = ase.Atoms("Si2", [[0, 0, 0], [0, 0, 1.9999]])
    graph = AtomicGraph.from_atoms(atoms, 2.0, ELEMENTS)
    far, near = (
        float(ZBL(ELEMENTS, cutoff).double()(graph.vectors().norm(dim=-1), graph).sum())
        for cutoff in (2.0, 5.0)
    )
    assert 0 <= far < 1e-9 < 1e-3 < near
