"""Weights of labels, masks, and zeros of frozen atoms: what counts, and how much."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
)

from sikff.training.data.label_weights import FROZEN, LeftOut
from sikff.training.data.labels import LabelKeys, without_labels
from sikff.training.data.reading import read_structures
from sikff.training.data.report import describe_left_out
from sikff.training.data.structures import Structure, Structures

NAN = np.nan


def molecule(n_atoms: int = 3, **info: object) -> ase.Atoms:
    """Atoms with an energy, forces 1, 2, ... and a stress."""
    atoms = ase.Atoms(f"Cu{n_atoms}", [[2.5 * n, 0, 0] for n in range(n_atoms)], info=info)
    atoms.cell, atoms.pbc = [9.0, 9.0, 9.0], True
    forces = np.arange(1.0, 3 * n_atoms + 1).reshape(n_atoms, 3)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces, stress=np.ones(6))
    return atoms


def read(atoms: ase.Atoms, **keys: str) -> Structure:
    return Structures.of([atoms]).with_labels(LabelKeys(**keys))[0]


def weights(structure: Structure) -> dict[str, object]:
    return {name: label.weight for name, label in structure.labels.items()}


def test_without_weights_all_labels_count_once() -> None:
    structure = read(molecule())
    assert weights(structure) == {"energy": 1.0, "forces": 1.0, "stress": 1.0}
    assert structure.left_out == () and structure.labels["forces"].masked is None


def test_weights_of_a_structure_multiply() -> None:
    given = {"config_weight": 2.0, "config_forces_weight": 3, "config_stress_weight": [0.5]}
    assert weights(read(molecule(**given))) == {"energy": 2.0, "forces": 6.0, "stress": 1.0}
    assert weights(read(molecule(config_energy_weight=0.25)))["energy"] == 0.25


@pytest.mark.parametrize(
    ("key", "lost"),
    [
        ("config_weight", {"energy", "forces", "stress"}),
        ("config_energy_weight", {"energy"}),
        ("config_forces_weight", {"forces"}),
        ("config_stress_weight", {"stress"}),
        ("config_virials_weight", {"stress"}),
    ],
)
def test_a_label_of_weight_zero_is_none(key: str, lost: set[str]) -> None:
    structure = read(molecule(**{key: 0}))
    assert {"energy", "forces", "stress"} - structure.labels.keys() == lost
    assert {each.label for each in structure.left_out} == lost
    assert {each.why for each in structure.left_out} == {key}
    assert np.isnan(structure.value(min(lost))).all()


def test_plain_names_of_weights() -> None:
    given = {"energy_weight": 2.0, "forces_weight": 3.0, "virial_weight": 4.0}
    assert weights(read(molecule(**given))) == {"energy": 2.0, "forces": 3.0, "stress": 4.0}
    assert "forces" not in read(molecule(forces_weight=0)).labels
    with pytest.raises(ValueError, match="forces_mask holds numbers; expected true"):
        read(molecule(forces_mask=[1, 0, 2]))


def test_a_virial_has_its_own_weight() -> None:
    both = {"config_virials_weight": 3.0, "config_stress_weight": 0.0}
    assert "stress" not in read(molecule(**both)).labels
    virial = molecule(virials=np.eye(3), **both)
    del virial.calc.results["stress"]
    assert weights(read(virial))["stress"] == 3.0


@pytest.mark.parametrize("value", [-1.0, NAN, np.inf, "none", [1.0, 2.0]])
@pytest.mark.parametrize("key", ["config_weight", "config_forces_weight"])
def test_weights_that_are_none_name_their_structure(key: str, value: object) -> None:
    frames = [molecule(), molecule(**{key: value})]
    with pytest.raises(ValueError, match=rf"^structures, structure 1: {key} is .*expected "):
        Structures.of(frames).with_labels(LabelKeys())


@pytest.mark.parametrize("key", ["forces_weight", "force_weights", "forces_mask"])
@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 3)])
def test_forces_of_weight_zero_do_not_count(key: str, shape: tuple[int, ...]) -> None:
    for dtype in (bool, float):
        atoms = molecule()
        atoms.arrays[key] = np.ones(shape, dtype)
        assert weights(read(atoms))["forces"] == 1.0
        atoms.arrays[key][1] = 0
        structure = read(atoms)
        expected = atoms.get_forces()
        expected[1] = NAN
        np.testing.assert_array_equal(structure.value("forces"), expected)
        assert weights(structure)["forces"] == 1.0
        assert structure.left_out == (LeftOut("forces", key, 3),)
        atoms.arrays[key][:] = 0
        assert "forces" not in read(atoms).labels


def test_weights_of_components_and_of_the_structure_multiply() -> None:
    atoms = molecule(config_forces_weight=2.0)
    atoms.arrays["forces_weight"] = np.array([[1.0, 0.5, 0.0]] * 3)
    atoms.arrays["forces_mask"] = np.array([True, True, False])
    structure = read(atoms)
    np.testing.assert_array_equal(weights(structure)["forces"][:2, :2], [[2.0, 1.0]] * 2)
    np.testing.assert_array_equal(structure.labels["forces"].masked.sum(axis=0), [1, 1, 3])
    assert structure.left_out[0].components == 5


def test_a_mask_leaves_out_what_is_no_number() -> None:
    atoms = molecule()
    atoms.calc.results["forces"][1, 2] = NAN
    structures = Structures.of([atoms])
    with pytest.raises(ValueError, match="forces is NaN or infinite in structure 0"):
        structures.with_labels(LabelKeys()).check_labels_complete(["forces"])
    atoms.arrays["forces_mask"] = np.array([True, False, True])
    structures.with_labels(LabelKeys()).check_labels_complete(["forces"])
    atoms.arrays["forces_mask"] = np.array([False, True, True])
    with pytest.raises(ValueError, match="forces is NaN or infinite in structure 0"):
        structures.with_labels(LabelKeys()).check_labels_complete(["forces"])


@pytest.mark.parametrize("key", ["mask", "force_mask"])
def test_a_mask_of_uncertain_meaning_raises_until_it_is_named(key: str) -> None:
    atoms = molecule()
    atoms.arrays[key] = np.array([True, True, True])
    assert not read(atoms).left_out
    atoms.arrays[key] = np.array([True, False, True])
    with pytest.raises(ValueError, match=rf"structure 0: {key}: .*forces_weight_key: {key}\)"):
        read(atoms)
    assert np.isnan(read(atoms, forces_weight=key).value("forces")[1]).all()
    atoms.arrays[key] = np.array([0.0, 1.5, 2.0])  # no mask
    assert not read(atoms).left_out
    structures = Structures.of([molecule()]).with_labels(LabelKeys(forces_weight="mine"))
    with pytest.raises(ValueError, match="no structure has mine"):
        structures.check_weight_key()


@pytest.mark.parametrize(
    "value", [[1.0, -1.0, 1.0], [1.0, NAN, 1.0], [1.0, 1.0], ["a", "b", "c"], "a"]
)
def test_wrong_weights_of_atoms_name_their_structure(value: list[object]) -> None:
    atoms = molecule()
    atoms.info["forces_weight"] = value  # where a database puts them
    with pytest.raises(ValueError, match=r"structure 0: forces_weight is .*; expected "):
        read(atoms)


ALL = [True, True, True]
KINDS = {
    "FixAtoms": (FixAtoms([1]), ALL),
    "FixCartesian": (FixCartesian(1, (True, False, True)), [True, False, True]),
    "FixScaled": (FixScaled([1], (True, True, True)), ALL),
    "FixScaled along c": (FixScaled([1], (False, False, True)), [False, False, True]),
    "FixedPlane": (FixedPlane(1, (0, 0, 1)), [False, False, True]),
    "FixedLine": (FixedLine(1, (1, 0, 0)), [False, True, True]),
    "two planes": ([FixedPlane(1, (0, 0, 1)), FixedPlane(1, (0, 1, 0))], [False, True, True]),
    "FixBondLengths": (FixBondLengths([(0, 1)]), [False] * 3),
    "FixCom": (FixCom(), [False] * 3),
}


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_that_a_constraint_holds_do_not_count(kind: str) -> None:
    constraint, held = KINDS[kind]
    atoms = molecule()
    atoms.calc.results["forces"][0] = 0.0  # of an atom that is free
    atoms.calc.results["forces"][1, held] = 0.0
    atoms.set_constraint(constraint)
    structure = read(atoms)
    assert np.isnan(structure.value("forces")).tolist() == [[False] * 3, held, [False] * 3]
    expected = (LeftOut("forces", FROZEN, sum(held)),) if any(held) else ()
    assert structure.left_out == expected
    atoms.set_constraint()
    assert not np.isnan(read(atoms).value("forces")).any()


def test_any_constraint_that_fixes_whole_atoms_counts() -> None:
    class Frozen:
        def get_indices(self) -> list[int]:
            return [1]

        def get_removed_dof(self, atoms: ase.Atoms) -> int:
            return 3

    atoms = molecule()
    atoms.calc.results["forces"][1] = 0.0
    atoms.set_constraint(Frozen())
    assert np.isnan(read(atoms).value("forces")[1]).all()


def test_forces_on_a_held_atom_count_if_they_are_known() -> None:
    atoms = molecule()
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.calc.results["forces"][0] = 0.0
    atoms.calc.results["forces"][1] = [0.0, 0.0, 0.3]  # zero in x and y by symmetry
    assert np.isnan(read(atoms).value("forces")).any(axis=1).tolist() == [True, False, False]
    atoms.calc.results["forces"][0] = [1e-17, -3e-18, 0.0]  # as after a rotation
    assert np.isnan(read(atoms).value("forces")).any(axis=1).tolist() == [True, False, False]
    atoms.set_constraint(FixAtoms([0, 1, 2]))
    atoms.calc.results["forces"][:] = 0.0
    assert "forces" not in read(atoms).labels


@pytest.mark.parametrize("suffix", [".xyz", ".db"])
def test_constraints_weights_and_masks_survive_files(tmp_path: Path, suffix: str) -> None:
    frames = [molecule(), molecule(config_energy_weight=0.0), molecule()]
    frames[0].set_constraint(FixAtoms([0]))
    frames[0].calc.results["forces"][0] = 0.0
    frames[1].set_constraint(FixCartesian(2, (False, False, True)))
    frames[1].calc.results["forces"][2, 2] = 0.0
    frames[2].arrays["forces_mask"] = np.array([True, False, True])
    path = tmp_path / f"d{suffix}"
    if suffix == ".db":
        with ase.db.connect(path) as rows:
            for atoms in frames:
                data = (
                    {"forces_mask": m} if (m := atoms.arrays.get("forces_mask")) is not None else {}
                )
                rows.write(atoms, key_value_pairs=atoms.info, data=data)
    else:
        ase.io.write(path, frames)
    structures = read_structures(path).with_labels(LabelKeys())
    lost = [np.argwhere(np.isnan(force)).tolist() for force in structures.values("forces")]
    assert lost == [[[0, k] for k in range(3)], [[2, 2]], [[1, k] for k in range(3)]]
    assert [len(each.labels) for each in structures] == [3, 2, 3]
    assert describe_left_out(structures) == [
        "4 force components that are zero on atoms held by constraints in 2 of 3 structures: left "
        "out",
        "energy of weight 0 (config_energy_weight) in 1 of 3 structures: left out",
        "3 force components of weight 0 (forces_mask) in 1 of 3 structures: left out",
    ]


def test_weights_of_labels_go_with_the_labels() -> None:
    atoms = molecule(config_weight=2.0, config_energy_weight=0.0, config_type="a")
    atoms.arrays["forces_mask"] = np.array([True, False, True])
    bare = without_labels(atoms)
    assert bare.info == {"config_weight": 2.0, "config_type": "a"}
    assert set(bare.arrays) == {"numbers", "positions"}
