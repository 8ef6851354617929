"""Molecules as graphs whose edges are bonds, or pairs within a cutoff; batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import ase
import numpy as np
import torch
from torch import Tensor

from sikff.graph import AtomicGraph, Edges

from ..samples import Samples
from .molecule_files import Molecule

ELEMENTS = ("H", "C", "N", "O", "F")
BOND_TYPES = 5  # none, single, double, triple, aromatic


@dataclass(frozen=True, eq=False)
class MoleculeGraphs(Samples):
    """B molecules, atoms and edges one after the other.

    Attributes:
        positions: [N, 3] Å.
        species: index of each atom's element in ``ELEMENTS`` [N].
        edge_index: receivers and senders [2, E].
        bonds: type of the bond of each edge [E]; 0: none or unknown.
        n_atoms, n_edges: of each molecule [B].
    """

    VECTORS = ("positions",)

    positions: Tensor
    species: Tensor
    edge_index: Tensor
    bonds: Tensor
    n_atoms: Tensor
    n_edges: Tensor

    def __len__(self) -> int:
        return len(self.n_atoms)

    @property
    def batch(self) -> Tensor:
        """The molecule of each atom [N]."""
        numbers = torch.arange(len(self), device=self.n_atoms.device)
        return numbers.repeat_interleave(self.n_atoms)

    @property
    def vectors(self) -> Tensor:
        """x_j - x_i of each edge, [E, 3] Å."""
        receiver, sender = self.edge_index
        return self.positions[sender] - self.positions[receiver]

    def select(self, chosen: Tensor) -> MoleculeGraphs:
        """The molecules with these numbers [K], in this order."""
        n_atoms, n_edges = self.n_atoms[chosen], self.n_edges[chosen]
        atoms, edges = _indices(self.n_atoms, chosen), _indices(self.n_edges, chosen)
        shifts = _starts(n_atoms) - _starts(self.n_atoms)[chosen]
        return MoleculeGraphs(
            self.positions[atoms],
            self.species[atoms],
            self.edge_index[:, edges] + shifts.repeat_interleave(n_edges),
            self.bonds[edges],
            n_atoms,
            n_edges,
        )


def graphs_of(molecules: Sequence[Molecule], cutoff: float | None = None) -> MoleculeGraphs:
    """Graphs in float64.

    Args:
        molecules: B of them.
        cutoff: of edges, Å; None: edges are covalent bonds.

    Raises:
        ValueError: unknown bonds that are needed, an element that is none of ``ELEMENTS``, or atoms
            that are too close.
    """
    graphs = [_graph(molecule, cutoff) for molecule in molecules]
    batch = AtomicGraph.batch_of(graphs)
    return MoleculeGraphs(
        batch.positions,
        batch.species,
        batch.edge_index,
        torch.cat([_bond_types(m, g) for m, g in zip(molecules, graphs, strict=True)]),
        torch.tensor([graph.n_atoms for graph in graphs]),
        torch.tensor([graph.n_edges for graph in graphs]),
    )


def _graph(molecule: Molecule, cutoff: float | None) -> AtomicGraph:
    atoms = ase.Atoms(molecule.numbers, molecule.positions)
    try:
        if cutoff is not None:
            return AtomicGraph.from_atoms(atoms, cutoff, ELEMENTS)
        return AtomicGraph.from_edges(atoms, _covalent_edges(molecule), ELEMENTS)
    except ValueError as error:
        raise ValueError(f"molecule {molecule.name}: {error}") from error


def _covalent_edges(molecule: Molecule) -> Edges:
    """Both directions of each bond."""
    if molecule.bonds is None:
        raise ValueError(
            "its bonds are not known, as in the XYZ files of QM9; take gdb9.sdf, or a radius graph"
        )
    pairs = np.concatenate([molecule.bonds, molecule.bonds[:, ::-1]])
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    lengths = np.linalg.norm(np.diff(molecule.positions[pairs], axis=1)[:, 0], axis=1)
    return Edges(np.ascontiguousarray(pairs.T), np.zeros((len(pairs), 3)), lengths)


def _bond_types(molecule: Molecule, graph: AtomicGraph) -> Tensor:
    """Of each edge [E]."""
    types = np.zeros((len(molecule.numbers),) * 2, np.int64)
    if molecule.bonds is not None and molecule.orders is not None:
        i, j = molecule.bonds.T
        types[i, j] = types[j, i] = molecule.orders
    receiver, sender = graph.edge_index.numpy()
    return torch.from_numpy(types[receiver, sender])


def _starts(counts: Tensor) -> Tensor:
    """First index of each of consecutive runs of these lengths."""
    return counts.cumsum(0) - counts


def _indices(counts: Tensor, chosen: Tensor) -> Tensor:
    """Indices of all members of the chosen of consecutive runs of these lengths."""
    kept = counts[chosen]
    shifts = _starts(counts)[chosen] - _starts(kept)
    return torch.arange(int(kept.sum()), device=counts.device) + shifts.repeat_interleave(kept)
