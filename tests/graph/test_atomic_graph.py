"""Graphs: the right neighbours whatever the cell, and batches that mix nothing."""

import dataclasses
import itertools

import ase
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pair_model import structures
from random_atoms import edges, random_atoms, reference
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from tolerances import TOLERANCES, Tolerance

ELEMENTS = ("H", "Cu")
PBC = list(itertools.product([False, True], repeat=3))


@pytest.mark.parametrize("pbc", PBC)
@settings(max_examples=12)
@given(
    seed=st.integers(0, 2**31), scale=st.sampled_from([0.4, 1.0, 3.0]), cutoff=st.floats(0.5, 3.0)
)
def test_neighbours_agree_with_ase(
    pbc: tuple[bool, bool, bool], seed: int, scale: float, cutoff: float
) -> None:
    atoms = random_atoms(seed, pbc, scale)
    graph = AtomicGraph.from_atoms(atoms, cutoff, ELEMENTS)
    assert edges(graph) == reference(atoms, cutoff)
    lengths = graph.vectors().norm(dim=1)
    assert bool((lengths < cutoff).all())


@pytest.mark.parametrize("pbc", PBC)
def test_cell_vectors_of_aperiodic_directions_do_not_matter(
    pbc: tuple[bool, bool, bool],
) -> None:
    atoms = random_atoms(3, pbc, 1.0)
    before = edges(AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS))
    for vector in (0.0, 0.5, [1.0, 2.0, 3.0]):
        cell = atoms.cell.array.copy()
        cell[~atoms.pbc] = vector
        other = ase.Atoms(atoms.symbols, positions=atoms.positions, cell=cell, pbc=pbc)
        assert edges(AtomicGraph.from_atoms(other, 3.0, ELEMENTS)) == before


@pytest.mark.parametrize("pbc", PBC)
def test_the_origin_does_not_matter(pbc: tuple[bool, bool, bool]) -> None:
    atoms = random_atoms(4, pbc, 1.0)
    before = AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS)
    atoms.positions += [1e5, -3e6, 2e4]
    after = AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS)
    assert edges(after) == edges(before)


@pytest.mark.parametrize("pbc", PBC)
def test_atoms_far_apart_need_little_memory(pbc: tuple[bool, bool, bool]) -> None:
    far = 1e8 + 1
    positions = [[0, 0, 0], [far, 0, 0], [0, far, 0], [0, 0, far], [0.4, 0.4, 0.4]]
    atoms = ase.Atoms("H5", positions=positions, cell=[2.5, 2.5, 2.5], pbc=pbc)
    graph = AtomicGraph.from_atoms(atoms, 1.0, ELEMENTS)
    assert graph.n_edges >= 2
    assert graph.n_edges == len(set(edges(graph)))


def test_isolated_atoms_have_no_edges() -> None:
    atoms = ase.Atoms("HCu", positions=[[0, 0, 0], [0, 0, 50]])
    graph = AtomicGraph.from_atoms(atoms, 5.0, ELEMENTS)
    assert (graph.n_atoms, graph.n_graphs, graph.n_edges) == (2, 1, 0)
    assert graph.vectors().shape == (0, 3)
    assert AtomicGraph.batch_of([graph, graph]).n_edges == 0


def test_species_follow_the_elements_of_the_model() -> None:
    graph = AtomicGraph.from_atoms(ase.Atoms("CuHHCu", positions=np.eye(4, 3)), 1.0, ("Cu", "H"))
    assert graph.species.tolist() == [0, 1, 1, 0]


def test_batches_hold_the_edges_of_each_structure(dtype: torch.dtype) -> None:
    graphs = [AtomicGraph.from_atoms(a, 3.0, ELEMENTS, dtype=dtype) for a in structures()]
    batch = AtomicGraph.batch_of(graphs)
    assert batch.n_graphs == len(graphs)
    assert batch.positions.dtype == batch.shifts.dtype == batch.vectors().dtype == dtype
    assert torch.equal(batch.vectors(), torch.cat([graph.vectors() for graph in graphs]))
    receiver, sender = batch.edge_index
    assert torch.equal(batch.batch[receiver], batch.batch[sender])
    assert torch.equal(torch.bincount(batch.batch), torch.tensor([g.n_atoms for g in graphs]))


def test_vectors_are_differentiable_in_positions_and_cell() -> None:
    graph = AtomicGraph.from_atoms(structures()[0], 2.7, ELEMENTS)
    positions = graph.positions.clone().requires_grad_()
    cell = graph.cell.clone().requires_grad_()
    moved = dataclasses.replace(graph, positions=positions, cell=cell)
    assert torch.autograd.gradcheck(lambda *_: moved.vectors(), (positions, cell))


def test_to_converts_floating_point_tensors_only() -> None:
    graph = AtomicGraph.from_atoms(structures()[0], 3.0, ELEMENTS).to(dtype=torch.float32)
    assert graph.positions.dtype == graph.cell.dtype == graph.field.dtype == torch.float32
    assert graph.species.dtype == graph.edge_index.dtype == graph.batch.dtype == torch.int64


def test_graphs_are_on_the_cpu_whatever_the_default_device() -> None:
    atoms = structures()[0]
    atoms.info["electric_field"] = [0.0, 0.1, 0.2]
    with torch.device("meta"):
        graph = AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS)
        batch = AtomicGraph.batch_of([graph, graph])
    assert devices(graph) == devices(batch) == {"cpu"}
    assert graph.field.tolist() == [[0.0, 0.1, 0.2]]


@pytest.mark.parametrize("name", ["positions", "batch", "surface"])
def test_to_moves_every_tensor(name: str) -> None:
    graph = AtomicGraph.from_atoms(structures()[0], 3.0, ELEMENTS)
    assert graph.to("cpu") is graph and graph.to(dtype=torch.float64) is graph
    assert devices(graph.to("meta")) == {"meta"}
    mixed = dataclasses.replace(graph, **{name: getattr(graph, name).to("meta")})
    assert devices(mixed.to("meta")) == {"meta"}


def devices(graph: AtomicGraph) -> set[str]:
    return {getattr(graph, field.name).device.type for field in dataclasses.fields(graph)}


def test_field_comes_from_info_or_argument(tolerance: Tolerance, dtype: torch.dtype) -> None:
    atoms = ase.Atoms("H")
    assert AtomicGraph.from_atoms(atoms, 1.0, ELEMENTS).field.tolist() == [[0, 0, 0]]
    atoms.info["electric_field"] = np.array([0, 0, 1])
    graph = AtomicGraph.from_atoms(atoms, 1.0, ELEMENTS, dtype=dtype)
    assert graph.field.dtype == dtype
    assert graph.field.tolist() == [[0, 0, 1]]
    graph = AtomicGraph.from_atoms(
        atoms, 1.0, ELEMENTS, dtype=dtype, conditions=Conditions((0.1, 0, 0))
    )
    expected = torch.tensor([[0.1, 0, 0]], dtype=dtype)
    torch.testing.assert_close(graph.field, expected, rtol=0, atol=tolerance.parity)


@pytest.mark.parametrize(
    ("atoms", "cutoff", "message"),
    [
        (ase.Atoms("OH"), 3.0, r"holds O, which the model does not know \(its elements: H, Cu\)"),
        (ase.Atoms("H", positions=[[0, np.nan, 0]]), 3.0, "NaN or infinity"),
        (ase.Atoms("H", cell=[1, 0, 1], pbc=True), 3.0, "give each a cell vector"),
        (ase.Atoms("H", cell=[[1, 0, 0], [2, 0, 0], [0, 0, 1]], pbc=(1, 1, 0)), 3.0, "span"),
        (ase.Atoms("H"), 0.0, "cutoff is 0.0; expected a positive length"),
        (ase.Atoms("H", info={"electric_field": [1.0]}), 3.0, "three finite numbers in V/Å"),
    ],
)
def test_bad_structures_raise(atoms: ase.Atoms, cutoff: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AtomicGraph.from_atoms(atoms, cutoff, ELEMENTS)


@pytest.mark.parametrize(
    ("atoms", "message"),
    [
        (
            ase.Atoms("H3OH", positions=[[0, 0, 0], [0, 0, 1], [0, 0, 2], [0, 1, 0], [0, 1, 0.02]]),
            r"atoms 3 \(O\) and 4 \(H\) are 0.02 Å apart; expected at least 0.1 Å: .*atom doubled",
        ),
        (
            ase.Atoms("HO", positions=[[0, 0, 1e-3], [0, 0, 2.999]], cell=[3, 3, 3], pbc=True),
            r"atoms 0 \(H\) and 1 \(O\) are 0.002 Å apart",
        ),
        (ase.Atoms("H2"), r"atoms 0 \(H\) and 1 \(H\) are 0 Å apart"),
        (
            ase.Atoms("H", cell=[[3, 0, 0], [3, 0.05, 0], [0, 0, 3]], pbc=True),
            r"atom 0 \(H\) and its own periodic image are 0.05 Å apart.*is the cell in Å",
        ),
        (ase.Atoms("H", cell=[3, 1e-5, 3], pbc=True), "a periodic vector of 1e-05 Å"),
        (
            ase.Atoms("H", [[0, 1e30, 0]], cell=[3, 3, 3], pbc=True),
            "too many cells of 3 Å",
        ),
        (ase.Atoms("H", cell=[3, 1e10, 3], pbc=True), r"a periodic vector of 1e\+10 Å; .* at most"),
    ],
)
def test_overlapping_atoms_raise(atoms: ase.Atoms, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AtomicGraph.from_atoms(atoms, 1.0, ("H", "O"))


def test_short_bonds_and_short_aperiodic_cell_vectors_are_allowed() -> None:
    atoms = ase.Atoms(
        "H2", positions=[[0, 0, 0], [0, 0, 0.101]], cell=[0.01, 0.2, 0], pbc=(0, 1, 0)
    )
    assert AtomicGraph.from_atoms(atoms, 0.15, ELEMENTS).n_edges == 2


def test_no_atoms_have_no_edges() -> None:
    graph = AtomicGraph.from_atoms(ase.Atoms(), 3.0, ELEMENTS)
    assert (graph.n_atoms, graph.n_edges) == (0, 0)


def test_an_empty_batch_raises() -> None:
    with pytest.raises(ValueError, match="at least one"):
        AtomicGraph.batch_of([])


def test_edges_do_not_depend_on_the_dtype() -> None:
    limit = TOLERANCES[torch.float32].parity
    for atoms in structures():
        wide = AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS)
        narrow = AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS, dtype=torch.float32)
        assert edges(wide) == edges(narrow)
        error = (wide.vectors() - narrow.vectors().double()).abs()
        assert wide.n_edges == 0 or error.max() < limit * 10
