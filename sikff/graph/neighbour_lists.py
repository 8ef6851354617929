"""Graphs of several structures that move, each with a neighbour list of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch

from sikff.graph.atomic_graph import AtomicGraph, joined_tensor
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList
from sikff.graph.structure import Structure


class NeighbourLists:
    """Builds one graph of several structures that move, each with a :class:`NeighbourList`.

    The structure at a place in the order is that of the same place in the last call; if it is
    another one, its neighbours are searched. Structures are joined on the CPU and copied to the
    device together; tensors that do not change are shared by successive graphs.

    Args: as those of :class:`NeighbourList`.
    """

    def __init__(
        self,
        cutoff: float,
        elements: Sequence[str],
        surfaces: Sequence[str] = (),
        *,
        skin: float,
        device: torch.device | str = "cpu",
        candidates: bool = False,
    ) -> None:
        self._device = torch.device(device)
        self._list = partial(
            NeighbourList, cutoff, elements, surfaces, skin=skin, candidates=candidates
        )
        self._single = self._list(device=device)
        self._lists: list[NeighbourList] = []  # of structures in a batch
        self._graphs: list[AtomicGraph] = []  # of the last batch, and
        self._joined: AtomicGraph | None = None  # all of them

    @property
    def rebuilds(self) -> int:
        """Number of searches so far."""
        return sum(each.rebuilds for each in (self._single, *self._lists))

    def graph(
        self, structures: Sequence[Structure], conditions: Sequence[Conditions]
    ) -> AtomicGraph:
        """The float64 graph of the structures, in their order.

        Raises:
            ValueError: as :meth:`AtomicGraph.from_atoms`; without structures.
        """
        if len(structures) == 1:
            return self._single.graph(structures[0], conditions[0])
        for _ in range(len(self._lists), len(structures)):
            self._lists.append(self._list())
        graphs = []
        for n, (structure, each) in enumerate(zip(structures, conditions, strict=True)):
            try:
                graphs.append(self._lists[n].graph(structure, each))
            except ValueError as error:
                raise ValueError(f"structure {n} of {len(structures)}: {error}") from error
        with torch.inference_mode(False):  # as in a single list
            self._joined = self._join(graphs)
        self._graphs = graphs
        return self._joined

    def _join(self, graphs: Sequence[AtomicGraph]) -> AtomicGraph:
        """All graphs as one, with the tensors of the last one where these did not change."""
        last = self._joined
        if last is None or [g.n_atoms for g in graphs] != [g.n_atoms for g in self._graphs]:
            return AtomicGraph.batch_of(graphs).to(self._device)
        pairs = list(zip(graphs, self._graphs, strict=True))
        names = [entry.name for entry in dataclasses.fields(AtomicGraph)]
        changed = {
            name: joined_tensor(graphs, name).to(self._device)
            for name in names
            if any(getattr(new, name) is not getattr(old, name) for new, old in pairs)
        }
        return dataclasses.replace(last, **changed)
