"""Total charge and unpaired electrons of structures, shared among their atoms."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sikff.forcefield.environment_config import EnvironmentConfig
from sikff.forcefield.halo import Halo
from sikff.forcefield.network import one_hot
from sikff.graph import AtomicGraph

POWERS = 2  # of a share: its attributes are the share and its square
OF_ATTRIBUTES = ("share_energy", "share_start", "share_gate")  # weights, a row for each attribute
OF_TOTALS = ("log_affinity",)  # weights, a row for each total


class ElectronShares(nn.Module):
    """Invariant attributes of atoms that describe the charge and the spin of their structure.

    A total Q, the charge or the number of unpaired electrons, is shared among the atoms of its
    structure by learned positive affinities a of the elements:

        q_i = Q a(z_i) / sum_j a(z_j)

    The attributes of an atom are q_i and q_i^2, each at the index of its element. Where Q is zero
    they are exactly zero. Copies of a system with as many times its charge have the shares of the
    system, so their energies add up. Shares depend on the composition and not on positions: in one
    structure with an ion a distant neutral molecule takes a part of the charge, and the energy of
    the two is not the sum of their energies.

    Args:
        environment: whether charge and spin are read.
        n_species: number of elements.

    Attributes:
        totals: the tensors of a graph that are shared.
        n_attributes: of an atom.
    """

    def __init__(self, environment: EnvironmentConfig, n_species: int) -> None:
        super().__init__()
        self.totals = environment.totals
        self.n_attributes = len(self.totals) * POWERS * n_species
        self.log_affinity = nn.Parameter(torch.zeros(len(self.totals), n_species))

    def shares(self, graph: AtomicGraph, halo: Halo | None = None) -> Tensor:
        """The share of each atom in each total, float64 [N, totals].

        ``halo``: of the atoms that share the totals, too.
        """
        affinity = self.log_affinity.double().T.index_select(0, graph.species).exp()
        sums = affinity.new_zeros(len(graph.charge), len(self.totals))
        sums = sums.index_add(0, graph.batch, affinity)
        sums = sums if halo is None else halo.total(sums)
        totals = torch.stack([getattr(graph, name).double() for name in self.totals], dim=-1)
        # of atoms first: structures of padded graphs may have none
        totals, sums = (x.index_select(0, graph.batch) for x in (totals, sums))
        return totals * affinity / sums

    def forward(self, graph: AtomicGraph, halo: Halo | None = None) -> Tensor:
        """Attributes [N, n_attributes], in the order of totals, powers, elements."""
        shares, dtype = self.shares(graph, halo), self.log_affinity.dtype
        powers = torch.stack([shares, shares * shares], dim=-1).to(dtype)
        species = one_hot(graph.species, self.log_affinity.shape[1], dtype)
        return (powers.unsqueeze(-1) * species[:, None, None, :]).flatten(1)

    def selection(self, old: ElectronShares) -> Tensor:
        """Matrix [n_attributes, n_old] from attributes (rows) to those of a model that is widened.

        Its weights for attributes become zero for those that it does not read.
        """
        totals = self._matching(old)
        return torch.kron(totals, torch.eye(self.n_attributes // len(totals)).to(totals))

    def _matching(self, old: ElectronShares) -> Tensor:
        """1 for the same total, [totals, old totals]."""
        weight = old.log_affinity.detach()
        return weight.new_tensor([[float(a == b) for b in old.totals] for a in self.totals])

    def widened(self, state: Mapping[str, Tensor], old: ElectronShares) -> dict[str, Tensor]:
        """Weights of a model or network with old shares for one with these, which are more."""
        by_name = dict.fromkeys(OF_ATTRIBUTES, self.selection(old))
        by_name |= dict.fromkeys(OF_TOTALS, self._matching(old))
        matrices = {key: by_name.get(key.rpartition(".")[-1]) for key in state}
        return {
            key: weight if matrices[key] is None else torch.tensordot(matrices[key], weight, 1)
            for key, weight in state.items()
        }


def widened(
    state: Mapping[str, Tensor], old: ElectronShares | None, new: ElectronShares | None
) -> dict[str, Tensor]:
    """Weights of a state dict for a model that reads more totals; without those of new totals."""
    return dict(state) if old is None or new is None else new.widened(state, old)
