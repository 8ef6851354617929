"""Stresses in other units or of the other sign are found from energies of strained crystals."""

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from ase.units import Bohr, GPa, Hartree, kcal, mol

from made_labels import scaled, with_labels
from sikff.training.data.check_strain import wrong_strain_work
from sikff.training.data.check_units import check_units
from sikff.training.data.labels import NAMES
from sikff.training.data.structures import Structures


def strained(
    atoms: ase.Atoms, size: float, rattle: float, count: int = 12, seed: int = 0
) -> list[ase.Atoms]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(count):
        each = atoms.copy()
        each.set_cell(each.cell.array @ (np.eye(3) + rng.normal(0, size, (3, 3))), scale_atoms=True)
        each.positions += rng.normal(0, rattle, each.positions.shape) if rattle else 0.0
        each.wrap()
        frames.append(each)
    return frames


def computed(structures: list[ase.Atoms]) -> Structures:
    for atoms in structures:
        atoms.calc = EMT()
    labels = {"energy": [atoms.get_potential_energy() for atoms in structures]}
    labels["forces"] = [atoms.get_forces() for atoms in structures]
    labels["stress"] = [
        atoms.get_stress(voigt=False) if atoms.pbc.all() else None for atoms in structures
    ]
    return with_labels(structures, **labels)


SOLIDS = {
    "copper": bulk("Cu"),
    "alloy": bulk("Cu", cubic=True) * (2, 1, 1),
    "hexagonal": bulk("Au", "hcp", a=2.88, c=4.7),
}
SOLIDS["alloy"].symbols[0] = "Ni"


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("size", [0.005, 0.02])
@pytest.mark.parametrize("rattle", [0.0, 0.02, 0.05])
def test_stresses_of_another_sign_or_unit_are_named(name: str, size: float, rattle: float) -> None:
    solid = SOLIDS[name] * (2, 1, 1) if rattle else SOLIDS[name]
    structures = computed(strained(solid, size, rattle, count=30 if rattle else 12))
    assert wrong_strain_work(structures) is None
    wrong = {
        "it is in GPa": 1 / GPa,
        "it is in kbar and its sign is wrong": -10 / GPa,
        "so its sign is wrong": -1.0,
    }
    volume = np.mean([atoms.get_volume() for atoms in structures.atoms])
    wrong["it is a virial, not divided by the volume"] = volume
    for words, factor in wrong.items():
        complaint = wrong_strain_work(scaled(structures, stress=factor))
        if rattle < 0.05 or size > 0.01:
            assert words in str(complaint)
        else:  # the stress has a small share
            assert complaint is None or words in complaint


def equations_of_state(rattle: float, step: float = 0.0005, count: int = 40) -> Structures:
    rng = np.random.default_rng(0)
    frames = []
    for k in range(count):
        atoms = bulk("Cu", a=3.6 * (1 + step * (k - count // 2)), cubic=True)
        atoms.positions += rng.normal(0, rattle, (4, 3))
        frames.append(atoms)
    return computed(frames)


@pytest.mark.parametrize("rattle", [0.02, 0.05])
def test_forces_and_stresses_of_rattled_crystals_tell_together(rattle: float) -> None:
    """No two have one cell; the energy changes by the moves more than by the strain."""
    structures = equations_of_state(rattle)
    check_units(structures, {})
    for labels, words in (
        ({"stress": -1.0}, "stress, so its sign is wrong"),
        ({"stress": 1 / GPa}, "stress, so it is in GPa;"),
        ({"stress": -10 / GPa}, "stress, so it is in kbar and its sign is wrong"),
        ({"forces": -1.0}, "forces look like gradients: their sign is wrong"),
        ({"forces": -1.0, "stress": -1.0}, "forces look like gradients: their sign is wrong"),
        ({"forces": Bohr / Hartree}, "energies in eV with forces in Hartree/Bohr"),
        ({"energy": 1 / Hartree}, "energies in Hartree with forces in eV/Å"),
        ({"energy": mol / kcal, "forces": mol / kcal}, "stress, so energies are in kcal/mol"),
    ):
        assert words in str(wrong_strain_work(scaled(structures, **labels)))


def test_moves_hide_what_small_strains_would_tell() -> None:
    structures = equations_of_state(0.15)
    for factor in (1.0, -1.0, 1 / GPa):
        assert wrong_strain_work(scaled(structures, stress=factor)) is None


@pytest.mark.parametrize(("order", "words"), [((2, 0, 1), "xy, yz, xz"), ((2, 1, 0), "xy, xz, yz")])
@pytest.mark.parametrize("rattle", [0.0, 0.02])
def test_shear_components_in_another_order_are_named(
    order: tuple[int, ...], words: str, rattle: float
) -> None:
    structures = computed(strained(SOLIDS["alloy"], 0.02, rattle, count=20))
    assert wrong_strain_work(structures) is None
    values = np.array([full_3x3_to_voigt_6_stress(each) for each in structures.values("stress")])
    values[:, 3:] = values[:, 3:][:, order]
    labels = {name: structures.values(name) for name in ("energy", "forces")}
    labels["stress"] = [voigt_6_to_full_3x3_stress(each) for each in values]
    complaint = wrong_strain_work(with_labels(structures.atoms, **labels))
    assert f"its components are in the order xx, yy, zz, {words}; expected" in str(complaint)
    turned_round = scaled(with_labels(structures.atoms, **labels), stress=-1)
    assert "its sign is wrong" in str(wrong_strain_work(turned_round))
    assert words in str(wrong_strain_work(turned_round))


def test_stresses_that_are_all_zero_are_named() -> None:
    structures = equations_of_state(0.0, step=0.004, count=11)
    complaint = wrong_strain_work(scaled(structures, stress=0))
    assert complaint == "all stresses are zero, though energies change with the cell"
    boxes = []
    for k in range(12):
        boxes.append(molecule("CO", cell=[8 + 0.02 * k] * 3, pbc=True))
    assert wrong_strain_work(scaled(computed(boxes), stress=0)) is None


def test_labels_that_some_crystals_lack() -> None:
    """Forces on all atoms of a crystal count, or none; then only crystals whose atoms stay."""
    structures = equations_of_state(0.05)
    labels = {name: structures.values(name) for name in NAMES}
    some = {name: [v if k % 4 else None for k, v in enumerate(labels[name])] for name in labels}
    fewer = with_labels(structures.atoms, **labels | {"stress": some["stress"]})
    assert "sign" in str(wrong_strain_work(scaled(fewer, stress=-1)))
    fewer = with_labels(structures.atoms, **labels | {"energy": some["energy"]})
    assert "sign" in str(wrong_strain_work(scaled(fewer, stress=-1)))
    held = [np.where(np.arange(4)[:, None] == 0, np.nan, forces) for forces in labels["forces"]]
    for forces in (held, [None] * 40):
        unknown = with_labels(structures.atoms, **labels | {"forces": forces})
        assert wrong_strain_work(unknown) is None
        assert wrong_strain_work(scaled(unknown, stress=-1)) is None


def test_equations_of_state() -> None:
    """One atom, no forces, coarse and fine."""
    for step in (0.004, 0.015):
        frames = []
        for k in range(-5, 6):
            atoms = bulk("Cu")
            atoms.set_cell(atoms.cell.array * (1 + step * k), scale_atoms=True)
            frames.append(atoms)
        structures = computed(frames)
        assert wrong_strain_work(structures) is None
        labels = {name: structures.values(name) for name in ("energy", "stress")}
        alone = scaled(with_labels(frames, **labels), stress=-1)
        assert "sign is wrong" in str(wrong_strain_work(alone))


def test_unclear_stresses_pass() -> None:
    still = computed(strained(SOLIDS["alloy"], 0.0, 0.1))
    assert wrong_strain_work(scaled(still, stress=-1)) is None
    few = computed(strained(SOLIDS["copper"], 0.01, 0.0, count=4))
    assert wrong_strain_work(scaled(few, stress=-1)) is None
    assert wrong_strain_work(computed([molecule("H2O"), molecule("CO")])) is None
    structures = computed(strained(SOLIDS["alloy"], 0.02, 0.0))
    labels = {name: structures.values(name) for name in NAMES}
    order = np.random.default_rng(0).permutation(len(structures))
    labels["stress"] = [-10 * labels["stress"][k] for k in order]
    assert wrong_strain_work(with_labels(structures.atoms, **labels)) is None
    assert wrong_strain_work(scaled(structures, energy=0, forces=0, stress=0)) is None


def test_molecules_among_crystals() -> None:
    structures = computed([*strained(SOLIDS["copper"], 0.02, 0.0), molecule("H2O")])
    check_units(structures, {})
    with pytest.raises(ValueError, match=r"work of the stress, so its sign is wrong.*convert the"):
        check_units(scaled(structures, stress=-1), {})
