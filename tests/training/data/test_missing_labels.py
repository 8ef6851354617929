"""Data sets whose structures lack labels, or have labels that do not count."""

from collections.abc import Callable, Sequence
from pathlib import Path

import ase
import ase.io
import numpy as np
import pytest

from runs import changed
from sikff.training.config import TrainConfig
from sikff.training.data.dataset import load_dataset
from sikff.training.data.reading import read_structures

Change = Callable[[int, ase.Atoms], object]


@pytest.fixture
def run(config: TrainConfig) -> Callable[..., TrainConfig]:
    """A run on the twelve structures and the two free atoms, each changed by a function."""

    def run(change: Change, **update: object) -> TrainConfig:
        atoms = read_structures(config.data.train).atoms
        for number, each in enumerate(atoms[:12]):
            change(number, each)
        path = config.output.with_name("changed.xyz")
        ase.io.write(path, atoms)
        data = {"train": path, "valid": 3, **update.pop("data", {})}
        return changed(config, data=data, **update)

    return run


def drop(name: str, numbers: Sequence[int] | None = None) -> Change:
    """Removes a label from all or some structures."""

    def change(number: int, atoms: ase.Atoms) -> None:
        if numbers is None or number in numbers:
            del atoms.calc.results[name]

    return change


def lines(config: TrainConfig, word: str) -> list[str]:
    return [line for line in load_dataset(config).report if word in line]


@pytest.mark.parametrize("name", ["energy", "forces"])
def test_a_label_may_be_missing_in_some_structures(run: Callable, name: str) -> None:
    some = run(drop(name, range(0, 12, 2)), data={"valid": 3})
    dataset = load_dataset(some)
    samples = [*dataset.train, *dataset.valid]
    lacking = sorted(
        int(sample.name.split()[-1])
        for sample in samples
        if getattr(sample.targets, name).isnan().all()
    )
    assert len(samples) == 12 and lacking == [0, 2, 4, 6, 8, 10]
    expected = f"no {name} in 6 of 12 structures (structures 0, 2, 4, 6, 8, 10): left out"
    assert expected in dataset.report
    assert f"of {len(dataset.train)}; rms" in "".join(dataset.report)


def test_a_required_label_may_not_be_missing(run: Callable) -> None:
    """Unless its weight is 0, which somebody has said of it."""
    some = run(drop("energy", range(3, 5)), data={"require": ["forces", "energy"]})
    with pytest.raises(
        ValueError, match=r"no energy \(looked for .*\) in structures 3, 4; give it"
    ):
        load_dataset(some)
    load_dataset(run(drop("energy", range(3, 5)), data={"require": ["forces"]}))

    def weigh(number: int, atoms: ase.Atoms) -> None:
        atoms.info["config_energy_weight"] = float(number > 2)

    load_dataset(run(weigh, data={"require": ["forces", "energy"]}))
    valid = run(drop("stress", range(2)), data={"require": ["stress"]})
    with pytest.raises(ValueError, match=r"no stress .* in structures 0, 1"):
        load_dataset(valid)
    with pytest.raises(ValueError, match=r"'energy', 'forces' or 'stress'"):
        run(drop("stress"), data={"require": ["dipole"]})


def test_a_label_missing_everywhere_raises_with_advice(run: Callable) -> None:
    with pytest.raises(ValueError, match=r"no energy .*; or go without \(loss.energy: 0\)"):
        load_dataset(run(drop("energy")))
    with pytest.raises(ValueError, match=r"no forces .*; or go without \(loss.forces: 0\)"):
        load_dataset(run(drop("forces")))

    def weigh(number: int, atoms: ase.Atoms) -> None:
        atoms.info["config_forces_weight"] = 0.0

    with pytest.raises(
        ValueError, match=r"; left out by config_forces_weight\) in.*a weight above 0$"
    ):
        load_dataset(run(weigh))
    with pytest.raises(ValueError, match=r"no structure has mine \(forces_weight_key\)"):
        load_dataset(run(weigh, data={"forces_weight_key": "mine"}, loss={"forces": 0}))


def test_a_label_in_validation_structures_alone_raises(run: Callable) -> None:
    plain = load_dataset(run(lambda number, atoms: None))
    valid = [int(sample.name.split()[-1]) for sample in plain.valid]
    others = [number for number in range(12) if number != valid[0]]
    some = run(drop("stress", others), loss={"stress": 1})
    match = rf"stress is in validation structures only \(structure {valid[0]}\); give data.valid"
    with pytest.raises(ValueError, match=match):
        load_dataset(some)


def test_forces_alone_are_enough(run: Callable) -> None:
    """E0s are those of free atoms, or 0."""
    forces = run(drop("energy"), loss={"energy": 0})
    dataset = load_dataset(forces)
    assert dataset.model.atomic_energies == {"Ni": -2.5, "Cu": -1.5}
    assert all(sample.targets.energy.isnan().all() for sample in dataset.train)
    assert len(lines(forces, "no structure has an energy")) == 1
    expected = np.sqrt(np.mean(np.concatenate([s.targets.forces for s in dataset.train]) ** 2))
    assert dataset.model.energy_scale == pytest.approx(expected)
    atoms = read_structures(forces.data.train).atoms[:12]
    ase.io.write(forces.data.train, atoms)
    assert set(load_dataset(forces).model.atomic_energies.values()) == {0.0}
    assert lines(forces, "E0 (eV): Ni 0.0000 (in no structure with an energy), Cu 0.0000 (in no")


def test_energies_alone_are_enough(run: Callable) -> None:
    dataset = load_dataset(run(drop("forces"), loss={"forces": 0}))
    assert all(sample.targets.forces is None for sample in dataset.train)


def test_the_fit_of_atomic_energies_honours_weights(run: Callable) -> None:
    """A weight of 3 is three copies; energies that are missing or of weight 0 are as if absent."""

    def weigh(number: int, atoms: ase.Atoms) -> None:
        del atoms.calc.results["forces"]
        if number % 3 == 1:
            atoms.info["config_energy_weight"] = 3.0
        if number % 3 == 2:
            atoms.info["config_energy_weight"] = 0.0
            atoms.calc.results["energy"] = 1e4

    weighted = run(weigh, loss={"forces": 0, "stress": 0}, data={"valid": 1})
    frames = read_structures(weighted.data.train).atoms[:12]
    ase.io.write(weighted.data.train, frames)
    dataset = load_dataset(weighted)
    rows = [number for number in range(12) if number % 3 < 2]
    used = {int(sample.name.split()[-1]) for sample in dataset.train}
    rows = [n for n in rows if n in used for _ in range(3 if n % 3 == 1 else 1)]
    counts = [[list(frames[n].symbols).count(e) for e in ("Ni", "Cu")] for n in rows]
    energies = [frames[n].get_potential_energy() for n in rows]
    expected, *_ = np.linalg.lstsq(np.array(counts, float), np.array(energies), rcond=None)
    found = list(dataset.model.atomic_energies.values())
    assert found == pytest.approx(expected)
    assert len(used) + len(dataset.valid) == 8  # others have no label at all
    assert lines(weighted, "energy of weight 0 (config_energy_weight) in 4 of 12 structures")
    assert lines(weighted, "so not used: structures 2, 5, 8, 11")


def test_scales_and_sizes_are_those_of_what_counts(run: Callable) -> None:
    def mask(number: int, atoms: ase.Atoms) -> None:
        atoms.calc.results["forces"][0, 1] = 1e6
        atoms.arrays["forces_mask"] = np.ones((len(atoms), 3), bool)
        atoms.arrays["forces_mask"][0, 1] = False

    masked = run(mask)
    dataset = load_dataset(masked)
    forces = np.concatenate([sample.targets.forces for sample in dataset.train])
    assert dataset.model.energy_scale == pytest.approx(np.sqrt(np.nanmean(forces**2)))
    (line,) = lines(masked, "forces: forces, 9 of 9; rms ")
    rms, largest = np.sqrt(np.nanmean(forces**2)), np.nanmax(abs(forces))
    assert f"rms {rms:.3g}, largest {largest:.3g} eV/Å" in line


def test_free_atoms_give_their_energy_whatever_their_weight(config: TrainConfig) -> None:
    atoms = read_structures(config.data.train).atoms
    for each in atoms[12:]:
        each.info["config_weight"] = 0.0
    ase.io.write(config.data.train, atoms)
    assert load_dataset(config).model.atomic_energies == {"Ni": -2.5, "Cu": -1.5}


def test_weights_are_those_of_the_samples(run: Callable) -> None:
    def weigh(number: int, atoms: ase.Atoms) -> None:
        if number == 4:
            atoms.info |= {"config_weight": 2.0, "config_energy_weight": 0.5}
        if number == 5:
            atoms.arrays["forces_weight"] = np.linspace(1, 2, len(atoms))
        atoms.info["config_type"] = "warm"

    dataset = load_dataset(run(weigh, loss={"config_types": {"warm": 5}, "stress": 1}))
    samples = {int(s.name.split()[-1]): s for s in (*dataset.train, *dataset.valid)}
    assert {sample.weight for sample in samples.values()} == {5.0}
    assert {n for n, sample in samples.items() if sample.weights is not None} == {4, 5}
    energy, forces, stress = samples[4].weights
    assert energy == 1.0 and stress == 2.0 and forces.tolist() == [2.0] * 4
    assert samples[5].weights.forces.shape == (3, 3)
    assert samples[5].weights.forces[:, 1].tolist() == [1.0, 1.5, 2.0]


def test_other_weights_are_other_data(run: Callable) -> None:
    def weigh(number: int, atoms: ase.Atoms) -> None:
        atoms.info["config_energy_weight"] = 0.5

    plain, weighted = (load_dataset(run(each)) for each in (lambda n, a: None, weigh))
    assert plain.fingerprint != weighted.fingerprint


def test_validation_needs_some_label_that_is_trained_on(run: Callable, tmp_path: Path) -> None:
    bare = run(drop("forces"), loss={"energy": 0})
    valid = tmp_path / "valid.xyz"
    bare.data.train.rename(valid)
    good = run(lambda number, atoms: None, data={"valid": valid})
    dataset = load_dataset(good)
    assert all(sample.targets.forces.isnan().all() for sample in dataset.valid)
    assert "note: no validation structure has forces" in " ".join(dataset.report)
    with pytest.raises(ValueError, match=r"valid\.xyz: no validation structure has forces, which"):
        load_dataset(changed(good, loss={"energy": 0}))
