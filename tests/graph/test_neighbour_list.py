"""Lists with a skin: always the graphs of a fresh search, seldom a search."""

import dataclasses
import itertools

import ase
import numpy as np
import pytest
import torch
from ase.build import bulk
from ase.geometry import wrap_positions
from hypothesis import given, settings
from hypothesis import strategies as st

from pair_model import structures
from random_atoms import edges, random_atoms
from sikff.graph import AtomicGraph, neighbour_list
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import NeighbourList

ELEMENTS = ("H", "Cu")
PBC = list(itertools.product([False, True], repeat=3))
CHANGES = ("move", "jump", "drift", "strain", "shear cell", "wrap", "unwrap", "turn", "numbers")


def change(atoms: ase.Atoms, name: str, rng: np.random.Generator) -> None:
    """One of the ways in which a structure changes during a simulation."""
    cell = atoms.cell.array.copy()
    if name == "move":
        atoms.positions += rng.normal(0, 0.03, atoms.positions.shape)
    elif name == "jump":
        atoms.positions[rng.integers(len(atoms))] += rng.uniform(-1, 1, 3)
    elif name == "drift":
        atoms.positions += rng.uniform(-3, 3, 3)
    elif name == "strain":
        atoms.set_cell(cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3))), scale_atoms=True)
    elif name == "shear cell":
        atoms.set_cell(cell + rng.normal(0, 0.02, (3, 3)), scale_atoms=False)
    elif name == "wrap":
        atoms.positions = wrap_positions(atoms.positions, atoms.cell.complete(), atoms.pbc)
    elif name == "unwrap":
        cells = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        atoms.positions += cells @ cell
    elif name == "turn":
        atoms.rotate(rng.uniform(0, 3), "z", rotate_cell=True)
    elif name == "numbers":
        atoms.numbers = rng.permutation(np.where(atoms.numbers == 1, 29, atoms.numbers))


def equal_graphs(one: AtomicGraph, other: AtomicGraph) -> bool:
    """Whether all tensors are equal; edges first, which print well if they are not."""
    names = [field.name for field in dataclasses.fields(AtomicGraph)]
    return edges(one) == edges(other) and all(
        torch.equal(getattr(one, name), getattr(other, name)) for name in names
    )


def same_as_a_search(neighbours: NeighbourList, atoms: ase.Atoms) -> bool:
    """Whether both give the same graph, tensor by tensor, or both raise an error."""
    try:
        expected = AtomicGraph.from_atoms(atoms, neighbours.cutoff, ELEMENTS)
    except ValueError as error:
        assert "apart" in str(error)  # atoms that moved onto each other
        with pytest.raises(ValueError, match="apart"):
            neighbours.graph(atoms)
        return True
    graph = neighbours.graph(atoms)
    return equal_graphs(
        graph.within(neighbours.cutoff) if neighbours.candidates else graph, expected
    )


@pytest.mark.parametrize("pbc", PBC)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.4, 1.0, 3.0]),
    cutoff=st.floats(0.5, 3.0),
    skin=st.sampled_from([0.0, 0.3, 1.0]),
    candidates=st.booleans(),
    changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=8),
)
def test_graphs_equal_those_of_a_fresh_search(
    pbc: tuple[bool, bool, bool],
    seed: int,
    scale: float,
    cutoff: float,
    skin: float,
    candidates: bool,
    changes: list[str],
) -> None:
    atoms = random_atoms(seed, pbc, scale)
    neighbours = NeighbourList(cutoff, ELEMENTS, skin=skin, candidates=candidates)
    rng = np.random.default_rng(seed)
    assert same_as_a_search(neighbours, atoms)
    for name in changes:
        change(atoms, name, rng)
        assert same_as_a_search(neighbours, atoms), name


def walk(neighbours: NeighbourList, steps: int) -> tuple[int, int]:
    """Random walk of a crystal, strained and wrapped.

    Returns:
        Number of steps whose edges differ from those of a search, and of steps that changed edges.
    """
    atoms = bulk("Cu", "bcc", a=2.8, cubic=True) * (1, 1, 2)
    rng = np.random.default_rng(0)
    wrong = changed = 0
    before = edges(neighbours.graph(atoms))
    for step in range(steps):
        change(atoms, ("move", "strain", "wrap")[step % 3], rng)
        wrong += not same_as_a_search(neighbours, atoms)
        present = edges(neighbours.graph(atoms))
        changed += len(present) != len(before)
        before = present
    return wrong, changed


def test_a_walk_needs_few_searches() -> None:
    neighbours = NeighbourList(3.0, ELEMENTS, skin=0.8)
    wrong, changed = walk(neighbours, 300)
    assert wrong == 0
    assert changed > 30
    assert 3 < neighbours.rebuilds < 300 / 4


def test_edges_of_candidates_stay_until_the_next_search() -> None:
    neighbours, shared = NeighbourList(3.0, ELEMENTS, skin=0.8, candidates=True), 0
    atoms = bulk("Cu", "bcc", a=2.8, cubic=True) * (1, 1, 2)
    rng, graph = np.random.default_rng(0), neighbours.graph(atoms)
    for _ in range(60):
        change(atoms, "move", rng)
        last, graph, searches = graph, neighbours.graph(atoms), neighbours.rebuilds
        same = all(
            getattr(graph, name) is getattr(last, name) for name in ("edge_index", "shifts", "cell")
        )
        shared += same
        assert equal_graphs(graph.within(3.0), AtomicGraph.from_atoms(atoms, 3.0, ELEMENTS))
    assert shared + searches == 61 and shared > 30


@pytest.mark.parametrize("fault", ["skin", "wrapping"])
def test_faulty_lists_differ_from_a_search(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: a list that is reused too long, and one that does not undo wrapping."""
    neighbours = NeighbourList(3.0, ELEMENTS, skin=0.8)
    neighbours.graph(bulk("Cu", "bcc", a=2.8, cubic=True) * (1, 1, 2))
    if fault == "skin":
        neighbours.skin = 3.0  # the search reached no further than 0.8
    else:
        none = neighbour_list._Moves(np.zeros((4, 3)), 1.0, 0.0)
        monkeypatch.setattr(neighbours, "_moves", lambda atoms: none)
    assert walk(neighbours, 300)[0] > 5


@pytest.mark.parametrize("atoms", structures(), ids=str)
def test_changes_without_relative_motion_need_no_search(atoms: ase.Atoms) -> None:
    neighbours = NeighbourList(3.0, ELEMENTS, skin=0.5)
    rng = np.random.default_rng(0)
    assert same_as_a_search(neighbours, atoms)
    for name in ("drift", "unwrap", "numbers", "drift", "wrap"):
        change(atoms, name, rng)
        assert same_as_a_search(neighbours, atoms)
    atoms.positions[0] += [0.1, -0.2, 0.3]
    assert same_as_a_search(neighbours, atoms)
    assert neighbours.rebuilds == 1


def test_a_search_is_due_when_a_pair_could_be_missing_and_not_before() -> None:
    """Two atoms that approach each other from just beyond cutoff + skin."""
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 4.01]])
    neighbours = NeighbourList(3.0, ELEMENTS, skin=1.0)
    assert neighbours.graph(atoms).n_edges == 0
    atoms.positions[:, 2] += [0.4995, -0.4995]
    assert neighbours.graph(atoms).n_edges == 0
    assert neighbours.rebuilds == 1
    atoms.positions[:, 2] += [0.01, -0.01]
    assert neighbours.graph(atoms).n_edges == 2
    assert neighbours.rebuilds == 2


def test_another_structure_needs_a_search() -> None:
    atoms = structures()[0]
    neighbours = NeighbourList(3.0, ELEMENTS, skin=1.0)
    assert same_as_a_search(neighbours, atoms)
    atoms.pbc = (True, False, True)
    assert same_as_a_search(neighbours, atoms)
    del atoms[0]
    assert same_as_a_search(neighbours, atoms)
    assert neighbours.rebuilds == 3
    for other in structures():
        assert same_as_a_search(neighbours, other)


def test_without_a_skin_every_graph_needs_a_search() -> None:
    neighbours = NeighbourList(3.0, ELEMENTS, skin=0.0)
    for _ in range(3):
        assert same_as_a_search(neighbours, structures()[0])
    assert neighbours.rebuilds == 3


def test_the_field_comes_from_the_argument_or_from_info() -> None:
    neighbours, atoms = NeighbourList(3.0, ELEMENTS, skin=1.0), structures()[3]
    assert neighbours.graph(atoms, Conditions((0, 0, 1))).field.tolist() == [[0, 0, 1]]
    atoms.info["electric_field"] = [0, 2, 0]
    assert neighbours.graph(atoms).field.tolist() == [[0, 2, 0]]


@pytest.mark.parametrize(
    ("cutoff", "skin", "message"),
    [
        (3.0, -0.1, "skin is -0.1; expected a length in Å, 0 or more"),
        (3.0, np.nan, "skin is nan"),
        (3.0, np.inf, "skin is inf"),
        (-1.0, 0.5, "cutoff is -1.0; expected a positive length in Å"),
    ],
)
def test_impossible_lengths_raise(cutoff: float, skin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NeighbourList(cutoff, ELEMENTS, skin=skin)


@pytest.mark.parametrize("name", ["positions", "cell"])
def test_nan_after_a_search_raises(name: str) -> None:
    atoms = structures()[2]
    neighbours = NeighbourList(3.0, ELEMENTS, skin=1.0)
    neighbours.graph(atoms)
    if name == "positions":
        atoms.positions[0, 1] = np.nan
    else:
        atoms.cell[2] = np.nan  # not even a periodic direction
    with pytest.raises(ValueError, match="NaN or infinity"):
        neighbours.graph(atoms)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_successive_graphs_share_the_tensors_that_do_not_change(device: str) -> None:
    atoms = ase.Atoms("H3", [(0, 0, 0), (1.9, 0, 0), (0, 1, 0)], cell=[9, 9, 9], pbc=(0, 0, 1))
    neighbours = NeighbourList(2.0, ELEMENTS, skin=0.5, device=device)
    names = [field.name for field in dataclasses.fields(AtomicGraph)]
    graphs = [neighbours.graph(atoms)]

    def replaced() -> set[str]:
        """Names of the tensors of the next graph that are not those of the last one."""
        graphs.append(neighbours.graph(atoms))
        assert {getattr(graphs[-1], name).device.type for name in names} == {device}
        return {n for n in names if getattr(graphs[-1], n) is not getattr(graphs[-2], n)}

    atoms.positions[1] += 0.05
    assert replaced() == {"positions"}
    atoms.set_cell([9, 9, 9.01])
    assert replaced() == {"positions", "cell"}
    atoms.positions[1, 0] += 0.1  # beyond the cutoff
    assert replaced() == {"positions", "edge_index", "shifts"}
    assert graphs[-1].n_edges == graphs[-2].n_edges - 2
    assert neighbours.rebuilds == 1
    atoms.positions[1, 0] += 3.0
    assert replaced() == {"positions", "edge_index", "shifts"}
    assert neighbours.rebuilds == 2
    atoms.numbers[0] = 29
    assert "species" in replaced()


def test_graphs_built_in_inference_mode_can_be_differentiated_outside() -> None:
    atoms = structures()[0]
    neighbours = NeighbourList(3.0, ELEMENTS, skin=0.5)
    with torch.inference_mode():
        first = neighbours.graph(atoms)
    for graph in (first, neighbours.graph(atoms)):
        positions = graph.positions.requires_grad_()
        (gradient,) = torch.autograd.grad(graph.vectors().square().sum(), positions)
        assert gradient.abs().max() > 1e-3


def test_a_pair_in_another_cell_gets_other_shifts() -> None:
    atoms = ase.Atoms("H2", [(0.1, 0, 0), (1.0, 0, 0)], cell=[4.0, 9, 9], pbc=True)
    neighbours = NeighbourList(2.0, ELEMENTS, skin=0.5)
    before = neighbours.graph(atoms)
    atoms.positions[0, 0] += 4.0
    assert not torch.equal(neighbours.graph(atoms).shifts, before.shifts)
    assert same_as_a_search(neighbours, atoms) and neighbours.rebuilds == 1


def test_a_structure_that_raised_leaves_no_edges_behind() -> None:
    """Its edges differ from those of the graphs before and after it."""
    atoms = ase.Atoms("H3", [(0, 0, 0), (2.1, 0, 0), (0, 1, 0)])
    neighbours = NeighbourList(2.0, ELEMENTS, skin=1.0)
    assert same_as_a_search(neighbours, atoms)
    for x in (0.05, 1.9, 2.1):
        atoms.positions[1, 0] = x
        assert same_as_a_search(neighbours, atoms)
