"""The smallest force field: a smooth pair potential, for tests of code that takes any model."""

import ase
import numpy as np
import torch
from ase.build import bulk, fcc111, molecule
from torch import Tensor

from sikff.forcefield import EnergyModel
from sikff.graph import AtomicGraph


class PairModel(EnergyModel):
    """E_i = 1/2 sum_j w(z_i, z_j) (1 - (r/cutoff)^2)^3 - q_i F.r_i, with weights w to learn."""

    def __init__(self, elements: tuple[str, ...] = ("H", "Cu"), cutoff: float = 4.0) -> None:
        super().__init__()
        self.elements, self.cutoff = elements, cutoff
        count = len(elements)
        start = torch.linspace(0.5, 1.5, count * count).reshape(count, count)
        self.weight = torch.nn.Parameter(start + start.T)
        self.register_buffer("charges", torch.linspace(-0.2, 0.3, count))

    @property
    def field_directions(self) -> np.ndarray:
        return np.eye(3)

    def atomic_energies(self, graph: AtomicGraph) -> Tensor:
        receiver, sender = graph.edge_index
        x = graph.vectors().square().sum(-1) / self.cutoff**2
        weight = self.weight[graph.species[receiver], graph.species[sender]]
        pair = 0.5 * weight * (1 - x).clamp(min=0) ** 3
        energies = pair.new_zeros(graph.n_atoms).index_add(0, receiver, pair)
        work = (graph.positions * graph.field[graph.batch]).sum(-1)
        return (energies - self.charges[graph.species] * work).double()


def structures() -> list[ase.Atoms]:
    """A rattled crystal, a slab with and without a cell vector in vacuum, a molecule, an atom."""
    crystal = bulk("Cu", cubic=True)
    crystal.set_cell(crystal.cell @ np.array([[1, 0.1, 0], [0, 1, 0.05], [0, 0, 1]]), True)
    slab = fcc111("Cu", (2, 1, 2), vacuum=6.0)
    slab.pbc = (True, True, False)
    thin = fcc111("Cu", (1, 2, 2))
    systems = [crystal, slab, thin, molecule("H2"), ase.Atoms("Cu")]
    for seed, atoms in enumerate(systems):
        atoms.rattle(0.05, seed=seed)
    return systems
