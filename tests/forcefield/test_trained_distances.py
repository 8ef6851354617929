"""What a model does with pairs of atoms at distances that its training data do not have."""

import re

import ase
import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.data import atomic_numbers, covalent_radii

from force_fields import force_field, graph_of, predict, slope
from sikff import ForceField, ForceFieldConfig
from sikff.engines import Static
from sikff.forcefield.change_elements import change_elements
from sikff.forcefield.trained_distances import BIN, intervals, usual_contacts
from sikff.graph import AtomicGraph
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
OF_WATER = {"H-H": ((1.4, 1.7),), "H-O": ((0.85, 1.1),)}  # O-O: none


def trained_on_water(**options: object) -> ForceField:
    return force_field(distances_seen=OF_WATER, **options)


def two_waters(apart: float, turn: float = 0.0) -> ase.Atoms:
    """Two molecules of water whose oxygens are so far apart, side by side."""
    other = molecule("H2O")
    other.rotate(turn, "y")
    other.translate([apart, 0, 0] - other.positions[0])
    first = molecule("H2O")
    first.translate(-first.positions[0])
    return first + other


def interaction(model: ForceField, atoms: ase.Atoms) -> float:
    energies = [float(predict(model, each).energy) for each in (atoms, atoms[:3], atoms[3:])]
    return energies[0] - energies[1] - energies[2]


@pytest.mark.parametrize(
    ("lengths", "cutoff", "expected"),
    [
        ([], 5.0, ()),
        ([0.955, 0.975, 1.105], 5.0, ((0.95, 1.11),)),
        ([0.955, 1.605, 2.005, 4.595], 5.0, ((0.95, 0.96), (1.6, 2.01), (4.59, 5.0))),
    ],
)
def test_distances_nearer_to_each_other_than_a_gap_are_one_interval(
    lengths: list, cutoff: float, expected: tuple
) -> None:
    counts = np.bincount((np.array(lengths) / BIN).astype(int), minlength=int(cutoff / BIN))
    assert intervals(counts, cutoff) == expected


def test_nothing_changes_at_distances_that_the_data_have() -> None:
    plain, guarded = force_field(), trained_on_water()
    for seed in range(5):
        water = molecule("H2O")
        water.rattle(0.02, seed=seed)
        one, other = predict(plain, water), predict(guarded, water)
        assert torch.equal(one.energy, other.energy)
        assert torch.equal(one.forces, other.forces)
        assert guarded.extrapolation_warnings(graph_of(guarded, water)) == {}
        assert not guarded.is_continued(graph_of(guarded, water))


def test_molecules_whose_pairs_the_data_never_showed_repel_and_do_nothing_else() -> None:
    """The random network without the ranges attracts or repels them wherever they are."""
    guarded, plain = trained_on_water(cutoff=5.0), force_field(cutoff=5.0)
    apart = np.linspace(5.0, 2.0, 61)
    energies = np.array([interaction(guarded, two_waters(r)) for r in apart])
    free = np.array([interaction(plain, two_waters(r)) for r in apart])
    assert energies[0] == pytest.approx(0, abs=LIMITS.invariance)
    assert abs(free[apart > 4]).max() > 1e-3
    assert energies.min() > -LIMITS.invariance
    assert energies[-1] > 1.0
    assert np.all(np.diff(energies[apart > 2.4]) > -LIMITS.invariance)


def test_pairs_nearer_than_any_in_the_data_repel_without_bound() -> None:
    guarded, plain = trained_on_water(), force_field()

    def added(r: float) -> float:
        atoms = ase.Atoms("OH", [[0, 0, 0], [0, 0, r]])
        return float(predict(guarded, atoms).energy - predict(plain, atoms).energy)

    assert added(0.751) == 0.0
    assert 0 < added(0.7) < 0.2
    assert 5 < added(0.5) < 50
    assert added(0.15) > 1e4


@pytest.mark.parametrize("frozen", [False, True])
def test_forces_and_stress_are_gradients_where_the_data_end(frozen: bool) -> None:
    model = trained_on_water()
    atoms = two_waters(2.5, 30.0)
    atoms.rattle(0.05, seed=0)
    atoms.set_cell([9.0, 8.0, 8.5])
    atoms.pbc = True
    assert model.is_continued(graph_of(model, atoms))
    found = predict(model.freeze() if frozen else model, atoms, stress=True)

    def shifted(x: float, atom: int, axis: int) -> float:
        moved = atoms.copy()
        moved.positions[atom, axis] += x
        return float(predict(model, moved).energy)

    for atom in range(6):
        for axis in range(3):
            expected = -slope(lambda x, at=(atom, axis): shifted(x, *at), 2e-4)
            assert float(found.forces[atom, axis]) == pytest.approx(expected, abs=1e-5)

    def strained(x: float) -> float:
        moved = atoms.copy()
        moved.set_cell(moved.cell.array * [1 + x, 1, 1], scale_atoms=True)
        return float(predict(model, moved).energy)

    expected = slope(strained, 2e-4) / atoms.get_volume()
    assert float(found.stress[0, 0, 0]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("symbols", ["OO", "OH", "HH"])
def test_energies_are_twice_differentiable_across_the_ends(symbols: str) -> None:
    model = trained_on_water(cutoff=5.0)
    assert model.distances is not None
    pair = sorted(model.elements.index(s) for s in symbols)
    at = pair[0] * len(model.elements) + pair[1]
    buffers = (model.distances.near, model.distances.far, model.distances.contact)
    for end in {float(each[at]) for each in buffers if float(each[at]) > 0.1}:
        h = 1e-4

        def second(r: float, h: float = h) -> float:
            e = [
                float(predict(model, ase.Atoms(symbols, [[0, 0, 0], [0, 0, x]])).energy)
                for x in (r - h, r, r + h)
            ]
            return (e[0] - 2 * e[1] + e[2]) / h**2

        size = abs(second(end + 0.1)) + abs(second(end - 0.1)) + 1
        assert abs(second(end + 2 * h) - second(end - 2 * h)) < 0.05 * size


def test_fixed_shapes_have_the_energies_of_the_model_where_the_data_end() -> None:
    model = trained_on_water().freeze()
    static = Static(model)
    for apart in (6.0, 2.6, 6.0):
        graph = graph_of(model, two_waters(apart))
        one, other = static(graph), model(graph)
        assert torch.allclose(one.energy, other.energy, rtol=0, atol=LIMITS.invariance)
        assert torch.allclose(one.forces, other.forces, rtol=0, atol=LIMITS.invariance)
    assert static.compilations == 1


@pytest.mark.parametrize(
    ("atoms", "words"),
    [
        (ase.Atoms("O2", [[0, 0, 0], [0, 0, 2.9]]), r"O and O are 2.9 Å .*\(none within 4 Å\)"),
        (ase.Atoms("OH", [[0, 0, 0], [0, 0, 1.9]]), r"1.9 Å .*\(only 0.85 to 1.1 Å within 4 Å\)"),
        (ase.Atoms("H2", [[0, 0, 0], [0, 0, 1.1]]), r"H and H are 1.1 Å .*\(only 1.4 to 1.7 Å"),
        (two_waters(2.9), "O and O|O and H|H and O"),
    ],
)
def test_a_pair_at_a_distance_that_the_data_lack_is_named(atoms: ase.Atoms, words: str) -> None:
    model = trained_on_water()
    graph = graph_of(model, atoms)
    assert re.search(words, model.extrapolation_warnings(graph)["distance"])
    batch = AtomicGraph.batch_of([graph_of(model, molecule("H2O")), graph])
    assert re.search(words, model.extrapolation_warnings(batch)["distance"])


def test_gaps_between_distances_are_named_and_change_nothing() -> None:
    seen = {"Al-Al": ((2.6, 3.0), (3.7, 4.0))}
    model, plain = force_field(distances_seen=seen), force_field()
    atoms = ase.Atoms("Al2", [[0, 0, 0], [0, 0, 3.4]])
    graph = graph_of(model, atoms)
    assert "only 2.6 to 3 and 3.7 to 4 Å" in model.extrapolation_warnings(graph)["distance"]
    assert not model.is_continued(graph)
    assert torch.equal(predict(model, atoms).energy, predict(plain, atoms).energy)


METALS = ("Cu", "Ni", "Pd", "Ag", "Pt", "Au", "Al", "Ti", "V", "Cr")


def seen_in_alloys(*rare: str) -> dict[str, tuple]:
    """Of every two metals distances from 0.9 of the sum of covalent radii on, but of rare pairs."""
    radii = {m: covalent_radii[atomic_numbers[m]] for m in METALS}
    pairs = [(a, b) for k, a in enumerate(METALS) for b in METALS[k:]]
    seen = {"-".join(sorted(p)): ((0.9 * sum(radii[m] for m in p), 5.0),) for p in pairs}
    return seen | dict.fromkeys(rare, ())


def test_common_elements_have_usual_contacts_and_few_elements_have_none() -> None:
    seen = seen_in_alloys("Au-Cu")
    assert usual_contacts(METALS, seen, 5.0) == dict.fromkeys(METALS, 0.9)
    assert usual_contacts(METALS[:7], seen, 5.0) == {}
    never = {pair: () for pair in seen if "Cr" in pair.split("-")}
    assert usual_contacts(METALS, seen | never, 5.0) == dict.fromkeys(METALS[:-1], 0.9)


def test_a_rare_pair_of_common_elements_repels_nearer_than_usual_alone() -> None:
    seen = seen_in_alloys("Au-Cu") | {"Ag-Cu": ((3.9, 4.2),)}
    contacts = usual_contacts(METALS, seen, 5.0)
    given = {"elements": METALS, "atomic_energies": {}, "cutoff": 5.0, "distances_seen": seen}
    model, cautious = force_field(**given, usual_contacts=contacts), force_field(**given)
    plain = force_field(elements=METALS, atomic_energies={}, cutoff=5.0)
    for other, usual in (("Au", 0.9 * (1.36 + 1.32)), ("Ag", 0.9 * (1.45 + 1.32))):
        for r in (usual + 0.05, 3.0, 3.5, 4.6):
            atoms = ase.Atoms(["Cu", other], [[0, 0, 0], [0, 0, r]])
            assert torch.equal(predict(model, atoms).energy, predict(plain, atoms).energy)
            assert "distance" in model.extrapolation_warnings(graph_of(model, atoms))
            assert abs(predict(cautious, atoms).energy - predict(plain, atoms).energy) > 1e-6
        atoms.positions[1, 2] = usual - 0.3
        assert predict(model, atoms).energy > predict(plain, atoms).energy + 0.1
        assert model.is_continued(graph_of(model, atoms))


def test_usual_contacts_stay_where_elements_are_left_out() -> None:
    seen = seen_in_alloys("Au-Cu")
    contacts = usual_contacts(METALS, seen, 5.0)
    given = {"elements": METALS, "atomic_energies": {}, "cutoff": 5.0, "distances_seen": seen}
    model = force_field(**given, usual_contacts=contacts)
    fewer, atoms = change_elements(model, ("Au", "Cu")), ase.Atoms("CuAu", [[0, 0, 0], [0, 0, 2.2]])
    energies = [predict(each, atoms).energy for each in (model, fewer)]
    torch.testing.assert_close(*energies, rtol=0, atol=LIMITS.invariance)


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ({"H-Xx": ()}, "distances_seen names Xx, which elements do not list"),
        ({"H-O": ((1.0, 0.9),)}, r"distances_seen has H-O: \[\[1.0, 0.9\]\]; expected intervals"),
        ({"H": ((0.9, 1.0),)}, "distances_seen has H: .* for two elements"),
    ],
)
def test_distances_that_are_no_intervals_of_pairs_raise(seen: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ForceFieldConfig(elements=("H", "O"), distances_seen=seen)
