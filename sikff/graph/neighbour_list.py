"""Neighbour lists with a skin (Verlet lists): graphs of moving structures without a search each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph.atomic_graph import AtomicGraph, joined_tensor
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_search import Edges, check_distances, check_finite, find_edges
from sikff.graph.structure import Structure


class _Candidates(NamedTuple):
    """All pairs nearer than cutoff + skin, and the structure in which they were searched."""

    edges: Edges
    positions: np.ndarray
    pbc: np.ndarray
    periods: np.ndarray  # [3, 3] cell vectors, zeros for aperiodic directions
    inverse: np.ndarray  # pseudo-inverse of periods


class _Selection(NamedTuple):
    """The last edges, and which of the candidates they are."""

    indices: np.ndarray  # of the candidates nearer than the cutoff
    crossings: np.ndarray  # [N, 3] cells that atoms have crossed since the search
    edges: Edges


class _Built(NamedTuple):
    """The last graph, and what it was built from."""

    graph: AtomicGraph
    numbers: np.ndarray
    cell: bytes
    pairs: np.ndarray
    conditions: Conditions


class NeighbourList:
    """Builds graphs of a moving structure, most of them without a search for neighbours.

    A search finds all pairs nearer than cutoff + skin. As long as no other pair can have come
    nearer than the cutoff, later graphs take their edges from these pairs: the same edges, in the
    same order, as a search would find. Atoms may be wrapped into the cell and the cell may change.

    Let P hold the periodic cell vectors of the search and P' the present ones, and let
    F = 1 + P^+ (P' - P), a deformation with P F = P'. Up to whole cells, the present positions are
    r' = r F + u. A pair that was further apart than cutoff + skin is now further apart than
    (cutoff + skin) sigma_min(F) - max |u_j - u_i|.

    Successive graphs share the tensors that do not change, on their device: in molecular dynamics
    only positions are copied there, and what is derived from the other tensors can be cached by
    their identity. One list serves one thread.

    Args:
        cutoff: neighbours nearer than this (Å) are joined.
        elements: chemical symbols; the species of an atom is the index of its symbol.
        surfaces: names of surfaces, see :meth:`AtomicGraph.from_atoms`.
        skin: Å; how much further than the cutoff the search reaches. 0: search for every graph.
        device: of the graphs.

    Attributes:
        rebuilds: number of searches so far.

    Raises:
        ValueError: for a cutoff that is not positive, or a skin that is negative or not finite.
    """

    def __init__(
        self,
        cutoff: float,
        elements: Sequence[str],
        surfaces: Sequence[str] = (),
        *,
        skin: float,
        device: torch.device | str = "cpu",
    ) -> None:
        if not cutoff > 0:
            raise ValueError(f"cutoff is {cutoff}; expected a positive length in Å")
        if not 0 <= skin < np.inf:
            raise ValueError(f"skin is {skin}; expected a length in Å, 0 or more")
        self.cutoff, self.skin, self.device = cutoff, skin, torch.device(device)
        self.elements, self.surfaces = tuple(elements), tuple(surfaces)
        self.rebuilds = 0
        self._candidates: _Candidates | None = None
        self._selection: _Selection | None = None
        self._built: _Built | None = None

    def graph(self, structure: Structure, conditions: Conditions | None = None) -> AtomicGraph:
        """The float64 graph that :meth:`AtomicGraph.from_atoms` builds of the structure.

        Args:
            structure: any; the less it differs from the previous one, the less work this is.
            conditions: electric field, surface, charge and spin; None: those in the `info` of an
                ase.Atoms.

        Raises:
            ValueError: as :meth:`AtomicGraph.from_atoms`.
        """
        check_finite(structure)
        edges = self._edges(structure)
        if conditions is None:
            conditions = Conditions.of(getattr(structure, "info", {}))
        last = self._built
        with torch.inference_mode(False):  # tensors of this graph are in later ones, outside it
            if (
                last is not None
                and last.conditions == conditions
                and np.array_equal(last.numbers, structure.numbers)
            ):
                check_distances(structure, edges)
                graph = self._updated(last, structure, edges)
            else:
                graph = AtomicGraph.from_edges(
                    structure, edges, self.elements, conditions=conditions, surfaces=self.surfaces
                ).to(self.device)
        cell = np.asarray(structure.cell).tobytes()
        self._built = _Built(graph, structure.numbers.copy(), cell, edges.pairs, conditions)
        return graph

    def _updated(self, last: _Built, structure: Structure, edges: Edges) -> AtomicGraph:
        """The last graph with the present positions and, where they changed, cell and edges."""
        changed = {"positions": self._tensor(structure.positions.copy())}
        if np.asarray(structure.cell).tobytes() != last.cell:
            changed["cell"] = self._tensor(np.array(structure.cell)[None])
        if edges.pairs is not last.pairs:
            changed["edge_index"] = self._tensor(edges.pairs)
            changed["shifts"] = self._tensor(edges.shifts)
        return dataclasses.replace(last.graph, **changed)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _edges(self, structure: Structure) -> Edges:
        """Searched if a pair may be missing in the candidates, else selected from them."""
        candidates, crossings = self._candidates, self._cells_crossed(structure)
        if candidates is None or crossings is None:
            self._candidates, self._selection = None, None
            edges = find_edges(structure, self.cutoff + self.skin)
            periods = _periods(structure)
            candidates = _Candidates(
                edges,
                structure.positions.copy(),
                structure.pbc.copy(),
                periods,
                np.linalg.pinv(periods),
            )
            self._candidates = candidates
            self.rebuilds += 1
            crossings = np.zeros((len(structure.positions), 3))
        self._selection = self._select(candidates.edges, structure, crossings)
        return self._selection.edges

    def _cells_crossed(self, structure: Structure) -> np.ndarray | None:
        """Whole cells [N, 3] to add to each position to undo wrapping; None if a search is due."""
        old = self._candidates
        if old is None or self.skin == 0 or len(old.positions) != len(structure.positions):
            return None
        if old.pbc.tolist() != structure.pbc.tolist():
            return None
        moves, least_stretch = structure.positions - old.positions, 1.0
        cells = np.zeros_like(moves)
        if structure.pbc.any():
            periods = _periods(structure)
            strain = old.inverse @ (periods - old.periods)  # F - 1
            if strain.any():
                moves -= old.positions @ strain
                least_stretch = np.linalg.svd(np.eye(3) + strain, compute_uv=False)[-1]
            moves -= moves[0]  # distances do not change if all atoms move alike
            cells = -np.round(moves @ old.inverse)
            moves += cells @ periods
        moves -= (moves.max(axis=0) + moves.min(axis=0)) / 2
        furthest = np.sqrt(np.einsum("nx,nx->n", moves, moves).max())
        least_distance = (self.cutoff + self.skin) * least_stretch - 2 * furthest  # of other pairs
        return cells if least_distance >= self.cutoff else None

    def _select(self, candidates: Edges, structure: Structure, crossings: np.ndarray) -> _Selection:
        """The candidates that are nearer than the cutoff now.

        Edges keep the arrays of pairs and shifts while the same candidates are selected.
        """
        pairs, shifts, _ = candidates
        receiver, sender = pairs
        positions, cell = structure.positions, np.asarray(structure.cell)
        periodic = structure.pbc.any()
        if periodic:
            positions = positions + crossings @ cell
        vectors = positions.take(sender, axis=0) - positions.take(receiver, axis=0)
        if periodic:
            vectors += shifts @ cell
        lengths = np.sqrt(np.einsum("ex,ex->e", vectors, vectors))
        indices = np.flatnonzero(lengths < self.cutoff)
        lengths, last = lengths.take(indices), self._selection
        if (
            last is not None
            and np.array_equal(last.indices, indices)
            and np.array_equal(last.crossings, crossings)
        ):
            return last._replace(edges=last.edges._replace(lengths=lengths))
        pairs, shifts = pairs.take(indices, axis=1), shifts.take(indices, axis=0)
        if periodic:
            receiver, sender = pairs
            shifts += crossings.take(sender, axis=0) - crossings.take(receiver, axis=0)
        return _Selection(indices, crossings, Edges(pairs, shifts, lengths))


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
    ) -> None:
        self._settings, self._skin = (cutoff, elements, surfaces), skin
        self._device = torch.device(device)
        self._single = NeighbourList(*self._settings, skin=skin, device=device)
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
            self._lists.append(NeighbourList(*self._settings, skin=self._skin))
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


def _periods(structure: Structure) -> np.ndarray:
    """The cell [3, 3] with zeros for aperiodic directions."""
    return np.where(structure.pbc[:, None], structure.cell, 0.0)
