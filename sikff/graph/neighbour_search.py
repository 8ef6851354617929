"""Searches for the neighbours of every atom.

Pairs come from matscipy, which agrees with a brute-force search for every mix of periodic
directions, for skewed cells smaller than the cutoff and for atoms millions of Å apart. A direction
without periodicity needs no cell vector and has no box, so a result never depends on the origin.
Edges have one order, so that sums over them are the same numbers however the edges were found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from ase.data import chemical_symbols
from matscipy.neighbours import neighbour_list

from sikff.graph.structure import Structure

MIN_DISTANCE = 0.1  # Å; atoms nearer than this are a mistake in the input, or dynamics that blew up

MAX_VECTOR = 1e8  # Å, of the cell: a search in a longer one takes many seconds
MAX_CELLS = 1e8  # from the origin to an atom: matscipy counts them one by one, in int32


class Edges(NamedTuple):
    """Every atom and each of its neighbours, sorted by receiver, then sender, then shift."""

    pairs: np.ndarray  # [2, E] int64, receivers and senders
    shifts: np.ndarray  # [E, 3] float64, whole cell shifts, zero in aperiodic directions
    lengths: np.ndarray  # [E] Å


def find_edges(structure: Structure, cutoff: float) -> Edges:
    """Searches all pairs nearer than `cutoff` (Å), periodic images included.

    Raises:
        ValueError: for positions or cell that are not finite, a cutoff that is not positive, or a
            periodic direction without a cell vector.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff}; expected a positive length in Å")
    check_finite(structure)
    receiver, sender, shifts, lengths = neighbour_list(
        "ijSd",
        positions=structure.positions,
        cell=_search_cell(structure),
        pbc=structure.pbc,
        cutoff=float(cutoff),
    )
    shifts[:, ~structure.pbc] = 0  # matscipy < 1.2 counts cells in these directions too
    order = np.lexsort((*shifts.T[::-1], sender, receiver))
    return Edges(
        np.stack([receiver[order], sender[order]]).astype(np.int64),
        shifts[order].astype(np.float64),
        lengths[order],
    )


def check_finite(structure: Structure) -> None:
    """Raises ValueError if positions or cell are not finite."""
    if not all(np.isfinite(x).all() for x in (structure.positions, np.asarray(structure.cell))):
        raise ValueError("positions or cell hold NaN or infinity; expected lengths in Å")


def check_distances(structure: Structure, edges: Edges) -> None:
    """Raises ValueError if atoms are nearer than 0.1 Å to each other or to their own images."""
    if not edges.lengths.size or edges.lengths.min() >= MIN_DISTANCE:
        return
    nearest = edges.lengths.argmin()
    i, j = edges.pairs[:, nearest]
    first, second = (f"{n} ({chemical_symbols[structure.numbers[n]]})" for n in (i, j))
    pair, cause = f"atoms {first} and {second}", "are positions in Å, is an atom doubled?"
    if i == j:
        pair, cause = f"atom {first} and its own periodic image", "is the cell in Å?"
    raise ValueError(
        f"{pair} are {edges.lengths[nearest]:.2g} Å apart; expected at least {MIN_DISTANCE} Å: "
        f"{cause}"
    )


def _search_cell(structure: Structure) -> np.ndarray:
    """The cell [3, 3] for the search: an aperiodic row is a unit normal to the periodic ones."""
    cell, pbc = np.array(structure.cell), structure.pbc
    lengths = np.linalg.norm(cell, axis=1)
    directions = cell[pbc] / np.where(lengths > 0, lengths, 1.0)[pbc, None]
    _, singular, rotation = np.linalg.svd(directions)
    if singular.size and singular.min() < 1e-6:
        raise ValueError(
            f"pbc is {pbc.tolist()} but the rows of cell {cell.tolist()} "
            "do not span these directions; give each a cell vector or set its pbc to False"
        )
    shortest = lengths[pbc].min(initial=MIN_DISTANCE)
    if shortest < MIN_DISTANCE:  # the number of neighbours would exhaust the memory
        raise ValueError(
            f"cell has a periodic vector of {shortest:.2g} Å; "
            f"expected at least {MIN_DISTANCE} Å: is the cell in Å?"
        )
    farthest = abs(structure.positions).max(initial=0.0)
    period = lengths[pbc].min(initial=np.inf)
    if farthest > MAX_CELLS * period:
        raise ValueError(
            f"an atom is {farthest:.2g} Å from the origin, too many cells of {period:.2g} Å; wrap "
            "positions into the cell"
        )
    longest = lengths[pbc].max(initial=0.0)
    if longest > MAX_VECTOR:
        raise ValueError(
            f"cell has a periodic vector of {longest:.2g} Å; expected at most {MAX_VECTOR:g} Å: is "
            "the cell in Å?"
        )
    cell[~pbc] = rotation[len(directions) :]
    return cell
