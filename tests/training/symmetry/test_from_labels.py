"""The symmetry of labelled structures: DFT data, and forces in closed form."""

from collections.abc import Callable
from pathlib import Path

import ase
import numpy as np
import pytest

from sikff import SymmetryGroup
from sikff.graph.conditions import FIELDS, Conditions
from sikff.training.data.labels import USUAL_KEYS
from sikff.training.data.reading import read_structures
from sikff.training.data.structures import Structures, split_isolated
from sikff.training.symmetry.copies import compute_copy_defect, find_copies
from sikff.training.symmetry.from_labels import find_symmetry_of_labels
from sikff.training.symmetry.lie import angle_between
from sikff.training.symmetry.settings import SearchSettings
from sikff.training.symmetry.trials import make_labelled_atoms
from symmetry_cases import turn_about

DATA = Path(__file__).parents[3] / "examples" / "data" / "methanol_field.xyz"
NO_TRAINING = SearchSettings(minutes=0)
ROTATION = turn_about(np.array([1.0, -2.0, 0.5]), 1.1)  # unknown to the search


def methanol(strength: float, rotation: np.ndarray | None = None) -> Structures:
    """Structures at one field; rotated ones without the label of their field."""
    structures, _ = split_isolated(read_structures(DATA))
    fields = [np.linalg.norm(atoms.info["electric_field"]) for atoms in structures.atoms]
    chosen = structures.select([p for p, f in enumerate(fields) if abs(f - strength) < 0.01])
    assert len(chosen.atoms) == 150
    if rotation is not None:
        for atoms in chosen.atoms:
            del atoms.info["electric_field"]
            atoms.positions = atoms.positions @ rotation.T
            atoms.arrays["REF_forces"] = atoms.arrays["REF_forces"] @ rotation.T
    return Structures.of(chosen.atoms)


def label_random_structures(force: Callable[[np.ndarray], np.ndarray], n: int = 40) -> Structures:
    """Random structures of four atoms, and forces as a function of their positions."""
    rng = np.random.default_rng(0)
    structures = []
    for _ in range(n):
        atoms = ase.Atoms("HCNO", rng.normal(size=(4, 3)))
        atoms.arrays["REF_forces"] = force(atoms.positions - atoms.positions.mean(axis=0))
        structures.append(atoms)
    return Structures.of(structures)


def test_the_axis_of_an_unlabelled_field_is_found() -> None:
    found = find_symmetry_of_labels(methanol(0.257, ROTATION), NO_TRAINING)
    assert found.group == "C_inf_v"
    assert angle_between(np.array(found.axis), ROTATION[:, 2]) < 0.5
    assert "environment" not in found.settings


def test_charges_that_differ_are_an_input_of_the_model() -> None:
    structures = label_random_structures(lambda r: -r)
    assert "environment" not in find_symmetry_of_labels(structures, NO_TRAINING).settings
    for number, atoms in enumerate(structures.atoms):
        atoms.info |= {"charge": number % 2, "spin": 1}
    found = find_symmetry_of_labels(Structures.of(structures.atoms), NO_TRAINING)
    assert found.settings["environment"] == {"charge": True}


def test_a_labelled_field_is_the_axis_and_an_input_of_the_model() -> None:
    found = find_symmetry_of_labels(methanol(0.514), NO_TRAINING)
    assert found.recommendation == (
        "model: {group: C_inf_v, axis: [0.0, 0.0, 1.0], environment: {field: true}}"
    )


def test_a_molecule_without_a_field_has_every_symmetry() -> None:
    found = find_symmetry_of_labels(methanol(0.0, ROTATION), NO_TRAINING)
    assert found.recommendation == "model: {group: O(3)}"
    assert max(defect.size for defect in found.lie.defects) < 2e-4  # of the DFT grid


def test_fields_along_several_lines_are_a_vector_attribute() -> None:
    """Structures and fields rotated together: no axis, but an attribute."""
    structures, other = methanol(0.257), methanol(0.257)
    for atoms in other.atoms:
        atoms.positions = atoms.positions @ ROTATION.T
        atoms.arrays["REF_forces"] = atoms.arrays["REF_forces"] @ ROTATION.T
        atoms.info["electric_field"] = ROTATION @ atoms.info["electric_field"]
    found = find_symmetry_of_labels(Structures.of(structures.atoms + other.atoms), NO_TRAINING)
    assert found.settings == {
        "group": "O(3)",
        "axis": [0.0, 0.0, 1.0],
        "environment": {"field": True},
    }
    for atoms in other.atoms:
        atoms.info["electric_field"] = atoms.info["electric_field"][[1, 2, 0]]
    both = Structures.of(structures.atoms + other.atoms)
    assert find_symmetry_of_labels(both, NO_TRAINING).group == "C1"


def test_anisotropic_forces_break_every_rotation() -> None:
    found = find_symmetry_of_labels(
        label_random_structures(lambda x: -x * [1.0, 2.0, 4.0]), NO_TRAINING
    )
    assert found.group == "C1"
    assert all(defect.is_broken for defect in found.lie.defects)


def test_a_net_force_is_noted() -> None:
    found = find_symmetry_of_labels(
        label_random_structures(lambda x: -x + [0.0, 0.0, 1.0]), NO_TRAINING
    )
    assert any("--plane-origin" in note for note in found.notes)
    assert not find_symmetry_of_labels(label_random_structures(lambda x: -x), NO_TRAINING).notes


def test_a_single_orientation_raises() -> None:
    """A row of atoms in a field, never rotated: no torque about two axes, which is no group."""
    structures = label_random_structures(lambda x: -x, n=3)
    for atoms in structures.atoms:
        atoms.positions = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]
        atoms.arrays["REF_forces"] = np.array([[0, 0, -1.0], [0, 0, 0], [0, 0, 0], [0, 0, 1.0]])
    with pytest.raises(ValueError, match="turned in too few ways"):
        find_symmetry_of_labels(structures, NO_TRAINING)


def test_periodic_structures_without_an_axis_raise() -> None:
    structures = label_random_structures(lambda x: -x)
    for atoms in structures.atoms:
        atoms.cell, atoms.pbc = np.eye(3) * 9, True
    with pytest.raises(ValueError, match="no torque is defined: give the axis"):
        find_symmetry_of_labels(structures, NO_TRAINING)


def test_missing_forces_raise() -> None:
    structures = label_random_structures(lambda x: -x)
    for atoms in structures.atoms:
        del atoms.arrays["REF_forces"]
    with pytest.raises(ValueError, match="no forces"):
        find_symmetry_of_labels(structures, NO_TRAINING)


def test_copies_are_found_with_their_defects() -> None:
    """A rotated copy with rotated forces, and a mirrored one with unchanged forces."""
    atoms = label_random_structures(lambda x: -x, n=8).atoms
    quarter, mirror = turn_about(np.array([0, 0, 1.0]), np.pi / 2), np.diag([1.0, -1.0, 1.0])
    for source, matrix, follow in ((2, quarter, quarter), (5, mirror, np.eye(3))):
        copy = atoms[source].copy()
        copy.positions = copy.positions @ matrix.T + [1.0, 2.0, 3.0]
        copy.arrays["REF_forces"] = copy.arrays["REF_forces"] @ follow.T
        atoms.append(copy)
    structures = Structures.of(atoms)
    found = find_copies(structures, [each.arrays["REF_forces"] for each in atoms])
    assert len(found) == 2
    rotated, mirrored = sorted(found, key=lambda each: each.defect)
    assert abs(rotated.matrix - quarter).max() < 1e-6 and rotated.defect < 1e-6
    assert abs(mirrored.matrix - mirror).max() < 1e-6 and mirrored.defect > 0.1
    by_group = {
        name: [copy for copy in found if copy.is_by(SymmetryGroup(name))]
        for name in ("C4v", "C4", "C3")
    }
    assert not by_group["C3"]
    assert not compute_copy_defect(by_group["C4"], 1e-3).is_broken
    assert compute_copy_defect(by_group["C4v"], 1e-3).is_broken


MOLECULE = ase.Atoms("HCNO", [[0, 0, 0], [0.96, 0, 0], [-0.3, 0.9, 0.2], [-0.4, -0.5, 1.2]])


def over_a_wall(corrugation: float = 0.0, n: int = 60) -> Structures:
    """A molecule in random orientations over a wall, each a second time rotated about z.

    All heights differ, and so do the forces of copies.
    """
    rng, rotations = np.random.default_rng(0), SymmetryGroup("SO(3)").sample(n, seed=0).numpy()
    structures = []
    for rotation in rotations:
        for about_z in (np.eye(3), turn_about(np.array([0, 0, 1.0]), 1.0)):
            atoms = MOLECULE.copy()
            atoms.positions = atoms.positions @ (about_z @ rotation).T
            atoms.positions += [0, 0, rng.uniform(3, 6)]
            x, _, z = atoms.positions.T
            force = np.exp(3 - z)
            sideways = corrugation * np.sin(x)
            columns = (sideways * force, 0 * force, force * (1 + sideways))
            atoms.arrays["REF_forces"] = np.stack(columns, axis=1)
            structures.append(atoms)
    return Structures.of(structures)


def test_copies_at_other_heights_above_a_plane_are_left_out() -> None:
    structures = over_a_wall()
    with_plane = SearchSettings(minutes=0, axis=(0.0, 0.0, 1.0), plane_origin=(0.0, 0.0, 0.0))
    for search in (with_plane, NO_TRAINING):
        found = find_symmetry_of_labels(structures, search)
        assert found.group == "C_inf_v"
        assert next(e for e in found.candidates if e.group == "C_inf_v").copies is None
    for atoms in structures.atoms:
        atoms.positions[:, 2] -= atoms.positions[:, 2].mean() - 4
        atoms.arrays["REF_forces"] = np.exp(3 - atoms.positions[:, 2:]) * [0, 0, 1.0]
    found = find_symmetry_of_labels(structures, with_plane)
    copies_of = {each.group: each.copies for each in found.candidates}
    assert found.group == "C_inf_v" and copies_of["C_inf_v"] < 1e-6


def test_a_symmetry_that_is_broken_by_a_little_is_noted() -> None:
    with_plane = SearchSettings(minutes=0, axis=(0.0, 0.0, 1.0), plane_origin=(0.0, 0.0, 0.0))
    found = find_symmetry_of_labels(over_a_wall(corrugation=0.03), with_plane)
    assert found.group == "C1"
    (note,) = [each for each in found.notes if "% only" in each]
    assert note.startswith("C_inf_v is broken by ") and "--threshold 0.0" in note
    strong = find_symmetry_of_labels(over_a_wall(corrugation=0.5), with_plane)
    assert strong.group == "C1" and not any("% only" in note for note in strong.notes)


def test_mirrors_that_were_not_tested_are_noted() -> None:
    """Rotations about z are symmetries; mirrors need trainings or mirrored copies to be tested."""
    found = find_symmetry_of_labels(over_a_wall(), NO_TRAINING)
    assert found.group == "C_inf_v"
    assert any(note.startswith("mirrors were not looked at") for note in found.notes)
    assert not any(
        "mirrors" in note
        for note in find_symmetry_of_labels(
            label_random_structures(lambda x: -x), NO_TRAINING
        ).notes
    )


def test_groups_that_trainings_cannot_distinguish_raise_first() -> None:
    with pytest.raises(ValueError, match=r"models of C7v with frequencies up to 2, .* of C_inf_v"):
        find_symmetry_of_labels(
            methanol(0.257).select(range(30)), SearchSettings(minutes=1, groups=("C7v",))
        )
    zero = label_random_structures(lambda x: 0 * x)
    for atoms in zero.atoms:
        atoms.cell, atoms.pbc = np.eye(3) * 9, True
    search = SearchSettings(minutes=0.001, axis=(0.0, 0.0, 1.0), groups=("C7v",))
    with pytest.raises(ValueError, match="models of C7v"):
        find_symmetry_of_labels(zero, search)


def test_trainings_give_errors_of_the_remaining_groups() -> None:
    search = SearchSettings(minutes=0.01, groups=("C_inf_v", "O(3)"))
    found = find_symmetry_of_labels(methanol(0.514).select(range(30)), search)
    errors = {each.group: each.error for each in found.candidates}
    assert errors["O(3)"] is None and errors["C_inf_v"] and errors["C1"]
    assert found.quantity.endswith("(meV/Å)")
    with pytest.raises(ValueError, match="5 structures are too few to train on"):
        find_symmetry_of_labels(methanol(0.514).select(range(5)), search)


@pytest.mark.parametrize("key", FIELDS)
def test_trained_models_see_the_conditions_whatever_their_keys(key: str) -> None:
    atoms = label_random_structures(lambda x: -x, n=1).atoms[0]
    atoms.info |= {"REF_energy": -1.0, key: [0.0, 0.1, 0.2], "surface_origin": [0.0, 0.0, -3.0]}
    structures = Structures.of([atoms]).with_labels(USUAL_KEYS)
    labelled = make_labelled_atoms(structures[0])
    assert Conditions.of(labelled.info) == structures[0].conditions
    assert structures[0].conditions.field == (0.0, 0.1, 0.2)


def test_forces_that_do_not_count_give_no_torque() -> None:
    atoms = [ase.Atoms("H3", np.eye(3) + n / 7) for n in range(3)]
    for each in atoms:
        each.arrays["REF_forces"] = np.ones((3, 3))
    atoms[1].arrays["forces_mask"] = np.array([True, True, False])
    with pytest.raises(ValueError, match=r"some forces do not count .* in structure 1"):
        find_symmetry_of_labels(Structures.of(atoms), NO_TRAINING)
