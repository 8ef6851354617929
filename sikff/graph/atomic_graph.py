"""The one data type that models read: atoms joined by the edges of a neighbour list.

Neighbours come from matscipy, which agrees with a brute-force search for every mix of periodic
directions, for skewed cells smaller than the cutoff and for atoms millions of Å apart. A direction
without periodicity needs no cell vector and has no box, so a result never depends on the origin.
Edges have one order, so that sums over them are the same numbers however the edges were found.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from matscipy.neighbours import neighbour_list
from torch import Tensor

from sikff.graph.conditions import Conditions

FLAT = 1e-6  # cells of so little volume, against the product of their lengths, have none
CLOSEST = 0.1  # Å; atoms nearer than this are a mistake in the input, or dynamics that blew up


class Edges(NamedTuple):
    """Every atom and each of its neighbours, sorted by receiver, then sender, then shift."""

    pairs: np.ndarray  # [2, E] int64, receivers and senders
    shifts: np.ndarray  # [E, 3] float64, whole cell shifts, zero in aperiodic directions
    lengths: np.ndarray  # [E] Å


@dataclass(frozen=True, eq=False)
class AtomicGraph:
    """One or several structures as a directed graph; immutable.

    Edge ``e`` joins the receiver ``i = edge_index[0, e]`` to the sender ``j = edge_index[1, e]``
    along ``r_j - r_i + shifts[e] @ cell`` (the ``"ijS"`` of ASE). Edges are sorted by receiver,
    then sender, then shift.
    """

    positions: Tensor  # [N, 3] Å
    species: Tensor  # [N] int64, index into the model's elements
    cell: Tensor  # [B, 3, 3] Å, rows are lattice vectors, zeros where there is none
    edge_index: Tensor  # [2, E] int64, (receiver, sender)
    shifts: Tensor  # [E, 3] whole cell shifts, in the dtype of positions
    batch: Tensor  # [N] int64, the structure of each atom
    field: Tensor  # [B, 3] V/Å, uniform electric field
    origin: Tensor  # [B, 3] Å, a point of the surface; infinite: where the model has it
    surface: Tensor  # [B] int64, index into the model's surfaces; -1: none, vacuum

    @classmethod
    def from_atoms(
        cls,
        atoms: ase.Atoms,
        cutoff: float,
        elements: Sequence[str],
        *,
        dtype: torch.dtype = torch.float64,
        conditions: Conditions | None = None,
        surfaces: Sequence[str] = (),
    ) -> AtomicGraph:
        """Builds the graph of one structure.

        Args:
            atoms: the structure.
            cutoff: neighbours nearer than this (Å) are joined.
            elements: chemical symbols; an atom's species is the place of its symbol here.
            dtype: floating-point type of positions, cell, shifts, field and origin.
            conditions: what acts from outside; None: what ``atoms.info`` says.
            surfaces: names of surfaces; that of the conditions becomes its place here.

        Raises:
            ValueError: for an element not in `elements`, a surface not in `surfaces`, positions or
                cell that are not finite, a periodic direction without a cell vector, atoms nearer
                than 0.1 Å to each other or to their own periodic images, or an electric field or
                origin of the surface that is not three numbers.
        """
        edges = find_edges(atoms, cutoff)
        return cls.from_edges(
            atoms, edges, elements, dtype=dtype, conditions=conditions, surfaces=surfaces
        )

    @classmethod
    def from_edges(
        cls,
        atoms: ase.Atoms,
        edges: Edges,
        elements: Sequence[str],
        *,
        dtype: torch.dtype = torch.float64,
        conditions: Conditions | None = None,
        surfaces: Sequence[str] = (),
    ) -> AtomicGraph:
        """Builds the graph of one structure whose edges are known; else as `from_atoms`."""
        species = _species(atoms, elements)
        _check_distances(atoms, edges)
        if conditions is None:
            conditions = Conditions.of(atoms.info)
        origin = (np.inf,) * 3 if conditions.origin is None else conditions.origin
        return cls(
            **_places(atoms, dtype),
            **_joints(edges, dtype),
            species=torch.from_numpy(species),
            batch=torch.zeros(len(atoms), dtype=torch.int64),
            field=torch.tensor(conditions.field, dtype=dtype)[None],
            origin=torch.tensor(origin, dtype=dtype)[None],
            surface=torch.tensor([conditions.surface_index(surfaces)]),
        )

    def moved(self, atoms: ase.Atoms, edges: Edges, same: bool) -> AtomicGraph:
        """The graph of the same atoms elsewhere, under the same conditions.

        Args:
            atoms: where they are.
            edges: of them.
            same: whether the edges are those of this graph, all but their lengths.

        Raises:
            ValueError: for atoms nearer than 0.1 Å to each other or to their own periodic images.
        """
        _check_distances(atoms, edges)
        dtype = self.positions.dtype
        new = _places(atoms, dtype) | ({} if same else _joints(edges, dtype))
        return dataclasses.replace(self, **new)

    @classmethod
    def batch_of(cls, graphs: Sequence[AtomicGraph]) -> AtomicGraph:
        """Joins graphs into one; structures keep their order and are not connected.

        Raises:
            ValueError: if there are no graphs.
        """
        if not graphs:
            raise ValueError("cannot batch an empty list of graphs; expected at least one")
        atoms_before = np.cumsum([0, *(graph.n_atoms for graph in graphs)])
        graphs_before = np.cumsum([0, *(graph.n_graphs for graph in graphs)])
        return cls(
            positions=torch.cat([graph.positions for graph in graphs]),
            species=torch.cat([graph.species for graph in graphs]),
            cell=torch.cat([graph.cell for graph in graphs]),
            edge_index=torch.cat(
                [g.edge_index + int(n) for g, n in zip(graphs, atoms_before, strict=False)], dim=1
            ),
            shifts=torch.cat([graph.shifts for graph in graphs]),
            batch=torch.cat(
                [g.batch + int(n) for g, n in zip(graphs, graphs_before, strict=False)]
            ),
            field=torch.cat([graph.field for graph in graphs]),
            origin=torch.cat([graph.origin for graph in graphs]),
            surface=torch.cat([graph.surface for graph in graphs]),
        )

    @property
    def n_atoms(self) -> int:
        return self.positions.shape[0]

    @property
    def n_graphs(self) -> int:
        return self.cell.shape[0]

    @property
    def n_edges(self) -> int:
        return self.edge_index.shape[1]

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> AtomicGraph:
        """The same graph on another device or with another floating-point type."""
        own = self.positions.device
        asked = own if device is None else torch.device(device)
        if dtype is None and asked.type == own.type and asked.index in (None, own.index):
            return self
        moved = {}
        for entry in dataclasses.fields(self):
            tensor: Tensor = getattr(self, entry.name)
            floating = tensor.is_floating_point()
            moved[entry.name] = tensor.to(device=device, dtype=dtype if floating else None)
        return AtomicGraph(**moved)

    def vectors(self) -> Tensor:
        """Edge vectors [E, 3] in Å, from receiver to sender; differentiable."""
        receiver, sender = self.edge_index
        if self.n_graphs == 1:
            offsets = self.shifts @ self.cell[0]
        else:
            offsets = torch.einsum("ec,ecd->ed", self.shifts, self.cell[self.batch[receiver]])
        positions = self.positions
        return positions.index_select(0, sender) - positions.index_select(0, receiver) + offsets


def find_edges(atoms: ase.Atoms, cutoff: float) -> Edges:
    """Searches all pairs nearer than `cutoff` (Å), periodic images included.

    Raises:
        ValueError: for positions or cell that are not finite, a cutoff that is not positive, or a
            periodic direction without a cell vector.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff}; expected a positive length in Å")
    check_finite(atoms)
    receiver, sender, shifts, lengths = neighbour_list(
        "ijSd",
        positions=atoms.positions,
        cell=_search_cell(atoms),
        pbc=atoms.pbc,
        cutoff=float(cutoff),
    )
    shifts[:, ~atoms.pbc] = 0  # matscipy < 1.2 counts cells in these directions too
    order = np.lexsort((*shifts.T[::-1], sender, receiver))
    return Edges(
        np.stack([receiver[order], sender[order]]).astype(np.int64),
        shifts[order].astype(np.float64),
        lengths[order],
    )


def has_volume(atoms: ase.Atoms) -> bool:
    """Whether the cell has three independent vectors, so that there is a stress."""
    return bool(atoms.cell.volume > FLAT * atoms.cell.lengths().prod())


def check_finite(atoms: ase.Atoms) -> None:
    """Raise ValueError if positions or cell are not finite."""
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise ValueError("positions or cell hold NaN or infinity; expected lengths in Å")


def _places(atoms: ase.Atoms, dtype: torch.dtype) -> dict[str, Tensor]:
    """The parts of a graph that say where the atoms are."""
    return {
        "positions": torch.from_numpy(atoms.positions.copy()).to(dtype),
        "cell": torch.from_numpy(atoms.cell.array[None].copy()).to(dtype),
    }


def _joints(edges: Edges, dtype: torch.dtype) -> dict[str, Tensor]:
    """The parts of a graph that say which atoms are joined."""
    return {
        "edge_index": torch.from_numpy(edges.pairs),
        "shifts": torch.from_numpy(edges.shifts).to(dtype),
    }


def _species(atoms: ase.Atoms, elements: Sequence[str]) -> np.ndarray:
    species = _numbered(tuple(elements))[atoms.numbers]
    if species.min(initial=0) < 0:
        unknown = sorted({chemical_symbols[z] for z in atoms.numbers[species < 0]})
        raise ValueError(
            f"structure {atoms.get_chemical_formula()} holds {', '.join(unknown)}, which the model "
            f"does not know (its elements: {', '.join(elements)}); "
            "use a model trained on these elements"
        )
    return species


@cache
def _numbered(elements: tuple[str, ...]) -> np.ndarray:
    """The place of each element in these, by its atomic number; -1 for others."""
    places = {element: place for place, element in enumerate(elements)}
    return np.array([places.get(symbol, -1) for symbol in chemical_symbols])


def _check_distances(atoms: ase.Atoms, edges: Edges) -> None:
    if not edges.lengths.size or edges.lengths.min() >= CLOSEST:
        return
    nearest = edges.lengths.argmin()
    i, j = edges.pairs[:, nearest]
    first, second = (f"{n} ({atoms.symbols[n]})" for n in (i, j))
    pair, cause = f"atoms {first} and {second}", "are positions in Å, is an atom doubled?"
    if i == j:
        pair, cause = f"atom {first} and its own periodic image", "is the cell in Å?"
    raise ValueError(
        f"{pair} are {edges.lengths[nearest]:.2g} Å apart; expected at least {CLOSEST} Å: {cause}"
    )


def _search_cell(atoms: ase.Atoms) -> np.ndarray:
    """The cell [3, 3] for the search: an aperiodic row is a unit normal to the periodic ones."""
    cell = atoms.cell.array.copy()
    lengths = np.linalg.norm(cell, axis=1)
    directions = cell[atoms.pbc] / np.where(lengths > 0, lengths, 1.0)[atoms.pbc, None]
    _, singular, rotation = np.linalg.svd(directions)
    if singular.size and singular.min() < 1e-6:
        raise ValueError(
            f"pbc is {atoms.pbc.tolist()} but the rows of cell {atoms.cell.array.tolist()} "
            "do not span these directions; give each a cell vector or set its pbc to False"
        )
    if lengths[atoms.pbc].min(initial=CLOSEST) < CLOSEST:  # would have far too many neighbours
        raise ValueError(
            f"cell has a periodic vector of {lengths[atoms.pbc].min():.2g} Å; "
            f"expected at least {CLOSEST} Å: is the cell in Å?"
        )
    cell[~atoms.pbc] = rotation[len(directions) :]
    return cell
