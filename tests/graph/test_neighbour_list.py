"""Lists with a skin: always the edges of a fresh search, seldom a search."""

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
from sikff.graph import AtomicGraph
from sikff.graph.conditions import Conditions
from sikff.graph.neighbour_list import SkinList

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
        whole = rng.integers(-2, 3, (len(atoms), 3)) * atoms.pbc
        atoms.positions += whole @ cell
    elif name == "turn":
        atoms.rotate(rng.uniform(0, 3), "z", rotate_cell=True)
    elif name == "numbers":
        atoms.numbers = rng.permutation(np.where(atoms.numbers == 1, 29, atoms.numbers))


def same_as_a_search(kept: SkinList, atoms: ase.Atoms) -> bool:
    """Whether both give the same graph, edge by edge, or both refuse the structure."""
    try:
        expected = AtomicGraph.from_atoms(atoms, kept.cutoff, ELEMENTS)
    except ValueError as error:
        assert "apart" in str(error)  # atoms that moved onto each other
        with pytest.raises(ValueError, match="apart"):
            kept.graph(atoms)
        return True
    found = kept.graph(atoms)
    return edges(found) == edges(expected) and torch.equal(found.species, expected.species)


@pytest.mark.parametrize("pbc", PBC)
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.4, 1.0, 3.0]),
    cutoff=st.floats(0.5, 3.0),
    skin=st.sampled_from([0.0, 0.3, 1.0]),
    changes=st.lists(st.sampled_from(CHANGES), min_size=1, max_size=8),
)
def test_edges_are_those_of_a_fresh_search(
    pbc: tuple[bool, bool, bool],
    seed: int,
    scale: float,
    cutoff: float,
    skin: float,
    changes: list[str],
) -> None:
    atoms = random_atoms(seed, pbc, scale)
    kept = SkinList(cutoff, skin, ELEMENTS)
    rng = np.random.default_rng(seed)
    assert same_as_a_search(kept, atoms)
    for name in changes:
        change(atoms, name, rng)
        assert same_as_a_search(kept, atoms), name


def walk(kept: SkinList, steps: int) -> tuple[int, int]:
    """Random walk of a crystal, strained and wrapped: steps whose edges differ from a search's, and
    steps on which edges came or went."""
    atoms = bulk("Cu", "bcc", a=2.8, cubic=True) * (1, 1, 2)
    rng = np.random.default_rng(0)
    wrong = changed = 0
    before = edges(kept.graph(atoms))
    for step in range(steps):
        change(atoms, ("move", "strain", "wrap")[step % 3], rng)
        wrong += not same_as_a_search(kept, atoms)
        present = edges(kept.graph(atoms))
        changed += len(present) != len(before)
        before = present
    return wrong, changed


def test_a_walk_needs_few_searches() -> None:
    kept = SkinList(3.0, 0.8, ELEMENTS)
    wrong, changed = walk(kept, 300)
    assert wrong == 0
    assert changed > 30
    assert 3 < kept.rebuilds < 300 / 4


@pytest.mark.parametrize("claim", ["skin", "cells"])
def test_a_broken_list_would_be_seen(claim: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Controls: a list that is kept too long, and one that does not undo wrapping."""
    kept = SkinList(3.0, 0.8, ELEMENTS)
    kept.graph(bulk("Cu", "bcc", a=2.8, cubic=True) * (1, 1, 2))
    if claim == "skin":
        kept.skin = 3.0  # reaches no further than it did
    else:
        none = np.zeros((4, 3))
        monkeypatch.setattr(kept, "_cells_crossed", lambda atoms: none)
    assert walk(kept, 300)[0] > 5


@pytest.mark.parametrize("atoms", structures(), ids=str)
def test_nothing_is_searched_for_what_moves_no_atom_against_another(atoms: ase.Atoms) -> None:
    kept = SkinList(3.0, 0.5, ELEMENTS)
    rng = np.random.default_rng(0)
    assert same_as_a_search(kept, atoms)
    for name in ("drift", "unwrap", "numbers", "drift", "wrap"):
        change(atoms, name, rng)
        assert same_as_a_search(kept, atoms)
    atoms.positions[0] += [0.1, -0.2, 0.3]
    assert same_as_a_search(kept, atoms)
    assert kept.rebuilds == 1


def test_edges_at_the_limit_of_the_criterion() -> None:
    """Two atoms that meet: the list lasts until the next step could be too late, and no longer."""
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 4.01]])
    kept = SkinList(3.0, 1.0, ELEMENTS)
    assert kept.graph(atoms).n_edges == 0
    atoms.positions[:, 2] += [0.4995, -0.4995]
    assert kept.graph(atoms).n_edges == 0
    assert kept.rebuilds == 1
    atoms.positions[:, 2] += [0.01, -0.01]
    assert kept.graph(atoms).n_edges == 2
    assert kept.rebuilds == 2


def test_another_structure_is_searched() -> None:
    atoms = structures()[0]
    kept = SkinList(3.0, 1.0, ELEMENTS)
    assert same_as_a_search(kept, atoms)
    atoms.pbc = (True, False, True)
    assert same_as_a_search(kept, atoms)
    del atoms[0]
    assert same_as_a_search(kept, atoms)
    assert kept.rebuilds == 3
    for other in structures():
        assert same_as_a_search(kept, other)


def test_without_a_skin_every_graph_is_searched() -> None:
    kept = SkinList(3.0, 0.0, ELEMENTS)
    for _ in range(3):
        assert same_as_a_search(kept, structures()[0])
    assert kept.rebuilds == 3


def test_the_field_is_that_of_the_call_or_of_the_atoms() -> None:
    kept, atoms = SkinList(3.0, 1.0, ELEMENTS), structures()[3]
    assert kept.graph(atoms, Conditions((0, 0, 1))).field.tolist() == [[0, 0, 1]]
    atoms.info["electric_field"] = [0, 2, 0]
    assert kept.graph(atoms).field.tolist() == [[0, 2, 0]]


@pytest.mark.parametrize(
    ("cutoff", "skin", "message"),
    [
        (3.0, -0.1, "skin is -0.1; expected a length in Å, 0 or more"),
        (3.0, np.nan, "skin is nan"),
        (3.0, np.inf, "skin is inf"),
        (-1.0, 0.5, "cutoff is -1.0; expected a positive length in Å"),
    ],
)
def test_lengths_that_are_none_are_refused(cutoff: float, skin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SkinList(cutoff, skin, ELEMENTS)


@pytest.mark.parametrize("place", ["positions", "cell"])
def test_nan_after_a_search_is_refused(place: str) -> None:
    atoms = structures()[2]
    kept = SkinList(3.0, 1.0, ELEMENTS)
    kept.graph(atoms)
    if place == "positions":
        atoms.positions[0, 1] = np.nan
    else:
        atoms.cell[2] = np.nan  # not even a periodic direction
    with pytest.raises(ValueError, match="NaN or infinity"):
        kept.graph(atoms)


def test_what_does_not_change_keeps_its_tensors() -> None:
    atoms = ase.Atoms("H3", [(0, 0, 0), (1.9, 0, 0), (0, 1, 0)])
    kept = SkinList(2.0, 0.5, ELEMENTS)
    before = kept.graph(atoms)
    atoms.positions[1] += 0.05
    after = kept.graph(atoms)
    names = [field.name for field in dataclasses.fields(AtomicGraph)]
    same = [name for name in names if getattr(before, name) is getattr(after, name)]
    assert set(names) - set(same) == {"positions", "cell"}
    atoms.positions[1, 0] += 0.1  # beyond the cutoff
    further = kept.graph(atoms)
    assert further.n_edges == after.n_edges - 2 and further.species is after.species
    assert same_as_a_search(kept, atoms)
    assert kept.rebuilds == 1
    wrapped = ase.Atoms("H2", [(0.1, 0, 0), (1.0, 0, 0)], cell=[4.0, 9, 9], pbc=True)
    kept = SkinList(2.0, 0.5, ELEMENTS)
    before = kept.graph(wrapped)
    wrapped.positions[0, 0] += 4.0  # the same pair, in another cell
    assert not torch.equal(kept.graph(wrapped).shifts, before.shifts)
    assert same_as_a_search(kept, wrapped) and kept.rebuilds == 1
