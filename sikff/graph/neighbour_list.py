"""Neighbour lists with a skin (Verlet lists): graphs of moving structures without a search each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import ase
import numpy as np
import torch
from torch import Tensor

from sikff.graph.atomic_graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_search import Edges, check_distances, check_finite, find_edges


class _Candidates(NamedTuple):
    """All pairs nearer than cutoff + skin, and the structure in which they were searched."""

    edges: Edges
    positions: np.ndarray
    pbc: np.ndarray
    periods: np.ndarray  # [3, 3] cell vectors, zeros for aperiodic directions
    inverse: np.ndarray  # pseudo-inverse of periods
    receivers: int | None  # atoms whose edges were searched, the first ones; None: all


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

    def graph(
        self,
        atoms: ase.Atoms,
        conditions: Conditions | None = None,
        receivers: int | None = None,
    ) -> AtomicGraph:
        """The float64 graph that :meth:`AtomicGraph.from_atoms` builds of `atoms`.

        Args:
            atoms: any structure; the less it differs from the previous one, the less work this is.
            conditions: electric field and surface; None: those in ``atoms.info``.
            receivers: only so many atoms, the first ones, get edges to others; None: all.

        Raises:
            ValueError: as :meth:`AtomicGraph.from_atoms`.
        """
        check_finite(atoms)
        edges = self._edges(atoms, receivers)
        if conditions is None:
            conditions = Conditions.of(atoms.info)
        last = self._built
        with torch.inference_mode(False):  # tensors of this graph are in later ones, outside it
            if (
                last is not None
                and last.conditions == conditions
                and np.array_equal(last.numbers, atoms.numbers)
            ):
                check_distances(atoms, edges)
                graph = self._updated(last, atoms, edges)
            else:
                graph = AtomicGraph.from_edges(
                    atoms, edges, self.elements, conditions=conditions, surfaces=self.surfaces
                ).to(self.device)
        cell = atoms.cell.array.tobytes()
        self._built = _Built(graph, atoms.numbers.copy(), cell, edges.pairs, conditions)
        return graph

    def _updated(self, last: _Built, atoms: ase.Atoms, edges: Edges) -> AtomicGraph:
        """The last graph with the present positions and, where they changed, cell and edges."""
        changed = {"positions": self._tensor(atoms.positions.copy())}
        if atoms.cell.array.tobytes() != last.cell:
            changed["cell"] = self._tensor(atoms.cell.array[None].copy())
        if edges.pairs is not last.pairs:
            changed["edge_index"] = self._tensor(edges.pairs)
            changed["shifts"] = self._tensor(edges.shifts)
        return dataclasses.replace(last.graph, **changed)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _edges(self, atoms: ase.Atoms, receivers: int | None) -> Edges:
        """Searched if a pair may be missing in the candidates, else selected from them."""
        if self._candidates is not None and self._candidates.receivers != receivers:
            self._candidates = None
        candidates, crossings = self._candidates, self._cells_crossed(atoms)
        if candidates is None or crossings is None:
            self._candidates, self._selection = None, None
            edges = find_edges(atoms, self.cutoff + self.skin, receivers)
            periods = _periods(atoms)
            candidates = _Candidates(
                edges,
                atoms.positions.copy(),
                atoms.pbc.copy(),
                periods,
                np.linalg.pinv(periods),
                receivers,
            )
            self._candidates = candidates
            self.rebuilds += 1
            crossings = np.zeros((len(atoms), 3))
        self._selection = self._select(candidates.edges, atoms, crossings)
        return self._selection.edges

    def _cells_crossed(self, atoms: ase.Atoms) -> np.ndarray | None:
        """Whole cells [N, 3] to add to each position to undo wrapping; None if a search is due."""
        old = self._candidates
        if old is None or self.skin == 0 or len(old.positions) != len(atoms):
            return None
        if old.pbc.tolist() != atoms.pbc.tolist() or not len(atoms):
            return None
        moves, least_stretch = atoms.positions - old.positions, 1.0
        cells = np.zeros_like(moves)
        if atoms.pbc.any():
            periods = _periods(atoms)
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

    def _select(self, candidates: Edges, atoms: ase.Atoms, crossings: np.ndarray) -> _Selection:
        """The candidates that are nearer than the cutoff now.

        Edges keep the arrays of pairs and shifts while the same candidates are selected.
        """
        pairs, shifts, _ = candidates
        receiver, sender = pairs
        positions, periodic = atoms.positions, atoms.pbc.any()
        if periodic:
            positions = positions + crossings @ atoms.cell.array
        vectors = positions.take(sender, axis=0) - positions.take(receiver, axis=0)
        if periodic:
            vectors += shifts @ atoms.cell.array
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


def _periods(atoms: ase.Atoms) -> np.ndarray:
    """The cell [3, 3] with zeros for aperiodic directions."""
    return np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
