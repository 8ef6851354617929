"""Neighbour lists with a skin (Verlet lists): graphs of moving structures without a search each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sikff.graph.atomic_graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_search import (
    MIN_DISTANCE,
    Edges,
    check_distances,
    check_finite,
    find_edges,
)
from sikff.graph.structure import Structure


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
    shifts: np.ndarray
    conditions: Conditions


class _Moves(NamedTuple):
    """How far atoms have come since the search."""

    cells: np.ndarray  # [N, 3] whole cells to add to each position to undo wrapping
    least_stretch: float  # of lengths, by the cell
    furthest: float  # Å, that an atom has moved beside the cell and all others

    def least(self, distance: float) -> float:
        """The least present distance of two atoms that were so far apart."""
        return distance * self.least_stretch - 2 * self.furthest


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
        candidates: graphs have all pairs that the search found, also those beyond the cutoff. So
            edges stay the same until the next search, and a step takes a time that does not grow
            with their number; for a GPU, which selects those that are nearer.

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
        candidates: bool = False,
    ) -> None:
        if not cutoff > 0:
            raise ValueError(f"cutoff is {cutoff}; expected a positive length in Å")
        if not 0 <= skin < np.inf:
            raise ValueError(f"skin is {skin}; expected a length in Å, 0 or more")
        self.cutoff, self.skin, self.device = cutoff, skin, torch.device(device)
        self.elements, self.surfaces = tuple(elements), tuple(surfaces)
        self.candidates, self.rebuilds = candidates, 0
        self._candidates: _Candidates | None = None
        self._nearest = np.inf  # least distance of candidates, at the search
        self._selection: _Selection | None = None
        self._built: _Built | None = None

    def graph(
        self,
        structure: Structure,
        conditions: Conditions | None = None,
        receivers: int | None = None,
    ) -> AtomicGraph:
        """The float64 graph that :meth:`AtomicGraph.from_atoms` builds of the structure.

        Args:
            structure: any; the less it differs from the previous one, the less work this is.
            conditions: electric field, surface, charge and spin; None: those in the `info` of an
                ase.Atoms.
            receivers: only so many atoms, the first ones, get edges to others; None: all.

        Raises:
            ValueError: as :meth:`AtomicGraph.from_atoms`.
        """
        check_finite(structure)
        edges = self._edges(structure, receivers)
        if conditions is None:
            conditions = Conditions.of(getattr(structure, "info", {}))
        last = self._built
        with torch.inference_mode(False):  # tensors of this graph are in later ones, outside it
            if (
                last is not None
                and last.conditions == conditions
                and np.array_equal(last.numbers, structure.numbers)
            ):
                if not self.candidates:
                    check_distances(structure, edges)
                graph = self._updated(last, structure, edges)
            else:
                graph = AtomicGraph.from_edges(
                    structure, edges, self.elements, conditions=conditions, surfaces=self.surfaces
                ).to(self.device)
        cell = np.asarray(structure.cell).tobytes()
        numbers = structure.numbers.copy()
        self._built = _Built(graph, numbers, cell, edges.pairs, edges.shifts, conditions)
        return graph

    def _updated(self, last: _Built, structure: Structure, edges: Edges) -> AtomicGraph:
        """The last graph with the present positions and, where they changed, cell and edges."""
        changed = {"positions": self._tensor(structure.positions.copy())}
        if np.asarray(structure.cell).tobytes() != last.cell:
            changed["cell"] = self._tensor(np.array(structure.cell)[None])
        if edges.pairs is not last.pairs:
            changed["edge_index"] = self._tensor(edges.pairs)
        if edges.shifts is not last.shifts:
            changed["shifts"] = self._tensor(edges.shifts)
        return dataclasses.replace(last.graph, **changed)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def _edges(self, structure: Structure, receivers: int | None) -> Edges:
        """Searched if a pair may be missing in the candidates, else selected from them."""
        if self._candidates is not None and self._candidates.receivers != receivers:
            self._candidates = None
        candidates, moves = self._candidates, self._moves(structure)
        if candidates is None or moves is None:
            self._candidates, self._selection = None, None
            edges = find_edges(structure, self.cutoff + self.skin, receivers)
            periods = _periods(structure)
            candidates = _Candidates(
                edges,
                structure.positions.copy(),
                structure.pbc.copy(),
                periods,
                np.linalg.pinv(periods),
                receivers,
            )
            self._candidates = candidates
            self._nearest = edges.lengths.min(initial=np.inf)
            self.rebuilds += 1
            moves = _Moves(np.zeros((len(structure.positions), 3)), 1.0, 0.0)
        select = self._shift if self.candidates else self._select
        self._selection = select(candidates.edges, structure, moves)
        return self._selection.edges

    def _moves(self, structure: Structure) -> _Moves | None:
        """How far atoms have come; None if a search is due."""
        old = self._candidates
        if old is None or self.skin == 0 or len(old.positions) != len(structure.positions):
            return None
        if old.pbc.tolist() != structure.pbc.tolist() or not len(old.positions):
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
        found = _Moves(cells, least_stretch, furthest)
        return found if found.least(self.cutoff + self.skin) >= self.cutoff else None

    def _select(self, candidates: Edges, structure: Structure, moves: _Moves) -> _Selection:
        """The candidates that are nearer than the cutoff now.

        Edges keep the arrays of pairs and shifts while the same candidates are selected.
        """
        pairs, shifts, _ = candidates
        crossings, lengths = moves.cells, _lengths(candidates, structure, moves.cells)
        indices = np.flatnonzero(lengths < self.cutoff)
        lengths, last = lengths.take(indices), self._selection
        if (
            last is not None
            and np.array_equal(last.indices, indices)
            and np.array_equal(last.crossings, crossings)
        ):
            return last._replace(edges=last.edges._replace(lengths=lengths))
        pairs, shifts = pairs.take(indices, axis=1), shifts.take(indices, axis=0)
        if structure.pbc.any():
            shifts += _crossed(crossings, pairs)
        return _Selection(indices, crossings, Edges(pairs, shifts, lengths))

    def _shift(self, candidates: Edges, structure: Structure, moves: _Moves) -> _Selection:
        """All candidates; the same arrays until atoms are wrapped.

        Lengths are those of the search. The present ones are looked at if atoms may be too near.
        """
        if moves.least(self._nearest) < MIN_DISTANCE:
            lengths = _lengths(candidates, structure, moves.cells)
            check_distances(structure, candidates._replace(lengths=lengths))
        last = self._selection
        if last is not None and np.array_equal(last.crossings, moves.cells):
            return last
        if moves.cells.any():
            shifts = candidates.shifts + _crossed(moves.cells, candidates.pairs)
            candidates = candidates._replace(shifts=shifts)
        return _Selection(np.empty(0), moves.cells, candidates)


def _lengths(candidates: Edges, structure: Structure, crossings: np.ndarray) -> np.ndarray:
    """Present lengths [E] (Å) of candidates."""
    (receiver, sender), shifts, _ = candidates
    positions, cell = structure.positions, np.asarray(structure.cell)
    periodic = structure.pbc.any()
    if periodic:
        positions = positions + crossings @ cell
    vectors = positions.take(sender, axis=0) - positions.take(receiver, axis=0)
    if periodic:
        vectors += shifts @ cell
    return np.sqrt(np.einsum("ex,ex->e", vectors, vectors))


def _crossed(crossings: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Cells [E, 3] that the atoms of pairs have crossed apart."""
    receiver, sender = pairs
    return crossings.take(sender, axis=0) - crossings.take(receiver, axis=0)


def _periods(structure: Structure) -> np.ndarray:
    """The cell [3, 3] with zeros for aperiodic directions."""
    return np.where(structure.pbc[:, None], structure.cell, 0.0)
