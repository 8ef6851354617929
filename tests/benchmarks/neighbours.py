"""Neighbour searches compared: errors and times. Measured, not asserted.

    python tests/benchmarks/neighbours.py [--repeats 15]

Rows: matscipy (what sikff uses), ASE, vesin where it is installed, and sikff's steps: a search
with sorted edges, and the graph of a list with a skin. Wrong: in how many of the random
structures the pairs differ from those of a plain loop over all images.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.neighborlist import primitive_neighbor_list
from matscipy.neighbours import neighbour_list
from speed import milliseconds, water_box

from sikff.graph import find_edges
from sikff.graph.neighbour_list import NeighbourList

try:
    from vesin import NeighborList
except ImportError:
    NeighborList = None

CUTOFF = 5.0
Search = Callable[[Atoms, float], Any]


def searches() -> dict[str, Search]:
    """Functions that return i, j, S of all pairs; sorted by i."""

    def with_ase(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, ...]:
        return primitive_neighbor_list("ijS", atoms.pbc, atoms.cell, atoms.positions, cutoff)

    def with_matscipy(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, ...]:
        return neighbour_list(
            "ijS", positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc, cutoff=cutoff
        )

    def with_vesin(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, ...]:
        search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
        return tuple(search.compute(atoms.positions, atoms.cell.array, atoms.pbc, "ijS"))

    functions: dict[str, Search] = {"matscipy": with_matscipy, "ASE": with_ase}
    if NeighborList is not None:
        functions["vesin"] = with_vesin

    def sorted_edges(atoms: Atoms, cutoff: float) -> tuple[np.ndarray, ...]:
        edges = find_edges(atoms, cutoff)
        return (*edges.pairs, edges.shifts)

    return functions | {"sikff: search, sorted": sorted_edges}


def with_skin(skin: float) -> Search:
    """The graph of a structure at rest: with a skin, a step that needs no search."""
    neighbours = NeighbourList(CUTOFF, ("H", "C", "O"), skin=skin)
    return lambda atoms, cutoff: neighbours.graph(atoms)


def brute_force(atoms: Atoms, cutoff: float) -> list[tuple[int, ...]]:
    """All pairs, from a loop over all images."""
    heights = 1 / np.linalg.norm(np.linalg.inv(atoms.cell.array), axis=0)
    apart = np.ptp(atoms.cell.scaled_positions(atoms.positions), axis=0)
    most = np.where(atoms.pbc, np.ceil(cutoff / heights + apart), 0).astype(int)
    pairs = []
    for shift in itertools.product(*(range(-n, n + 1) for n in most)):
        moved = atoms.positions + np.array(shift) @ atoms.cell.array
        lengths = np.linalg.norm(moved[None] - atoms.positions[:, None], axis=-1)
        if not any(shift):
            np.fill_diagonal(lengths, np.inf)
        pairs += [(int(i), int(j), *shift) for i, j in np.argwhere(lengths < cutoff)]
    return sorted(pairs)


def structures(kind: str) -> Iterator[tuple[Atoms, float]]:
    """Random small structures, each with a cutoff (Å)."""
    rng = np.random.default_rng(0)
    for pbc in list(itertools.product([False, True], repeat=3)) * 5:
        size = 1.5 if kind == "cell smaller than the cutoff" else 6.0
        cell = size * (np.eye(3) + rng.uniform(-0.4, 0.4, (3, 3)))
        positions = rng.uniform(-2, 2, (4, 3))
        if kind == "10^6 Å from the origin":
            positions += [1e6, -3e6, 2e6]
        if kind == "aperiodic, 300 Å apart":
            positions[1] += 300.0 * ~np.array(pbc)
        yield Atoms("H4", positions=positions, cell=cell, pbc=pbc), rng.uniform(2, 4)


def wrong(search: Search, kind: str) -> int:
    """Number of structures of a kind whose pairs differ from those of the loop."""
    count = 0
    for atoms, cutoff in structures(kind):
        pairs = sorted(map(tuple, np.column_stack(search(atoms, cutoff)).tolist()))
        count += pairs != brute_force(atoms, cutoff)
    return count


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)

    kinds = (
        "skewed",
        "cell smaller than the cutoff",
        "10^6 Å from the origin",
        "aperiodic, 300 Å apart",
    )
    print("wrong of 40 structures in all mixes of periodic directions")
    for name, search in searches().items():
        counts = "; ".join(f"{kind}: {wrong(search, kind)}" for kind in kinds)
        print(f"{name:28s}{counts}")

    ethanol = molecule("CH3CH2OH", cell=[1, 1, 1], pbc=False)
    systems = {"ethanol, 9": ethanol, "water, 192": water_box(4), "water, 1536": water_box(8)}
    print(f"\n{'ms, cutoff 5 Å':28s}" + "".join(f"{name:>14s}" for name in systems))
    rows = searches() | {f"sikff: graph, skin {skin} Å": with_skin(skin) for skin in (0.0, 0.8)}
    for name, search in rows.items():
        times = [
            milliseconds(partial(search, atoms, CUTOFF), repeats) for atoms in systems.values()
        ]
        print(f"{name:28s}" + "".join(f"{time:14.3f}" for time in times))


if __name__ == "__main__":
    main()
