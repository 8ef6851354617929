"""Placeholders instead of labels are refused; zeros and repeated values that are right pass."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import ase
import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from made_labels import with_labels
from sikff.training.config import TrainConfig
from sikff.training.data.check_labels import check_labels, doubts
from sikff.training.data.dataset import load_dataset
from sikff.training.data.labels import NAMES
from sikff.training.data.structures import Structures


def computed(frames: list[ase.Atoms]) -> dict[str, list]:
    labels: dict[str, list] = {name: [] for name in NAMES}
    for atoms in frames:
        atoms.calc = EMT()
        labels["energy"].append(atoms.get_potential_energy())
        labels["forces"].append(atoms.get_forces())
        labels["stress"].append(atoms.get_stress(voigt=False) if atoms.pbc.all() else None)
        atoms.calc = None
    return labels


def copper(k: int, rng: np.random.Generator) -> ase.Atoms:
    return bulk("Cu", cubic=True)


def strained(k: int, rng: np.random.Generator) -> ase.Atoms:
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(0, 0.01, (3, 3))), scale_atoms=True)
    return atoms


def molecules(k: int, rng: np.random.Generator) -> ase.Atoms:
    return molecule(["H2O", "CH3OH", "NH3", "C2H6"][k % 4])


KINDS: dict[str, Callable] = {"copper": copper, "strained": strained, "molecules": molecules}


def rattled(kind: str, count: int) -> tuple[list[ase.Atoms], dict[str, list]]:
    return deepcopy(_rattled(kind, count))


@cache
def _rattled(kind: str, count: int) -> tuple[list[ase.Atoms], dict[str, list]]:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(count):
        atoms = KINDS[kind](k, rng)
        atoms.positions += rng.normal(0, 0.06, atoms.positions.shape)
        frames.append(atoms)
    return frames, computed(frames)


def replaced(values: list, number: float, step: int) -> list:
    return [np.full_like(v, number) if k % step == 1 else v for k, v in enumerate(values)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [-100.0, 0.0, 1e10, 999.0, 0.5, 9.96921e36])
@pytest.mark.parametrize("step", [2, 10])
def test_one_number_in_all_forces_of_some_structures_is_refused(
    kind: str, number: float, step: int
) -> None:
    frames, labels = rattled(kind, 60)
    check_labels(with_labels(frames, **labels))
    labels["forces"] = replaced(labels["forces"], number, step)
    with pytest.raises(
        ValueError, match=rf"in structures 1, {1 + step}, .* a placeholder; .*config_forces_weight"
    ):
        check_labels(with_labels(frames, **labels))


@pytest.mark.parametrize("kind", ["copper", "strained"])
@pytest.mark.parametrize("number", [-1.0, 0.0, 1e10])
@pytest.mark.parametrize("step", [2, 10])
def test_one_number_in_all_components_of_some_stresses_is_refused(
    kind: str, number: float, step: int
) -> None:
    frames, labels = rattled(kind, 60)
    labels["stress"] = replaced(labels["stress"], number, step)
    with pytest.raises(ValueError, match=r"in structures 1, .*config_stress_weight"):
        check_labels(with_labels(frames, **labels))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", [0.0, 99999.0, -1.0])
@pytest.mark.parametrize("step", [2, 10])
def test_one_energy_of_some_different_structures_is_refused(
    kind: str, number: float, step: int
) -> None:
    frames, labels = rattled(kind, 60)
    labels["energy"] = replaced(labels["energy"], number, step)
    with pytest.raises(ValueError, match=rf"energies are {number:g} eV, .*\(structures 1, "):
        check_labels(with_labels(frames, **labels))


@pytest.mark.parametrize("name", ["forces", "stress"])
def test_labels_carried_along_from_another_structure_are_refused(name: str) -> None:
    frames, labels = rattled("copper", 60)
    for k in range(0, 60, 4):  # as in trajectories with the labels of every fourth step
        labels[name][k : k + 4] = [labels[name][k]] * 4
    with pytest.raises(ValueError, match=rf"the same {name} in structures 0, 1, 2, 3, though"):
        check_labels(with_labels(frames, **labels))
    check_labels(with_labels([frames[0]] * 5, **{name: [labels[name][0]] * 5}))


@pytest.mark.parametrize("name", ["forces", "stress"])
def test_labels_of_the_structure_before_are_refused(name: str) -> None:
    frames, labels = rattled("strained", 20)
    labels[name][1::2] = labels[name][::2]
    with pytest.raises(ValueError, match=rf"the same {name} in structures 0, 1, 2, 3, .*, though"):
        check_labels(with_labels(frames, **labels))
    again = [atoms.copy() for atoms in frames[::2] for _ in range(2)]
    check_labels(with_labels(again, **{name: labels[name]}))


def test_a_hydrostatic_placeholder_is_refused() -> None:
    frames, labels = rattled("strained", 30)
    labels["stress"][::5] = [np.diag([-1.0] * 3)] * 6
    with pytest.raises(ValueError, match=r"the same stress in structures 0, 5, 10, 15, 20, 25, "):
        check_labels(with_labels(frames, **labels))


def test_a_number_in_the_forces_on_some_atoms_is_refused() -> None:
    frames, labels = rattled("copper", 12)
    for forces in labels["forces"][::3]:
        forces[2:] = -999.0
    with pytest.raises(ValueError, match=r"forces of -999 in every component on 8 atoms in str"):
        check_labels(with_labels(frames, **labels))
    for forces in labels["forces"]:
        forces[2:] = np.nan  # unknown
    check_labels(with_labels(frames, **labels))


def slabs() -> tuple[list[ase.Atoms], dict[str, list], np.ndarray]:
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        frames.append(fcc111("Cu", (2, 2, 4), a=3.7, vacuum=6))
        frames[-1].positions += rng.normal(0, 0.1, (16, 3))
    return frames, computed(frames), frames[0].get_tags() > 2


def test_zeros_of_held_atoms_whose_constraint_is_lost_are_refused() -> None:
    frames, labels, held = slabs()
    for forces in labels["forces"]:
        forces[held] = 0.0
    with pytest.raises(ValueError, match=r"forces on 48 atoms are exactly zero.*keep the constr"):
        check_labels(with_labels(frames, **labels))
    for forces in labels["forces"]:
        forces[held] = np.nan
    check_labels(with_labels(frames, **labels))


def test_zeros_of_held_atoms_in_a_few_structures_are_refused_or_noted() -> None:
    frames, labels, held = slabs()
    for index in (1, 3):
        labels["forces"][index][held] = 0.0
    (note,) = doubts(with_labels(frames, **labels))
    assert note.startswith("forces on 16 atoms are exactly zero, though not by symmetry, in str")
    check_labels(with_labels(frames, **labels))
    labels["forces"][4][held] = 0.0
    with pytest.raises(
        ValueError, match=r"forces on 24 atoms are exactly zero.*structures 1, 3, 4"
    ):
        check_labels(with_labels(frames, **labels))


def test_zero_components_of_atoms_held_along_an_axis_are_noted() -> None:
    frames, labels, held = slabs()
    assert not doubts(with_labels(frames, **labels))
    for forces in labels["forces"]:
        forces[held, 2] = 0.0
    (note,) = doubts(with_labels(frames, **labels))
    assert note.startswith("48 force components are exactly zero, though not by symmetry, in stru")


def test_zero_components_by_symmetry_are_not_noted() -> None:
    rng = np.random.default_rng(0)
    frames = [molecule("H2O") for _ in range(20)]  # in the plane x = 0
    for atoms in frames:
        atoms.positions[:, 1:] += rng.normal(0, 0.05, (3, 2))
    labels = computed(frames)
    labels["stress"] = [None] * 20
    for forces in labels["forces"]:
        forces[:, 0] = 0.0
    assert not doubts(with_labels(frames, **labels))


def test_stresses_that_are_all_zero_are_noted() -> None:
    frames, labels = rattled("copper", 10)
    assert not doubts(with_labels(frames, **labels))
    labels["stress"] = [np.zeros((3, 3))] * 10
    (note,) = doubts(with_labels(frames, **labels))
    assert note.startswith("all stresses are exactly zero, though forces are not")


def test_forces_that_were_rounded_to_zero_pass() -> None:
    """Nearly at rest, with few digits, as in files of relaxations."""
    frames, labels, _ = slabs()
    labels["forces"] = [np.round(0.001 * forces, 3) for forces in labels["forces"]]
    assert all((forces == 0).all(axis=1).any() for forces in labels["forces"])
    check_labels(with_labels(frames, **labels))
    assert not doubts(with_labels(frames, **labels))


def turned(atoms: ase.Atoms, seed: int) -> ase.Atoms:
    atoms = atoms.copy()
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    atoms.positions = atoms.positions @ turn
    return atoms


def orderings() -> list[ase.Atoms]:
    """Layers of Cu and Au on the sites of a crystal, in each of three directions."""
    frames = []
    for axis in range(3):
        atoms = bulk("Cu", cubic=True, a=3.9) * (2, 2, 2)
        layers = np.rint(atoms.positions[:, axis] / 1.95).astype(int)
        atoms = atoms[np.argsort(layers % 2, kind="stable")]
        atoms.symbols[16:] = "Au"
        frames.append(atoms)
    return frames


AT_REST = {
    "perfect crystals": [bulk("Cu", a=a, cubic=True) for a in np.linspace(3.5, 3.8, 12)],
    "single atoms": [ase.Atoms(symbol) for symbol in ("Cu", "Au", "Ni", "O", "N")] * 2,
    "hexagonal crystals": [bulk("Au", "hcp", a=a, c=4.7) for a in np.linspace(2.7, 3.1, 8)],
    "layers": orderings(),
    "dissociated": [ase.Atoms("Cu2", [[0, 0, 0], [0, 0, d]]) for d in np.arange(7.0, 12.0, 0.5)],
}


@pytest.mark.parametrize("name", AT_REST)
def test_forces_that_are_zero_by_symmetry_pass(name: str) -> None:
    frames, labels = rattled("copper", 10)
    still = [atoms.copy() for atoms in AT_REST[name]]
    more = computed(still)
    assert abs(np.concatenate(more["forces"])).max() < 1e-9
    more["forces"] = [np.zeros_like(forces) for forces in more["forces"]]
    alone = with_labels(still, **more)
    assert not doubts(alone)
    if name != "dissociated":  # all of one energy, indeed
        check_labels(alone)
    both = {key: [*values, *more[key]] for key, values in labels.items()}
    check_labels(with_labels([*frames, *still], **both))


def test_molecules_at_a_minimum_pass_and_are_noted() -> None:
    """With forces of zero, in any orientation, beside others that are distorted."""
    rng = np.random.default_rng(0)
    frames = [turned(molecule(name), k) for name in ("H2O", "N2", "CH4") for k in range(6)]
    labels = {"energy": [float(len(atoms)) for atoms in frames]}
    labels["forces"] = [np.zeros((len(atoms), 3)) for atoms in frames]
    for atoms in [atoms.copy() for atoms in frames]:
        step = rng.normal(0, 0.05, atoms.positions.shape)
        atoms.positions += step
        labels["energy"].append(len(atoms) + 0.5 * 30 * (step**2).sum())
        labels["forces"].append(-30.0 * step)
        frames.append(atoms)
    structures = with_labels(frames, **labels)
    check_labels(structures)
    (note,) = doubts(structures)
    assert note.startswith("forces are exactly zero, though not by symmetry, in structures 0, 1, ")
    raised = [*np.add(labels["energy"][:18], 1.0), *labels["energy"][18:]]  # no minimum any more
    with pytest.raises(ValueError, match="though not by symmetry or at a minimum"):
        check_labels(with_labels(frames, energy=raised, forces=labels["forces"]))


def test_equal_energies_of_equal_structures_pass() -> None:
    frames, labels = rattled("molecules", 20)
    copies = [turned(frames[0], seed) for seed in range(8)]
    energies = [*labels["energy"], *[labels["energy"][0]] * 8]
    check_labels(with_labels([*frames, *copies], energy=energies))
    rounded = np.round(labels["energy"], 1)
    check_labels(with_labels(frames, energy=rounded))


def test_equal_energies_of_structures_that_symmetry_makes_equal_pass() -> None:
    """One atom of a crystal is displaced, as for phonons."""
    frames = [bulk("Cu", cubic=True) * 2 for _ in range(12)]
    for k, atoms in enumerate(frames):
        atoms.positions[2 * k, k % 3] += 0.03 * (-1) ** k
    labels = computed(frames)
    labels["energy"] = np.round(labels["energy"], 5)
    assert np.ptp(labels["energy"]) == 0
    check_labels(with_labels(frames, **labels))
    frames[3].positions[0] += 0.02  # now they are not
    frames[4].positions[1] += 0.05
    with pytest.raises(ValueError, match="12 of 12 energies are"):
        check_labels(with_labels(frames, **labels))


def test_labels_of_few_digits_that_repeat_pass() -> None:
    """At the end of a relaxation all energies are one, to 3 digits; stresses are a few digits."""
    rng = np.random.default_rng(0)
    frames, start = [], bulk("Cu", cubic=True)
    step = rng.normal(0, 0.1, (4, 3))
    for k in range(40):
        frames.append(start.copy())
        frames[-1].positions += 0.8**k * step
    labels = computed(frames)
    exact = labels["energy"]
    labels["energy"] = np.round(exact, 3)
    assert (labels["energy"] == labels["energy"][-1]).sum() > 20
    labels["stress"] = list(np.round(labels["stress"], 2))
    check_labels(with_labels(frames, **labels))
    labels["energy"] = [*exact[:15], *np.full(25, 1.0)]
    with pytest.raises(ValueError, match="25 of 40 energies are 1 eV"):
        check_labels(with_labels(frames, **labels))


def test_stresses_of_zero_pass_for_molecules_in_boxes_and_at_rest() -> None:
    frames, labels = rattled("strained", 20)
    boxes = []
    for size in np.linspace(8, 12, 8):
        boxes.append(molecule("H2O", cell=[size] * 3, pbc=True))
        boxes[-1].rattle(0.05, seed=int(10 * size))
    more = computed(boxes)
    more["stress"] = [np.zeros((3, 3))] * 8
    rest = [bulk("Cu", cubic=True) for _ in range(5)]
    still = computed(rest)
    still["stress"] = [np.zeros((3, 3))] * 5
    both = {key: [*values, *more[key], *still[key]] for key, values in labels.items()}
    check_labels(with_labels([*frames, *boxes, *rest], **both))


def test_a_run_refuses_placeholders_in_training_and_validation(
    config: TrainConfig, frames: list[ase.Atoms]
) -> None:
    load_dataset(config)
    source = Structures.of(frames)
    path = config.output.with_name("valid.xyz")
    for part, files in ("train", {"valid": config.data.train}), ("valid", {}):
        wrong = []
        for number, atoms in enumerate(source.atoms):
            copy = atoms.copy()
            results = dict(atoms.calc.results)
            if number == 3:
                results["forces"] = np.full((len(atoms), 3), -100.0)
            copy.calc = SinglePointCalculator(copy, **results)
            wrong.append(copy)
        ase.io.write(path, wrong)
        data = config.data.model_copy(update={"valid": config.data.train, **files, part: path})
        with pytest.raises(ValueError, match=r"forces of -100 in every component in structure 3"):
            load_dataset(config.model_copy(update={"data": data}))


def test_atoms_at_one_place_have_no_direction_and_are_compared_all_the_same() -> None:
    atoms = [ase.Atoms("H3", [(0, 0, 0), (0, 0, 0), (0.8, 0, x)]) for x in (0.0, 0.1, 0.2, 0.3)]
    forces = [np.diag([1.0, 2.0, k]) for k in (1, 2, 3, 4)]
    structures = with_labels(atoms, energy=[-1.0, -2.0, -2.0, -2.0], forces=forces)
    with pytest.raises(ValueError, match="energies are -2 eV"):
        check_labels(structures)
