"""Stresses in other units or of the other sign are found from energies of strained crystals."""

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.units import GPa

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
@pytest.mark.parametrize("rattle", [0.0, 0.05])
def test_stresses_of_another_sign_or_unit_are_named(name: str, size: float, rattle: float) -> None:
    structures = computed(strained(SOLIDS[name], size, rattle))
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
        if not rattle:
            assert words in str(complaint)
        else:  # the stress may have too small a share
            assert complaint is None or words in complaint


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
