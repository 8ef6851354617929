"""MoleculeGraphs of bonds and of near pairs, and their batches."""

import numpy as np
import pytest
import torch

from sikff.training.studies.molecules.molecule_files import Molecule
from sikff.training.studies.molecules.molecule_graphs import ELEMENTS, MoleculeGraphs, graphs_of
from sikff.training.studies.molecules.qm9_dataset import Dataset

CYANIDE = Molecule(
    "HCN",
    np.array([6, 7, 1]),
    np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.16], [0.0, 0.0, -1.07]]),
    np.array([[0, 1], [0, 2]]),
    np.array([3, 1]),
)


def same(a: MoleculeGraphs, b: MoleculeGraphs) -> bool:
    names = ("positions", "species", "edge_index", "bonds", "n_atoms", "n_edges")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


def test_bonds_are_edges_in_both_directions() -> None:
    graphs = graphs_of([CYANIDE, CYANIDE])
    assert [ELEMENTS[k] for k in graphs.species] == ["C", "N", "H"] * 2
    edges = list(zip(*graphs.edge_index.tolist(), graphs.bonds.tolist(), strict=True))
    first = [(0, 1, 3), (0, 2, 1), (1, 0, 3), (2, 0, 1)]
    assert edges == first + [(i + 3, j + 3, order) for i, j, order in first]
    assert graphs.vectors[0].tolist() == [0, 0, 1.16]
    assert graphs.n_atoms.tolist() == [3, 3] and graphs.n_edges.tolist() == [4, 4]
    assert graphs.batch.tolist() == [0, 0, 0, 1, 1, 1]


def test_radius_graphs_have_bond_types() -> None:
    """N and H, 2.23 Å apart, are near and not bonded."""
    graphs = graphs_of([CYANIDE], cutoff=2.5)
    edges = list(zip(*graphs.edge_index.tolist(), graphs.bonds.tolist(), strict=True))
    assert edges == [(0, 1, 3), (0, 2, 1), (1, 0, 3), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    bare = graphs_of([CYANIDE._replace(bonds=None, orders=None)], cutoff=2.5)
    assert torch.equal(bare.edge_index, graphs.edge_index) and not bare.bonds.any()


@pytest.mark.parametrize("cutoff", [None, 3.0])
def test_a_batch_is_its_molecules(stand_in: Dataset, cutoff: float | None) -> None:
    molecules = stand_in.molecules[:12]
    whole = graphs_of(molecules, cutoff)
    chosen = [7, 0, 11, 7]
    assert same(
        whole.select(torch.tensor(chosen)), graphs_of([molecules[k] for k in chosen], cutoff)
    )
    assert len(whole.select(torch.tensor(chosen))) == 4


def test_invalid_molecules_raise() -> None:
    with pytest.raises(ValueError, match="molecule HCN: its bonds are not known, as in the XYZ"):
        graphs_of([CYANIDE._replace(bonds=None, orders=None)])
    with pytest.raises(ValueError, match=r"molecule HCN: structure .* holds Cl"):
        graphs_of([CYANIDE._replace(numbers=np.array([6, 7, 17]))])
    with pytest.raises(ValueError, match=r"molecule HCN: atoms .* apart; expected at least 0\.1 Å"):
        graphs_of([CYANIDE._replace(positions=CYANIDE.positions / 100)])
