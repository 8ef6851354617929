"""Stresses in other units, and of the other sign, told from energies of strained crystals."""

from collections.abc import Sequence

import ase
import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.units import GPa

from sikff.training.data.check_labels import check_units
from sikff.training.data.check_stress import wrong_strain_work
from sikff.training.data.structures import Frames, Labels


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


def computed(frames: Sequence[ase.Atoms]) -> tuple[Frames, Labels]:
    labels: Labels = {"energy": [], "forces": [], "stress": []}
    for atoms in frames:
        atoms.calc = EMT()
        labels["energy"].append(np.array(atoms.get_potential_energy()))
        labels["forces"].append(atoms.get_forces())
        solid = atoms.pbc.all()
        stress = atoms.get_stress(voigt=False) if solid else np.full((3, 3), np.nan)
        labels["stress"].append(stress)
        atoms.calc = None
    return Frames.of(frames), labels


def with_stress(labels: Labels, factor: float) -> Labels:
    return {**labels, "stress": [factor * each for each in labels["stress"]]}


SOLIDS = {
    "copper": bulk("Cu"),
    "alloy": bulk("Cu", cubic=True) * (2, 1, 1),
    "hexagonal": bulk("Au", "hcp", a=2.88, c=4.7),
}
SOLIDS["alloy"].symbols[0] = "Ni"


@pytest.mark.parametrize("name", SOLIDS)
@pytest.mark.parametrize("size", [0.005, 0.02])
@pytest.mark.parametrize("rattle", [0.0, 0.05])
def test_signs_and_units(name: str, size: float, rattle: float) -> None:
    frames, labels = computed(strained(SOLIDS[name], size, rattle))
    assert wrong_strain_work(frames, labels) is None
    wrong = {
        "it is in GPa": 1 / GPa,
        "it is in kbar and its sign is wrong": -10 / GPa,
        "so its sign is wrong": -1.0,
    }
    volume = np.mean([atoms.get_volume() for atoms in frames.atoms])
    wrong["it is a virial, not divided by the volume"] = volume
    for words, factor in wrong.items():
        said = wrong_strain_work(frames, with_stress(labels, factor))
        if not rattle:
            assert words in str(said)
        else:  # the stress may have too small a share
            assert said is None or words in said


def test_equations_of_state() -> None:
    """One atom, no forces, coarse and fine."""
    for step in (0.004, 0.015):
        frames = []
        for k in range(-5, 6):
            atoms = bulk("Cu")
            atoms.set_cell(atoms.cell.array * (1 + step * k), scale_atoms=True)
            frames.append(atoms)
        said, labels = computed(frames)
        assert wrong_strain_work(said, labels) is None
        alone = {name: labels[name] for name in ("energy", "stress")}
        assert "sign is wrong" in str(wrong_strain_work(said, with_stress(alone, -1)))


def test_where_nothing_can_be_said() -> None:
    still, labels = computed(strained(SOLIDS["alloy"], 0.0, 0.1))
    assert wrong_strain_work(still, with_stress(labels, -1)) is None
    few, labels = computed(strained(SOLIDS["copper"], 0.01, 0.0, count=4))
    assert wrong_strain_work(few, with_stress(labels, -1)) is None
    free, labels = computed([molecule("H2O"), molecule("CO")])
    assert wrong_strain_work(free, labels) is None
    frames, labels = computed(strained(SOLIDS["alloy"], 0.02, 0.0))
    order = np.random.default_rng(0).permutation(len(frames.atoms))
    shuffled = {**labels, "stress": [-10 * labels["stress"][k] for k in order]}
    assert wrong_strain_work(frames, shuffled) is None
    flat = {name: [0 * each for each in values] for name, values in labels.items()}
    assert wrong_strain_work(frames, flat) is None


def test_molecules_among_crystals() -> None:
    frames, labels = computed([*strained(SOLIDS["copper"], 0.02, 0.0), molecule("H2O")])
    check_units(frames, labels, {})
    with pytest.raises(ValueError, match=r"work of the stress, so its sign is wrong.*convert the"):
        check_units(frames, with_stress(labels, -1), {})
