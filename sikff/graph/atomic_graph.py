"""The one data type that models read: atoms joined by the edges of a neighbour list."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import ase
import numpy as np
import torch
from ase.data import chemical_symbols
from ase.symbols import Symbols
from torch import Tensor

from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_search import Edges, check_distances, find_edges
from sikff.graph.occupancy import check_occupancy
from sikff.graph.structure import Structure


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
    origin: Tensor  # [B, 3] Å, a point of the surface; infinite: that of the model
    surface: Tensor  # [B] int64, index into the model's surfaces; -1: none, vacuum
    charge: Tensor  # [B] e, total charge; a whole number in the dtype of positions
    unpaired: Tensor  # [B] unpaired electrons, likewise; 0 if the spin is not specified

    @classmethod
    def from_atoms(
        cls,
        atoms: Structure,
        cutoff: float,
        elements: Sequence[str],
        *,
        dtype: torch.dtype = torch.float64,
        conditions: Conditions | None = None,
        surfaces: Sequence[str] = (),
    ) -> AtomicGraph:
        """Builds the graph of one structure, on the CPU.

        Args:
            atoms: the structure.
            cutoff: neighbours nearer than this (Å) are joined.
            elements: chemical symbols; the species of an atom is the index of its symbol.
            dtype: floating-point type of all but indices.
            conditions: electric field, surface, charge and spin; None: those in the `info` of an
                ase.Atoms.
            surfaces: names of surfaces; `surface` is the index of that in the conditions.

        Raises:
            ValueError: for an element not in `elements`, a surface not in `surfaces`, positions or
                cell that are not finite, a periodic direction without a cell vector, atoms nearer
                than 0.1 Å to each other or to their own periodic images, sites that are occupied in
                part, or conditions of another kind, see :meth:`Conditions.of`.
        """
        if isinstance(atoms, ase.Atoms):
            check_occupancy(atoms)
        edges = find_edges(atoms, cutoff)
        return cls.from_edges(
            atoms, edges, elements, dtype=dtype, conditions=conditions, surfaces=surfaces
        )

    @classmethod
    def from_edges(
        cls,
        structure: Structure,
        edges: Edges,
        elements: Sequence[str],
        *,
        dtype: torch.dtype = torch.float64,
        conditions: Conditions | None = None,
        surfaces: Sequence[str] = (),
    ) -> AtomicGraph:
        """Builds the graph of one structure whose edges are known; else as :meth:`from_atoms`."""
        species = _species(structure, elements)
        check_distances(structure, edges)
        if conditions is None:
            conditions = Conditions.of(getattr(structure, "info", {}))
        origin = (np.inf,) * 3 if conditions.origin is None else conditions.origin
        surface = conditions.surface_index(surfaces)
        return cls(  # all from NumPy, which knows no default device
            positions=torch.from_numpy(structure.positions.copy()).to(dtype),
            species=torch.from_numpy(species),
            cell=torch.from_numpy(np.array(structure.cell)[None]).to(dtype),
            edge_index=torch.from_numpy(edges.pairs),
            shifts=torch.from_numpy(edges.shifts).to(dtype),
            batch=torch.from_numpy(np.zeros(len(species), np.int64)),
            field=torch.from_numpy(np.array([conditions.field])).to(dtype),
            origin=torch.from_numpy(np.array([origin])).to(dtype),
            surface=torch.from_numpy(np.array([surface], np.int64)),
            charge=torch.from_numpy(np.array([float(conditions.charge)])).to(dtype),
            unpaired=torch.from_numpy(np.array([float(conditions.unpaired)])).to(dtype),
        )

    @classmethod
    def batch_of(cls, graphs: Sequence[AtomicGraph]) -> AtomicGraph:
        """Joins graphs into one; structures keep their order and are not connected.

        Raises:
            ValueError: if there are no graphs.
        """
        if not graphs:
            raise ValueError("cannot batch an empty list of graphs; expected at least one")
        names = [entry.name for entry in dataclasses.fields(cls)]
        return cls(**{name: joined_tensor(graphs, name) for name in names})

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
        """The same graph on another device or with another floating-point type.

        Returns this graph itself if no tensor changes.
        """
        changed = {}
        for entry in dataclasses.fields(self):
            tensor: Tensor = getattr(self, entry.name)
            floating = tensor.is_floating_point()
            converted = tensor.to(device=device, dtype=dtype if floating else None)
            if converted is not tensor:
                changed[entry.name] = converted
        return dataclasses.replace(self, **changed) if changed else self

    def vectors(self) -> Tensor:
        """Edge vectors [E, 3] in Å, from receiver to sender; differentiable."""
        receiver, sender = self.edge_index
        if self.n_graphs == 1:
            offsets = self.shifts @ self.cell[0]
        else:
            offsets = torch.einsum("ec,ecd->ed", self.shifts, self.cell[self.batch[receiver]])
        positions = self.positions
        return positions.index_select(0, sender) - positions.index_select(0, receiver) + offsets


def joined_tensor(graphs: Sequence[AtomicGraph], name: str) -> Tensor:
    """The tensor of that name of graphs that are joined into one."""
    tensors: list[Tensor] = [getattr(graph, name) for graph in graphs]
    if name in ("edge_index", "batch"):  # number atoms, or structures
        sizes = [graph.n_atoms if name == "edge_index" else graph.n_graphs for graph in graphs]
        before = np.cumsum([0, *sizes[:-1]]).tolist()
        tensors = [tensor + n for tensor, n in zip(tensors, before, strict=True)]
    return torch.cat(tensors, dim=1 if name == "edge_index" else 0)


def _species(structure: Structure, elements: Sequence[str]) -> np.ndarray:
    species = _species_by_number(tuple(elements))[structure.numbers]
    if species.min(initial=0) < 0:
        unknown = sorted({chemical_symbols[z] for z in structure.numbers[species < 0]})
        formula = Symbols(structure.numbers).get_chemical_formula()
        raise ValueError(
            f"structure {formula} holds {', '.join(unknown)}, which the model "
            f"does not know (its elements: {', '.join(elements)}); "
            "use a model trained on these elements"
        )
    return species


@cache
def _species_by_number(elements: tuple[str, ...]) -> np.ndarray:
    """The index of each element in these, by its atomic number; -1 for others."""
    species = {element: index for index, element in enumerate(elements)}
    return np.array([species.get(symbol, -1) for symbol in chemical_symbols])
