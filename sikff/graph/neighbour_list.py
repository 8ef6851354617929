"""Neighbour lists that last for several steps of a simulation (Verlet lists)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import ase
import numpy as np

from sikff.graph.atomic_graph import AtomicGraph, Edges, check_finite, find_edges
from sikff.graph.conditions import Conditions


class _Last(NamedTuple):
    """The last graph, and what it was made of: later ones have the tensors that do not change."""

    graph: AtomicGraph
    numbers: np.ndarray
    conditions: Conditions
    near: np.ndarray  # which of the pairs found are edges
    cells: np.ndarray  # that atoms have crossed
    edges: Edges


class SkinList:
    """The graphs of a moving structure, without a search for each.

    A search finds all pairs nearer than cutoff + skin. As long as no other pair can have come
    nearer than the cutoff, later graphs take their edges from these pairs: the same edges, in the
    same order, as a search would find. Atoms may be wrapped into the cell and the cell may change.

    Let P hold the periodic cell vectors of the search and P' the present ones, and let
    F = 1 + P^+ (P' - P), a deformation with P F = P'. Up to whole cells, the present positions are
    r' = r F + u. A pair that was further apart than cutoff + skin is now further apart than
    (cutoff + skin) sigma_min(F) - max |u_j - u_i|.

    Args:
        cutoff: neighbours nearer than this (Å) are joined.
        skin: Å; how much further the search reaches. 0: search for every graph.
        elements: chemical symbols; an atom's species is the place of its symbol here.
        surfaces: names of surfaces, see ``AtomicGraph.from_atoms``.

    Attributes:
        rebuilds: number of searches so far.

    Raises:
        ValueError: for a cutoff that is not positive, or a skin that is negative or not finite.
    """

    def __init__(
        self, cutoff: float, skin: float, elements: Sequence[str], surfaces: Sequence[str] = ()
    ) -> None:
        if not cutoff > 0:
            raise ValueError(f"cutoff is {cutoff}; expected a positive length in Å")
        if not 0 <= skin < np.inf:
            raise ValueError(f"skin is {skin}; expected a length in Å, 0 or more")
        self.cutoff, self.skin = cutoff, skin
        self.elements, self.surfaces = tuple(elements), tuple(surfaces)
        self.rebuilds = 0
        self._reference: ase.Atoms | None = None
        self._last: _Last | None = None

    def graph(self, atoms: ase.Atoms, conditions: Conditions | None = None) -> AtomicGraph:
        """The graph of `atoms`, in float64, as ``AtomicGraph.from_atoms`` builds it.

        Args:
            atoms: any structure; the less it differs from the one before, the less work this is.
            conditions: what acts from outside; None: what ``atoms.info`` says.

        Raises:
            ValueError: as ``AtomicGraph.from_atoms``.
        """
        check_finite(atoms)
        cells = self._cells_crossed(atoms)
        if cells is None:
            self._search(atoms)
            cells = np.zeros((len(atoms), 3))
        near, edges = self._edges(atoms, cells)
        conditions = Conditions.of(atoms.info) if conditions is None else conditions
        last = self._last
        if (
            last is not None
            and last.conditions == conditions
            and np.array_equal(last.numbers, atoms.numbers)
        ):
            graph = last.graph.moved(atoms, edges, same=edges.pairs is last.edges.pairs)
        else:
            graph = AtomicGraph.from_edges(
                atoms, edges, self.elements, conditions=conditions, surfaces=self.surfaces
            )
        self._last = _Last(graph, atoms.numbers.copy(), conditions, near, cells, edges)
        return graph

    def _search(self, atoms: ase.Atoms) -> None:
        self._last = None
        self._found = find_edges(atoms, self.cutoff + self.skin)
        self._reference = ase.Atoms(positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
        self._periods = _periods(atoms)
        self._inverse = np.linalg.pinv(self._periods)
        self.rebuilds += 1

    def _cells_crossed(self, atoms: ase.Atoms) -> np.ndarray | None:
        """Whole cells [N, 3] to add to each position to undo wrapping; None if a search is due."""
        old = self._reference
        if not old or self.skin == 0 or len(old) != len(atoms):
            return None
        if old.pbc.tolist() != atoms.pbc.tolist():
            return None
        moves, least_stretch = atoms.positions - old.positions, 1.0
        cells = np.zeros_like(moves)
        if atoms.pbc.any():
            periods = _periods(atoms)
            strain = self._inverse @ (periods - self._periods)  # F - 1
            if strain.any():
                moves -= old.positions @ strain
                least_stretch = np.linalg.svd(np.eye(3) + strain, compute_uv=False)[-1]
            moves -= moves[0]  # a common move is none
            cells = -np.round(moves @ self._inverse)
            moves += cells @ periods
        moves -= (moves.max(axis=0) + moves.min(axis=0)) / 2
        furthest = np.sqrt(np.einsum("nx,nx->n", moves, moves).max())
        nearest_stranger = (self.cutoff + self.skin) * least_stretch - 2 * furthest
        return cells if nearest_stranger >= self.cutoff else None

    def _edges(self, atoms: ase.Atoms, cells: np.ndarray) -> tuple[np.ndarray, Edges]:
        """Which of the pairs found are nearer than the cutoff now."""
        (receiver, sender), shifts, _ = self._found
        positions, periodic = atoms.positions, atoms.pbc.any()
        if periodic:
            positions = positions + cells @ atoms.cell.array
        vectors = positions.take(sender, axis=0) - positions.take(receiver, axis=0)
        if periodic:
            vectors += shifts @ atoms.cell.array
        lengths = np.sqrt(np.einsum("ex,ex->e", vectors, vectors))
        near = np.flatnonzero(lengths < self.cutoff)
        lengths, last = lengths.take(near), self._last
        if last is not None and np.array_equal(last.near, near) and (last.cells == cells).all():
            return near, last.edges._replace(lengths=lengths)
        pairs, shifts = self._found.pairs.take(near, axis=1), shifts.take(near, axis=0)
        if periodic:
            receiver, sender = pairs
            shifts += cells.take(sender, axis=0) - cells.take(receiver, axis=0)
        return near, Edges(pairs, shifts, lengths)


def _periods(atoms: ase.Atoms) -> np.ndarray:
    """The cell [3, 3] with zeros for aperiodic directions."""
    return np.where(atoms.pbc[:, None], atoms.cell.array, 0.0)
