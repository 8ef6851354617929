"""Small random structures and their edges, for tests of neighbour lists."""

import ase
import numpy as np
import torch
from ase.neighborlist import primitive_neighbor_list

from sikff.graph import MIN_DISTANCE, AtomicGraph


def edges(graph: AtomicGraph) -> list[tuple[int, ...]]:
    """(receiver, sender, shift) of every edge, in the order of the graph."""
    return list(map(tuple, torch.cat([graph.edge_index.T, graph.shifts.long()], 1).tolist()))


def reference(atoms: ase.Atoms, cutoff: float) -> list[tuple[int, ...]]:
    """ASE's slow search, with unit normals where there is no cell vector; sorted."""
    found = primitive_neighbor_list(
        "ijS", atoms.pbc, atoms.cell.complete().array, atoms.positions, cutoff
    )
    return sorted(map(tuple, np.column_stack(found).tolist()))


def random_atoms(seed: int, pbc: tuple[bool, bool, bool], scale: float) -> ase.Atoms:
    """A few atoms, partly outside a skewed cell whose edges are about 4 Å times `scale`."""
    rng = np.random.default_rng(seed)
    while True:
        cell = scale * (4 * np.eye(3) + rng.uniform(-2, 2, (3, 3)))
        n = int(rng.integers(1, 6))
        atoms = ase.Atoms(f"H{n}", positions=rng.uniform(-5, 5, (n, 3)), cell=cell, pbc=pbc)
        if abs(np.linalg.det(cell)) > 10 * scale**3 and not reference(atoms, MIN_DISTANCE):
            return atoms
