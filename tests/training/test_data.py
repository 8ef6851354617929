"""Data: labels are found or missed loudly, E0s are right, splits and orders repeat."""

from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest
import torch
from ase.calculators.singlepoint import SinglePointCalculator

from sikff.forcefield import ForceFieldConfig
from sikff.training.config import DataConfig, TrainConfig
from sikff.training.data import (
    Frames,
    label,
    make_samples,
    read_frames,
    split_isolated,
    split_validation,
)
from sikff.training.dataset import load_dataset
from sikff.training.statistics import atomic_energies, average_neighbours, energy_scale
from tolerances import TOLERANCES

LIMITS = TOLERANCES[torch.float64]
MODEL = ForceFieldConfig(elements=("Ni", "Cu"), cutoff=4.0)
ALL = ("energy", "forces", "stress")


def as_frames(atoms: list[ase.Atoms]) -> Frames:
    return Frames("test", atoms, list(range(len(atoms))))


def sampled(atoms: list[ase.Atoms], names=ALL, model=MODEL, **keys: str):
    return make_samples(as_frames(atoms), model, DataConfig(train=Path("test"), **keys), names)


def test_labels_are_sought_in_order() -> None:
    atoms = ase.Atoms("H", info={"REF_energy": 1.0, "mine": 3.0, "energy": 4.0})
    atoms.calc = SinglePointCalculator(atoms, energy=2.0)
    assert label(atoms, "energy", None) == 1.0
    assert label(atoms, "energy", "mine") == 3.0
    assert label(atoms, "energy", "energy") == 2.0
    del atoms.info["REF_energy"]
    assert label(atoms, "energy", None) == 2.0
    atoms.calc = None
    assert label(atoms, "energy", None) == 4.0
    assert label(atoms, "energy", "absent") is None


def test_labels_survive_a_file(tmp_path: Path, frames: list[ase.Atoms]) -> None:
    for atoms in frames:
        atoms.info["REF_stress"] = atoms.get_stress(voigt=False)
        atoms.arrays["REF_forces"] = 2 * atoms.get_forces()
    ase.io.write(tmp_path / "d.extxyz", frames)
    read = read_frames(tmp_path / "d.extxyz")
    for before, after in zip(frames, read.atoms, strict=True):
        assert np.abs(label(after, "energy", None) - before.get_potential_energy()) < 1e-6
        assert np.abs(label(after, "forces", None) - 2 * before.get_forces()).max() < 1e-6
        stress = label(after, "stress", None)
        assert np.abs(stress - before.get_stress(voigt=False)).max() < 1e-6
        assert stress.shape == label(before, "stress", "stress").shape == (3, 3)


def test_missing_labels_name_their_frames(frames: list[ase.Atoms]) -> None:
    del frames[3].calc.results["forces"]
    frames[7].calc = None
    with pytest.raises(ValueError, match=r"no forces \(looked for REF_forces or forces\).* 3, 7$"):
        sampled(frames, ["forces"])
    with pytest.raises(ValueError, match=r"looked for mine\).*0, 1, 2, 3, 4, 5, 6, 7 and 4 more"):
        sampled(frames, ["energy"], energy_key="mine")


def test_nan_and_misshapen_labels_name_their_frames(frames: list[ase.Atoms]) -> None:
    frames[2].calc.results["forces"][1, 1] = np.nan
    with pytest.raises(ValueError, match="forces is NaN or infinite in frame 2"):
        sampled(frames)
    frames[2].calc = None
    frames[2].info["REF_forces"] = np.zeros(4)
    with pytest.raises(ValueError, match=r"forces has shape \(4,\); expected .* in frame 2"):
        sampled(frames, ["forces"])


def test_unknown_elements_and_missing_fields_name_their_frames(frames: list[ase.Atoms]) -> None:
    frames[4].symbols[0] = "Au"
    with pytest.raises(ValueError, match=r"holds Au, which the model does not know.* in frame 4"):
        sampled(frames)
    model = ForceFieldConfig(elements=("Ni", "Cu", "Au"), group="SO(2)", frame={"field": True})
    for atoms in frames[1:]:
        atoms.info["electric_field"] = [0, 0, 1]
    with pytest.raises(ValueError, match="no electric_field in frame 0"):
        sampled(frames, model=model)


def test_isolated_atoms_are_set_apart(data_file: Path) -> None:
    train, alone = split_isolated(read_frames(data_file))
    assert train.numbers == list(range(12))
    assert alone.numbers == [12, 13]


def test_split_repeats_and_loses_nothing(frames: list[ase.Atoms]) -> None:
    train, valid = split_validation(as_frames(frames), 0.25, seed=1)
    again = split_validation(as_frames(frames), 3, seed=1)
    other = split_validation(as_frames(frames), 3, seed=2)
    assert (train.numbers, valid.numbers) == (again[0].numbers, again[1].numbers)
    assert valid.numbers != other[1].numbers
    assert sorted(train.numbers + valid.numbers) == list(range(12))
    assert len(valid.numbers) == 3
    with pytest.raises(ValueError, match="12 of 12 frames for validation leaves none"):
        split_validation(as_frames(frames), 12, seed=0)


def test_atomic_energies_are_recovered_by_least_squares(frames: list[ase.Atoms]) -> None:
    true = {"Ni": -3.0, "Cu": 5.0}
    for atoms in frames:
        atoms.calc.results["energy"] = sum(true[symbol] for symbol in atoms.symbols)
    samples = sampled(frames)
    for known in ({}, {"Ni": -3.0}, true):
        found, unique = atomic_energies(samples, MODEL.elements, known)
        assert unique
        assert found == pytest.approx(true, abs=LIMITS.gradient)
    same = [sample for sample in samples if sample.graph.species.tolist() == [1, 1, 1, 1]]
    assert not atomic_energies(same, MODEL.elements, {})[1]


def test_statistics(frames: list[ase.Atoms]) -> None:
    samples = sampled(frames)
    forces = np.concatenate([atoms.get_forces() for atoms in frames])
    scale = energy_scale(samples, {"Ni": 0.0, "Cu": 0.0}, MODEL.elements)
    assert scale == pytest.approx(np.sqrt((forces**2).mean()), rel=LIMITS.parity)
    alone = sampled([ase.Atoms("Cu", info={"energy": 0.0})] * 2, ["energy"])
    assert energy_scale(alone, {"Ni": 0.0, "Cu": 0.0}, MODEL.elements) == 1.0
    assert average_neighbours(alone) == 1.0
    assert average_neighbours(samples) == pytest.approx(18, abs=6)


def test_the_data_completes_the_model(config: TrainConfig) -> None:
    dataset = load_dataset(config)
    assert (len(dataset.train), len(dataset.valid)) == (9, 3)
    assert dataset.model.elements == ("Ni", "Cu")
    assert dataset.model.atomic_energies == {"Ni": -2.5, "Cu": -1.5}
    assert any("Ni -2.5000, Cu -1.5000" in line for line in dataset.report)
    given = config.model_copy(
        update={"model": {**config.model, "atomic_energies": {"Cu": 1.0}, "energy_scale": 7.0}}
    )
    model = load_dataset(given).model
    assert model.atomic_energies == {"Ni": -2.5, "Cu": 1.0}
    assert model.energy_scale == 7.0


def test_an_ignored_field_is_reported(tmp_path: Path, config: TrainConfig) -> None:
    frames = read_frames(config.data.train).atoms
    for atoms in frames:
        atoms.info["electric_field"] = [0.0, 0.0, 0.1]
    ase.io.write(config.data.train, frames)
    assert "the model ignores it" in load_dataset(config).report[-1]


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data file"):
        read_frames(tmp_path / "absent.xyz")
    (tmp_path / "bad.xyz").write_text("what\nis this\n")
    with pytest.raises(ValueError, match="ASE cannot read"):
        read_frames(tmp_path / "bad.xyz")
    (tmp_path / "empty.xyz").write_text("")
    with pytest.raises(ValueError, match=r"empty\.xyz"):
        read_frames(tmp_path / "empty.xyz")


def test_single_atoms_must_be_single(config: TrainConfig, frames: list[ase.Atoms]) -> None:
    path = config.data.train.with_name("alone.xyz")
    ase.io.write(path, frames[0])
    data = config.data.model_copy(update={"isolated_atoms": path})
    with pytest.raises(ValueError, match=r"alone\.xyz: not one atom, .* in frame 0"):
        load_dataset(config.model_copy(update={"data": data}))
