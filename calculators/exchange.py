"""Exchange of features of atoms between MPI processes that share a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sikff.forcefield.halo import Halo

if TYPE_CHECKING:
    from mpi4py.MPI import Comm


class Exchange(Halo):
    """Sends values of atoms to the processes that have copies of them, and gradients back.

    One is made whenever atoms change their process, and serves until they do again. In a graph,
    ghosts stand behind the owned atoms in the order of `ghost_order`, by their owner, so that what
    arrives is in place.

    Args:
        comm: the processes.
        owned: [M] identifiers of the atoms of this process; each belongs to one process.
        ghosts: [N - M] identifiers of the copies here; several may be of one atom.

    Attributes:
        ghost_order: [N - M] the ghosts in the order of their owners.

    Raises:
        ValueError: if nobody owns the atom of a ghost.
    """

    def __init__(self, comm: Comm, owned: np.ndarray, ghosts: np.ndarray) -> None:
        super().__init__(len(owned))
        self.comm = comm
        owner, index = _find_owners(comm, owned, ghosts)
        self.ghost_order = np.argsort(owner, kind="stable")
        self._received = np.bincount(owner, minlength=comm.size)
        self._sent = np.empty_like(self._received)
        comm.Alltoall(self._received, self._sent)
        wanted = np.empty(self._sent.sum(), np.int64)
        index = np.ascontiguousarray(index[self.ghost_order])
        comm.Alltoallv([index, self._received], [wanted, self._sent])
        self._wanted = torch.from_numpy(
            wanted
        )  # of the owned atoms, by the process that wants them

    def spread(self, values: Tensor) -> Tensor:
        n, width = self.n_owned + len(self.ghost_order), values.shape[1]
        found = values.new_empty(n, width, device="cpu")
        found[: self.n_owned] = values
        wanted = values.index_select(0, self._wanted.to(values.device)).cpu()
        self._alltoall(wanted, self._sent, found[self.n_owned :], self._received)
        return found.to(values.device)

    def collect(self, values: Tensor) -> Tensor:
        width, ghosts = values.shape[1], values[self.n_owned :].cpu().contiguous()
        arrived = ghosts.new_empty(len(self._wanted), width)
        self._alltoall(ghosts, self._received, arrived, self._sent)
        device = values.device
        return values[: self.n_owned].index_add(0, self._wanted.to(device), arrived.to(device))

    def total(self, values: Tensor) -> Tensor:
        mine = values.detach().cpu().contiguous()
        result = torch.empty_like(mine)
        self.comm.Allreduce(mine.numpy(), result.numpy())
        return result.to(values.device)

    def _alltoall(
        self, values: Tensor, sent: np.ndarray, result: Tensor, received: np.ndarray
    ) -> None:
        """Rows of contiguous tensors, so many to and from each process."""
        width = values.shape[1]
        self.comm.Alltoallv(
            [values.detach().numpy(), sent * width], [result.detach().numpy(), received * width]
        )


def _find_owners(
    comm: Comm, owned: np.ndarray, ghosts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The process that owns each ghost's atom, and the atom's index there."""
    counts = np.array(comm.allgather(len(owned)))
    every = np.empty(counts.sum(), np.int64)
    comm.Allgatherv(owned.astype(np.int64), [every, counts])
    order = np.argsort(every)
    at = order[np.searchsorted(every, ghosts, sorter=order).clip(max=len(every) - 1)]
    if not np.array_equal(every[at], ghosts):
        raise ValueError("nobody owns some of the atoms that were copied here")
    first = np.cumsum(counts) - counts
    owner = np.searchsorted(first, at, side="right") - 1
    return owner, at - first[owner]
