"""Structures shared by several processes, here threads: the numbers of one that has all atoms."""

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import ase
import numpy as np
import pytest
import torch
from torch import Tensor

from force_fields import MODELS, crystal, force_field, graph_of
from sikff import ForceField
from sikff.forcefield import chunks
from sikff.forcefield.atomic_stress import atomic_virials, differentiate_in_edges
from sikff.forcefield.halo import Halo
from sikff.graph import AtomicGraph, StructureArrays, find_edges
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList
from symmetry_cases import relative_error
from tolerances import TOLERANCES

CONDITIONS = {
    "C_inf_v": {"field": (0.0, 0.0, 0.3)},
    "SO(3)": {"charge": 1, "spin": 2},
}
CASES = {**MODELS, "distances": {"distances_seen": {"Al-Al": ((2.9, 3.2),)}}}


class Meeting:
    """Where threads leave values for each other."""

    def __init__(self, n: int) -> None:
        self.barrier = threading.Barrier(n, timeout=60)
        self.values: list[Any] = [None] * n

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """What all threads have brought."""
        self.values[rank] = value
        self.barrier.wait()
        found = list(self.values)
        self.barrier.wait()
        return found


class Part(NamedTuple):
    """The atoms of one thread."""

    owned: np.ndarray  # [M] of the structure
    ghosts: np.ndarray  # [G] of the structure
    images: np.ndarray  # [G, 3] their cell shifts


class ThreadHalo(Halo):
    def __init__(self, rank: int, parts: list[Part], meeting: Meeting) -> None:
        super().__init__(len(parts[rank].owned))
        self.rank, self.parts, self.meeting = rank, parts, meeting

    def spread(self, values: Tensor) -> Tensor:
        brought = self.meeting.exchange(self.rank, values.detach())
        everyone = torch.cat(brought)[np.argsort(np.concatenate([p.owned for p in self.parts]))]
        return torch.cat([values, everyone[self.parts[self.rank].ghosts]])

    def collect(self, values: Tensor) -> Tensor:
        result = values.new_zeros(sum(len(part.owned) for part in self.parts), values.shape[1])
        for part, each in zip(self.parts, self.meeting.exchange(self.rank, values), strict=True):
            atoms = np.concatenate([part.owned, part.ghosts])
            result.index_add_(0, torch.from_numpy(atoms), each)
        return result[self.parts[self.rank].owned]

    def total(self, values: Tensor) -> Tensor:
        return sum(self.meeting.exchange(self.rank, values.detach()))


def shared(atoms: ase.Atoms, cutoff: float, n: int) -> list[Part]:
    """Parts of a structure from slabs along x; the last part has no atoms at all."""
    place = np.argsort(np.argsort(atoms.positions[:, 0])) * (n - 1) // len(atoms)
    (receivers, senders), shifts, _ = find_edges(atoms, cutoff)
    parts = []
    for rank in range(n):
        near = place[receivers] == rank
        near &= (place[senders] != rank) | shifts.any(axis=1)
        copies = np.unique(np.column_stack([senders, shifts])[near], axis=0)
        parts.append(Part(np.flatnonzero(place == rank), copies[:, 0].astype(int), copies[:, 1:]))
    return parts


def graph_of_part(model: ForceField, atoms: ase.Atoms, part: Part, options: Any) -> AtomicGraph:
    neighbours = NeighbourList(model.cutoff, model.elements, model.surfaces, skin=0.5)
    copies = atoms.positions[part.ghosts] + part.images @ atoms.cell.array
    structure = StructureArrays(
        np.concatenate([atoms.positions[part.owned], copies]),
        np.concatenate([atoms.numbers[part.owned], atoms.numbers[part.ghosts]]),
        atoms.cell.array,
        np.zeros(3, dtype=bool),
    )
    for _ in range(2):  # the second from the candidates of the first
        graph = neighbours.graph(structure, Conditions(**options), len(part.owned))
    return graph


def evaluate_parts(
    model: ForceField, atoms: ase.Atoms, n: int, options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Energies, gradients and virials of all atoms, from n threads."""
    parts, meeting = shared(atoms, model.cutoff, n), Meeting(n)

    def run(rank: int) -> tuple[Tensor, Tensor]:
        halo = ThreadHalo(rank, parts, meeting)
        mine = copy.deepcopy(model).freeze()
        graph = graph_of_part(mine, atoms, parts[rank], options)
        edges = differentiate_in_edges(mine, graph, halo=halo)
        virials = atomic_virials(edges, graph.edge_index).flatten(1)
        return edges.energies, halo.collect(torch.cat([edges.in_positions, virials], dim=1))

    with ThreadPoolExecutor(n) as pool:
        energies, others = map(torch.cat, zip(*pool.map(run, range(n)), strict=True))
    order = np.argsort(np.concatenate([part.owned for part in parts]))
    return energies[order], others[order, :3], others[order, 3:]


@pytest.mark.parametrize("in_chunks", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_parts_of_a_structure_have_the_values_of_the_whole(
    name: str, in_chunks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three threads, one of them without atoms; energies, forces and virials of every atom."""
    if in_chunks:
        monkeypatch.setitem(chunks.CHUNK_BYTES, "cpu", 2**14)
        monkeypatch.setitem(chunks.SAVED_BYTES, "cpu", 2**15)
    model = force_field(name if name in MODELS else "O(3)", **CASES[name])
    atoms, options = crystal() * (2, 2, 1), CONDITIONS.get(name, {})
    atoms.pbc = [True, True, "plane" not in str(CASES[name])]
    atoms.symbols[::3] = "O"
    expected = differentiate_in_edges(model, graph_of(model, atoms, **options))
    virials = atomic_virials(expected, graph_of(model, atoms, **options).edge_index)
    energies, gradient, found = evaluate_parts(model, atoms, 3, options)
    tolerance = TOLERANCES[torch.float64]
    assert relative_error(energies, expected.energies) < tolerance.parity
    assert relative_error(gradient, expected.in_positions) < tolerance.gradient
    assert relative_error(found, virials.flatten(1)) < tolerance.gradient


def test_ghosts_that_keep_old_features_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without the gradients of copies forces are wrong."""
    monkeypatch.setattr(ThreadHalo, "collect", lambda self, values: values[: self.n_owned])
    model, atoms = force_field("O(3)").float(), crystal() * (2, 2, 1)
    expected = differentiate_in_edges(model, graph_of(model, atoms))
    _, gradient, _ = evaluate_parts(model, atoms, 3, {})
    assert relative_error(gradient, expected.in_positions) > 1e-2


def test_a_list_of_receivers_has_their_edges_alone() -> None:
    """Also when their number changes, and when there is no atom at all."""
    atoms = crystal() * (1, 2, 2)
    neighbours = NeighbourList(4.0, ("Al",), skin=0.5)
    everything = neighbours.graph(atoms)
    for receivers in (5, 5, 0, 3, None):
        graph = neighbours.graph(atoms, Conditions(), receivers)
        wanted = everything.edge_index[0] < (len(atoms) if receivers is None else receivers)
        assert torch.equal(graph.edge_index, everything.edge_index[:, wanted])
        assert torch.equal(graph.shifts, everything.shifts[wanted])
    none = StructureArrays.of(np.empty((0, 3)), np.empty(0, int), np.eye(3), True)
    for _ in range(2):
        assert neighbours.graph(none, Conditions(), 0).n_edges == 0
